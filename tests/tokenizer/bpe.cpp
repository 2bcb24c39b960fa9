// Encoding and decoding against the tokenizers library (tests/goldens/make_tokenizer_goldens.py), and at their edges.
#include "tokenizer/bpe.h"

#include <doctest/doctest.h>

#include <random>

#include "tests/tokenizer/goldens.h"
#include "tokenizer/error.h"
#include "tokenizer/hf.h"

using namespace thinker;
using thinker::test::golden_path;
using thinker::test::read_jsonl;
using Ids = std::vector<int32_t>;

namespace {

const char* const kPatterns[] = {"gpt2", "smollm", "llama3", "qwen2"};

Tokenizer golden(const std::string& pattern) {
  return Tokenizer(read_tokenizer_json(golden_path(pattern)));
}

// A vocabulary of the 256 bytes, the given longer tokens in byte-level form, and merges.
TokenizerSpec byte_spec(std::vector<std::string> longer, std::vector<std::string> merges) {
  TokenizerSpec spec;
  for (int b = 0; b < 256; ++b) spec.tokens.push_back(byte_level_form(std::string(1, static_cast<char>(b))));
  spec.tokens.insert(spec.tokens.end(), longer.begin(), longer.end());
  spec.types.assign(spec.tokens.size(), TokenType::Normal);
  spec.merges = std::move(merges);
  return spec;
}

}  // namespace

TEST_CASE("ids equal those of the tokenizers library, for every pattern and probe") {
  for (const char* pattern : kPatterns) {
    const Tokenizer tokenizer = golden(pattern);
    const auto rows = read_jsonl(golden_path(pattern) + "/probes.jsonl");
    CHECK(rows.size() >= 150);
    for (const auto& row : rows) {
      const auto text = row["text"].get<std::string>();
      const auto ids = row["ids"].get<Ids>();
      CAPTURE(pattern);
      CAPTURE(text);
      CHECK(tokenizer.encode(text, SpecialText::Plain) == ids);
      CHECK(tokenizer.encode(text, SpecialText::Parse) == row.value("parsed", ids));
      CHECK(tokenizer.decode(ids, SpecialTokens::Keep) == text);
    }
  }
}

TEST_CASE("decoding equals the tokenizers library's, broken characters included") {
  const Tokenizer tokenizer = golden("gpt2");
  for (const auto& row : read_jsonl(golden_path("decode.jsonl"))) {
    const auto ids = row["ids"].get<Ids>();
    CHECK(tokenizer.decode(ids, SpecialTokens::Keep) == row["text"].get<std::string>());
    CHECK(tokenizer.decode(ids, SpecialTokens::Skip) == row["skipped"].get<std::string>());
    StreamDecoder stream(tokenizer, SpecialTokens::Keep);
    std::string streamed;
    for (int32_t id : ids) streamed += stream.push(id);
    CHECK(streamed + stream.flush() == row["text"].get<std::string>());
  }
}

TEST_CASE("any bytes survive encoding: random text, valid and not") {
  std::mt19937 random(3);
  for (const char* pattern : kPatterns) {
    const Tokenizer tokenizer = golden(pattern);
    for (int round = 0; round < 300; ++round) {
      std::string text(random() % 40, ' ');
      for (char& c : text) c = static_cast<char>(round % 2 ? random() % 256 : " \n1a'\xC3\xA9\xF0\x9F"[random() % 9]);
      std::string bytes;
      for (int32_t id : tokenizer.encode(text, SpecialText::Plain)) bytes += tokenizer.token_bytes(id);
      CHECK(bytes == text);
    }
  }
}

TEST_CASE("the stream decoder holds back unfinished characters") {
  const Tokenizer tokenizer(byte_spec({}, {}));
  StreamDecoder stream(tokenizer, SpecialTokens::Keep);
  const auto id = [&](const std::string& byte) { return tokenizer.encode(byte, SpecialText::Plain).at(0); };
  CHECK(stream.push(id("a")) == "a");
  CHECK(stream.push(id("\xF0")) == "");
  CHECK(stream.push(id("\x9F")) == "");
  CHECK(stream.push(id("\x98")) == "");
  CHECK(stream.push(id("\x80")) == "😀");
  CHECK(stream.push(id("\xE2")) == "");
  CHECK(stream.push(id("b")) ==
        "\uFFFD"
        "b");
  CHECK(stream.push(id("\xC3")) == "");
  CHECK(stream.flush() == "\uFFFD");
  CHECK(stream.flush() == "");
}

TEST_CASE("the best merge goes first, of equals the leftmost") {
  // ids: ab 256, bc 257, abc 258, aa 259
  const Tokenizer tokenizer(byte_spec({"ab", "bc", "abc", "aa"}, {"b c", "a b", "a bc", "a a"}));
  const int32_t a = tokenizer.encode("a", SpecialText::Plain).at(0);
  CHECK(tokenizer.encode("abc", SpecialText::Plain) == Ids{258});
  CHECK(tokenizer.encode("abab", SpecialText::Plain) == Ids{256, 256});
  CHECK(tokenizer.encode("aaa", SpecialText::Plain) == Ids{259, a});
}

TEST_CASE("ignore_merges takes a piece that is a token, whatever the merges say") {
  TokenizerSpec spec = byte_spec({"hello"}, {});
  CHECK(Tokenizer(spec).encode("hello", SpecialText::Plain).size() == 5);
  spec.ignore_merges = true;
  CHECK(Tokenizer(spec).encode("hello", SpecialText::Plain) == Ids{256});
}

TEST_CASE("added tokens: the longest wins; control tokens only where parsed") {
  TokenizerSpec spec = byte_spec({"<x>", "<x><y>", "<tool>"}, {});
  spec.types[256] = spec.types[257] = TokenType::Control;
  spec.types[258] = TokenType::UserDefined;
  const Tokenizer tokenizer(spec);
  CHECK(tokenizer.encode("<x><y><x><tool>", SpecialText::Parse) == Ids{257, 256, 258});
  CHECK(tokenizer.encode("<x><tool>", SpecialText::Plain).size() == 4);
  CHECK(tokenizer.encode("<x><tool>", SpecialText::Plain).back() == 258);
  CHECK(tokenizer.decode(Ids{256, 258, 257}, SpecialTokens::Skip) == "<tool>");
  CHECK(tokenizer.control_id("<x>") == 256);
  CHECK(!tokenizer.control_id("<tool>"));
  CHECK(!tokenizer.control_id(""));
}

TEST_CASE("a byte that the vocabulary lacks is left out") {
  TokenizerSpec spec = byte_spec({}, {});
  spec.types[4] = TokenType::Unused;
  CHECK(Tokenizer(spec).encode("a\x04z", SpecialText::Plain).size() == 2);
  CHECK(Tokenizer(spec).encode("\x04", SpecialText::Plain).empty());
}

TEST_CASE("a megabyte in one piece takes a moment, not hours") {
  const Tokenizer tokenizer = golden("gpt2");
  const size_t size = 1'000'000;
  std::string mixed;
  for (size_t i = 0; mixed.size() < size; ++i) mixed += "the queue is"[i % 3 + i % 7];
  for (const std::string& text :
       {std::string(size, 'a'), std::string(size, ' '), std::string(size, '\n'), std::string(size, '\xFF'), mixed}) {
    for (const char* pattern : {"gpt2", "qwen2"}) {
      const Tokenizer own = golden(pattern);
      std::string bytes;
      for (int32_t id : own.encode(text, SpecialText::Parse)) bytes += own.token_bytes(id);
      CHECK(bytes == text);
    }
  }
}

TEST_CASE("ids outside the vocabulary are refused") {
  const Tokenizer tokenizer = golden("gpt2");
  for (int32_t id : {-1, 601, 2147483647}) {
    CHECK_THROWS_AS(tokenizer.decode(Ids{id}, SpecialTokens::Keep), TokenizerError);
    CHECK_THROWS_AS(StreamDecoder(tokenizer, SpecialTokens::Keep).push(id), TokenizerError);
  }
}
