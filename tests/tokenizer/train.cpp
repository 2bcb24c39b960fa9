// Training: what the tokenizers library learns from the same text, and vocabularies of characters.
#include "tokenizer/train.h"

#include <doctest/doctest.h>

#include <sstream>

#include "tests/tokenizer/goldens.h"
#include "tokenizer/bpe.h"
#include "tokenizer/error.h"
#include "tokenizer/hf.h"

using namespace thinker;
using thinker::test::golden_path;

namespace {

const std::vector<std::string> kControl = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};

std::string corpus() {
  std::ifstream in(golden_path("trained/corpus.txt"), std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  REQUIRE(in);
  return text.str();
}

std::string message_of(const auto& action) {
  try {
    action();
  } catch (const TokenizerError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("training learns what the tokenizers library learns") {
  const TokenizerSpec expected = read_tokenizer_json(golden_path("trained"));
  const TokenizerSpec learnt = train_bpe(corpus(), 600, Pattern::Gpt2, kControl);
  CHECK(expected.tokens.size() == 600);
  CHECK(learnt.tokens == expected.tokens);
  CHECK(learnt.merges == expected.merges);
  CHECK((learnt.types == expected.types));
}

TEST_CASE("training: by hand") {
  // Pieces "aaab" three times, " aaab" never: the text has no spaces. aa: 2 a word, so first; then aa+a (ids decide the
  // tie with a+b), then aaa+b.
  const TokenizerSpec spec = train_bpe("aaab\naaab\naaab", 259, Pattern::Gpt2, {});
  CHECK(spec.merges.at(0) == "a a");
  CHECK(spec.tokens.at(256) == "aa");
  CHECK(spec.tokens.size() == 259);
  CHECK(Tokenizer(spec).encode("aaab", SpecialText::Plain).size() == 1);
}

TEST_CASE("training stops when no pair occurs twice") {
  CHECK(train_bpe("abcdefg", 1000, Pattern::Gpt2, {}).tokens.size() == 256);
  CHECK(train_bpe("", 1000, Pattern::Gpt2, kControl).tokens.size() == 259);
}

TEST_CASE("a trained vocabulary encodes any text and gives it back") {
  for (const Pattern pattern : {Pattern::Gpt2, Pattern::Smollm, Pattern::Llama3, Pattern::Qwen2}) {
    const Tokenizer tokenizer(train_bpe(corpus(), 500, pattern, kControl));
    for (const std::string& text : {corpus(), std::string("unseen: Ω 😀 \x01 12345\r\n\r\n")}) {
      CHECK(tokenizer.decode(tokenizer.encode(text, SpecialText::Plain), SpecialTokens::Keep) == text);
    }
  }
}

TEST_CASE("training: sizes that are not possible") {
  CHECK_THROWS_AS(train_bpe("x", 258, Pattern::Gpt2, kControl), TokenizerError);
  CHECK_THROWS_AS(train_bpe("x", -1, Pattern::Gpt2, kControl), TokenizerError);
  CHECK_THROWS_AS(train_bpe("x", int64_t{1} << 40, Pattern::Gpt2, kControl), TokenizerError);
}

TEST_CASE("a vocabulary of characters") {
  const std::vector<std::string> control = {"<end>"};
  TokenizerSpec spec = character_spec("abc é\n你", control);
  spec.eos = 0;
  const Tokenizer tokenizer(spec);
  CHECK(tokenizer.vocabulary_size() == 8);
  CHECK(tokenizer.encode("cab é\n你", SpecialText::Plain) == std::vector<int32_t>{3, 1, 2, 4, 5, 6, 7});
  CHECK(tokenizer.encode("a<end>", SpecialText::Parse) == std::vector<int32_t>{1, 0});
  CHECK(tokenizer.decode(std::vector<int32_t>{7, 5, 0}, SpecialTokens::Skip) == "你é");

  const auto encode = [&](const char* text) { return message_of([&] { tokenizer.encode(text, SpecialText::Plain); }); };
  CHECK(encode("abz") == "the character U+007A z is not in this model's alphabet");
  CHECK(encode("aß") == "the character U+00DF ß is not in this model's alphabet");
  CHECK(encode("a\t") == "the character U+0009 is not in this model's alphabet");
  CHECK(encode("a\xFF") == "the byte FF is not in this model's alphabet");
  CHECK(message_of([] { character_spec("aba", {}); }) == "the alphabet has 'a' twice");
  CHECK(message_of([] { character_spec("a\xC3", {}); }) == "the alphabet is not valid UTF-8 at byte 1");
}
