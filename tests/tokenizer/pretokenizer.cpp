// Cutting: no byte is lost, invalid UTF-8 stands apart, and a few cuts that can be checked by eye. Equality with other
// programs is tested on ids (bpe.cpp).
#include "tokenizer/pretokenizer.h"

#include <doctest/doctest.h>

#include <vector>

#include "tokenizer/error.h"
#include "tokenizer/utf8.h"

using namespace thinker;
using Pieces = std::vector<std::string>;

namespace {

Pieces cut(Pattern pattern, std::string_view text) {
  Pieces pieces;
  Pretokenizer(pattern).split(text, [&](std::string_view piece) { pieces.emplace_back(piece); });
  return pieces;
}

}  // namespace

TEST_CASE("each pattern's cuts") {
  const char* text = "It's  1234 x\n\n\n y";
  CHECK(cut(Pattern::Gpt2, text) == Pieces{"It", "'s", " ", " 1234", " x", "\n\n\n", " y"});
  CHECK(cut(Pattern::Smollm, text) == Pieces{"It", "'s", "  ", "1", "2", "3", "4", " x", "\n\n\n", " y"});
  CHECK(cut(Pattern::Llama3, text) == Pieces{"It", "'s", " ", " ", "123", "4", " x", "\n\n\n", " y"});
  CHECK(cut(Pattern::Qwen2, text) == Pieces{"It", "'s", " ", " ", "1", "2", "3", "4", " x", "\n\n\n", " y"});
  CHECK(cut(Pattern::Characters, "é 1\n") == Pieces{"é", " ", "1", "\n"});
  CHECK(cut(Pattern::Gpt2, "").empty());
}

TEST_CASE("invalid UTF-8 stands apart and is kept") {
  CHECK(cut(Pattern::Gpt2,
            "ab\xFF\xFE"
            "cd") == Pieces{"ab", "\xFF\xFE", "cd"});
  CHECK(cut(Pattern::Llama3, "\xE4\xBD") == Pieces{"\xE4\xBD"});
  CHECK(cut(Pattern::Smollm,
            "1\xED\xA0\x80"
            "2") == Pieces{"1", "\xED\xA0\x80", "2"});  // a surrogate
  CHECK(cut(Pattern::Qwen2, std::string_view("a\0b", 3)) == Pieces{"a", std::string("\0b", 2)});
}

TEST_CASE("GGUF's names") {
  CHECK(pattern_from_gguf("smollm") == Pattern::Smollm);
  CHECK(pattern_from_gguf("llama-bpe") == Pattern::Llama3);
  CHECK(pattern_from_gguf("qwen2") == Pattern::Qwen2);
  CHECK(pattern_from_gguf("gpt-2") == Pattern::Gpt2);
  CHECK_THROWS_WITH_AS(pattern_from_gguf("default"),
                       "the file does not say how its text is cut into words (tokenizer.ggml.pre is \"default\"); "
                       "convert it again with a newer llama.cpp",
                       TokenizerError);
  CHECK_THROWS_WITH_AS(pattern_from_gguf(""),
                       "the file does not say how its text is cut into words (tokenizer.ggml.pre is missing); "
                       "convert it again with a newer llama.cpp",
                       TokenizerError);
  CHECK_THROWS_WITH_AS(pattern_from_gguf("tekken"),
                       "pre-tokenizer \"tekken\" is not supported (gpt-2, smollm, llama-bpe and qwen2 are)",
                       TokenizerError);
}

TEST_CASE("UTF-8: every code point there and back; ill-formed parts as in the Unicode standard") {
  for (uint32_t c = 0; c <= 0x10FFFF; c += c < 0x3000 ? 1 : 251) {
    const std::string character = utf8_encode(c);
    const bool surrogate = c >= 0xD800 && c <= 0xDFFF;
    const Utf8Step step = utf8_step(character, 0);
    REQUIRE((step.kind == Utf8Kind::Character) == !surrogate);
    if (surrogate) continue;
    REQUIRE(step.length == character.size());
    REQUIRE(utf8_decode(character) == c);
    for (size_t cut = 1; cut < character.size(); ++cut) {
      REQUIRE((utf8_step(character.substr(0, cut), 0).kind == Utf8Kind::Incomplete));
    }
  }
  // The standard's example of maximal subparts (3.9, table 3-11).
  CHECK(utf8_replace_invalid("\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64") ==
        "a\uFFFD\uFFFD\uFFFDb\uFFFDc\uFFFD\uFFFDd");
  CHECK(utf8_replace_invalid("\xC0\xAF\xE0\x80\xBF\xF4\x91") == "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD");
}
