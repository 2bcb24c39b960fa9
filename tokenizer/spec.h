// TokenizerSpec: all that a model file says about its tokenizer, as plain data. It comes from a Hugging Face folder
// (hf.h), from a GGUF file's metadata (whoever reads GGUF fills it), or from training (train.h).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/pretokenizer.h"

namespace thinker {

/// What a token is for; the values are GGUF's (`tokenizer.ggml.token_type`).
enum class TokenType : int32_t {
  Normal = 1,
  Unknown = 2,
  Control = 3,      // special: parsed only where asked for, left out of decoded text
  UserDefined = 4,  // added, not special: always taken whole, in plain text too (as transformers and llama.cpp do)
  Unused = 5,       // fills a hole in the vocabulary
  Byte = 6,         // of sentencepiece; not supported
};

struct TokenizerSpec {
  std::vector<std::string>
      tokens;                    // (V) Normal ones in byte-level form (byte_level_form below), the others as they read
  std::vector<TokenType> types;  // (V)
  std::vector<std::string> merges;  // "left right" in byte-level form, best first
  Pattern pattern = Pattern::Gpt2;
  bool ignore_merges = false;     // a piece that is a token is that token, whatever the merges say (Llama-3)
  int32_t bos = -1, eos = -1;     // -1: none
  std::vector<int32_t> end_ids;   // further tokens that end a generation (generation_config.json, GGUF's eot_token_id)
  bool add_bos = false;           // bos stands in front of every text; of a chat only where there is no chat template
  bool add_bos_in_chats = false;  // and in front of every chat, though its template writes none: asked for by name
  std::string chat_template;      // Jinja; only recognised, never run (chat_template.h)
};

/// The most tokens that a vocabulary may have: far above any real one, small enough to bound what a bad file allocates.
inline constexpr int64_t kMaxVocabulary = int64_t{1} << 24;

/// GPT-2's reversible writing of bytes as printable characters: '!'..'~', U+00A1..U+00AC and U+00AE..U+00FF stand for
/// themselves, the other 68 bytes, in order, for U+0100 and up (a space becomes U+0120, "Ġ").
std::string byte_level_form(std::string_view bytes);

/// Inverse of byte_level_form. A text with any character outside that alphabet is returned as it is.
std::string bytes_of_form(std::string_view form);

/// Throws TokenizerError naming the first thing wrong: sizes that differ, ids out of range, sentencepiece's byte
/// tokens. `where` begins the message (a file name, say).
void check_spec(const TokenizerSpec& spec, const std::string& where);

}  // namespace thinker
