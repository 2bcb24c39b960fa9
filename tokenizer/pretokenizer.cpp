#include "tokenizer/pretokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <limits>

#include "tokenizer/error.h"
#include "tokenizer/utf8.h"

namespace thinker {
namespace {

// Unicode's White_Space. Not PCRE2's \s: that counts U+180E, which Unicode took out of the class in 2013.
#define WS "\\t-\\r\\x{20}\\x{85}\\p{Z}"

constexpr const char* kGpt2 =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" WS "\\p{L}\\p{N}]+|[" WS "]+(?![^" WS "])|[" WS "]+";

// Two steps in one expression. Since each digit ends a stretch, white space in front of a digit is at the end of *its*
// stretch and stays whole: the look-ahead lets a digit pass as it lets the end of the text pass.
constexpr const char* kSmollm =
    "\\p{N}|'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?[^" WS "\\p{L}\\p{N}]+|[" WS "]+(?![^" WS "\\p{N}])|[" WS "]+";

constexpr const char* kLlama3 = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^" WS
                                "\\p{L}\\p{N}]+[\\r\\n]*|"
                                "[" WS "]*[\\r\\n]+|[" WS "]+(?![^" WS "])|[" WS "]+";

constexpr const char* kQwen2 = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^" WS
                               "\\p{L}\\p{N}]+[\\r\\n]*|"
                               "[" WS "]*[\\r\\n]+|[" WS "]+(?![^" WS "])|[" WS "]+";
#undef WS

constexpr const char* kCharacters = "[\\s\\S]";

const char* expression(Pattern pattern) {
  switch (pattern) {
    case Pattern::Gpt2: return kGpt2;
    case Pattern::Smollm: return kSmollm;
    case Pattern::Llama3: return kLlama3;
    case Pattern::Qwen2: return kQwen2;
    case Pattern::Characters: return kCharacters;
  }
  tokenizer_fail("unknown pre-tokenizer pattern ", static_cast<int>(pattern));
}

struct FreePcre2 {
  void operator()(pcre2_code* p) const { pcre2_code_free(p); }
  void operator()(pcre2_match_data* p) const { pcre2_match_data_free(p); }
  void operator()(pcre2_match_context* p) const { pcre2_match_context_free(p); }
};

std::string error_text(int code) {
  std::array<PCRE2_UCHAR, 256> buffer{};
  pcre2_get_error_message(code, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

}  // namespace

struct Pretokenizer::Compiled {
  std::unique_ptr<pcre2_code, FreePcre2> code;
  std::unique_ptr<pcre2_match_context, FreePcre2> context;

  // `text` is valid UTF-8 and not empty. Where the expression matches nothing, the gap is a piece too.
  void split(std::string_view text, const std::function<void(std::string_view)>& piece) const {
    const std::unique_ptr<pcre2_match_data, FreePcre2> match(pcre2_match_data_create(1, nullptr));
    size_t at = 0;
    while (at < text.size()) {
      // Without NO_UTF_CHECK every call would check the whole rest of the text again: quadratic.
      const int found = pcre2_match(code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at,
                                    PCRE2_NO_UTF_CHECK, match.get(), context.get());
      if (found == PCRE2_ERROR_NOMATCH) break;
      if (found < 0) tokenizer_fail("pre-tokenizer: ", error_text(found));
      const size_t* range = pcre2_get_ovector_pointer(match.get());
      if (range[0] > at) piece(text.substr(at, range[0] - at));
      piece(text.substr(range[0], range[1] - range[0]));
      at = range[1];
    }
    if (at < text.size()) piece(text.substr(at));
  }
};

const char* pattern_name(Pattern pattern) {
  switch (pattern) {
    case Pattern::Gpt2: return "gpt2";
    case Pattern::Smollm: return "smollm";
    case Pattern::Llama3: return "llama3";
    case Pattern::Qwen2: return "qwen2";
    case Pattern::Characters: return "characters";
  }
  tokenizer_fail("unknown pre-tokenizer pattern ", static_cast<int>(pattern));
}

Pattern pattern_from_gguf(std::string_view pre) {
  if (pre == "gpt-2" || pre == "gpt2") return Pattern::Gpt2;
  if (pre == "smollm") return Pattern::Smollm;
  if (pre == "llama-bpe" || pre == "llama3" || pre == "llama-v3") return Pattern::Llama3;
  if (pre == "qwen2") return Pattern::Qwen2;
  if (pre.empty() || pre == "default") {
    tokenizer_fail("the file does not say how its text is cut into words (tokenizer.ggml.pre is ",
                   pre.empty() ? "missing" : "\"default\"", "); convert it again with a newer llama.cpp");
  }
  tokenizer_fail("pre-tokenizer \"", utf8_excerpt(pre, 40),
                 "\" is not supported (gpt-2, smollm, llama-bpe and qwen2 are)");
}

const char* hugging_face_regex(Pattern pattern) {
  switch (pattern) {
    case Pattern::Gpt2: return "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
    case Pattern::Llama3:
      return "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
             "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
    case Pattern::Qwen2:
      return "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
             "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
    case Pattern::Characters: return kCharacters;
    case Pattern::Smollm: break;
  }
  tokenizer_fail("pattern ", pattern_name(pattern), " is not one expression in tokenizer.json");
}

Pretokenizer::Pretokenizer(Pattern pattern) : compiled_(std::make_unique<Compiled>()) {
  int error = 0;
  size_t where = 0;
  compiled_->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(expression(pattern)), PCRE2_ZERO_TERMINATED,
                                      PCRE2_UTF | PCRE2_UCP, &error, &where, nullptr));
  if (!compiled_->code) tokenizer_fail("pre-tokenizer ", pattern_name(pattern), ": ", error_text(error), " at ", where);
  // May fail where memory must not be executable; matching then falls back to PCRE2's interpreter.
  pcre2_jit_compile(compiled_->code.get(), PCRE2_JIT_COMPLETE);
  // The default limit of 10 million steps is within reach of one long run of spaces.
  compiled_->context.reset(pcre2_match_context_create(nullptr));
  pcre2_set_match_limit(compiled_->context.get(), std::numeric_limits<uint32_t>::max());
}

Pretokenizer::~Pretokenizer() = default;
Pretokenizer::Pretokenizer(Pretokenizer&&) noexcept = default;
Pretokenizer& Pretokenizer::operator=(Pretokenizer&&) noexcept = default;

void Pretokenizer::split(std::string_view text, const std::function<void(std::string_view)>& piece) const {
  // A stretch is a maximal run of valid characters, or of bytes that are none.
  size_t start = 0;
  while (start < text.size()) {
    const bool valid = utf8_step(text, start).kind == Utf8Kind::Character;
    size_t end = start;
    while (end < text.size()) {
      const Utf8Step step = utf8_step(text, end);
      if ((step.kind == Utf8Kind::Character) != valid) break;
      end += step.length;
    }
    const std::string_view stretch = text.substr(start, end - start);
    if (valid) {
      compiled_->split(stretch, piece);
    } else {
      piece(stretch);
    }
    start = end;
  }
}

}  // namespace thinker
