// Cuts text into pieces (about: words, numbers, runs of punctuation, white space) before BPE merges inside each piece.
// A model was trained with one way of cutting and needs exactly that one. The patterns are regular expressions with
// Unicode classes, run by PCRE2.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace thinker {

enum class Pattern {
  Gpt2,        // GPT-2's: contractions, words and numbers with a space in front, punctuation, white space
  Smollm,      // every digit (Unicode class N) is a piece; what lies between is cut as by Gpt2
  Llama3,      // case-blind contractions, numbers up to 3 digits, words with one leading symbol, newlines apart
  Qwen2,       // as Llama3 with single digits
  Characters,  // every character is a piece: for vocabularies that have no merges
};

/// "gpt2", "smollm", "llama3", "qwen2", "characters".
const char* pattern_name(Pattern pattern);

/// The pattern for a GGUF file's `tokenizer.ggml.pre`, "" where it is missing. Throws TokenizerError naming it when it
/// is not one of ours; "" and "default", which llama.cpp cuts in a way of its own, are not. Llama3's files also want
/// TokenizerSpec::ignore_merges, and add_bos where they do not have `add_bos_token`.
Pattern pattern_from_gguf(std::string_view pre);

/// The regular expression that Hugging Face's tokenizer.json holds for the pattern (Llama3, Qwen2, Characters), or for
/// the whole of Gpt2, which tokenizer.json mostly leaves implicit. Smollm is not one expression there: throws.
const char* hugging_face_regex(Pattern pattern);

/// A compiled pattern. Immutable: may be shared by threads.
class Pretokenizer {
 public:
  explicit Pretokenizer(Pattern pattern);
  ~Pretokenizer();
  Pretokenizer(Pretokenizer&&) noexcept;
  Pretokenizer& operator=(Pretokenizer&&) noexcept;

  /// Calls `piece` with each part of the text, in order; the parts joined are the text. Bytes that are not valid UTF-8
  /// never share a piece with characters: each maximal run of them is a piece.
  void split(std::string_view text, const std::function<void(std::string_view)>& piece) const;

 private:
  struct Compiled;
  std::unique_ptr<Compiled> compiled_;
};

}  // namespace thinker
