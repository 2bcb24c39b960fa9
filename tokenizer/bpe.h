// Byte-level byte-pair encoding: text -> token ids -> text.
//
// A piece of text (pretokenizer.h) starts as one token a byte. Of all neighbouring pairs that the merge list names, the
// best (earliest in the list; of equals the leftmost) becomes one token, until no pair is in the list. A heap of
// candidate pairs over a linked list of tokens makes this O(n log n) for a piece of n bytes.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tokenizer/spec.h"

namespace thinker {

/// How encode takes the text of a control token: as any other text, or as that token.
enum class SpecialText { Plain, Parse };

/// Whether decoding writes control tokens out.
enum class SpecialTokens { Keep, Skip };

/// Encoder and decoder of one vocabulary. Immutable: may be shared by threads.
class Tokenizer {
 public:
  /// Throws TokenizerError, beginning with `where`, if the spec contradicts itself (see check_spec), if two tokens are
  /// the same text, or if a merge names a token that does not exist.
  explicit Tokenizer(TokenizerSpec spec, const std::string& where = "tokenizer");

  /// The ids of a text. Adds no bos. Any bytes are accepted. Text is taken as it is: Qwen2's NFC normalisation is not
  /// done, so that decoding gives back exactly what was encoded. A byte for which the vocabulary has no token is left
  /// out, as transformers and llama.cpp do (SmolLM2 lacks 21, none of them in ordinary text); with Pattern::Characters
  /// a character that is no token throws TokenizerError naming it.
  std::vector<int32_t> encode(std::string_view text, SpecialText special) const;

  /// The text of some ids; what is not valid UTF-8 is replaced by U+FFFD. Throws TokenizerError on an id outside the
  /// vocabulary.
  std::string decode(std::span<const int32_t> ids, SpecialTokens special) const;

  /// The bytes of one token: for all but control tokens, exactly what it stands for in a text. Throws as decode.
  const std::string& token_bytes(int32_t id) const;

  /// The id of the control token that reads so.
  std::optional<int32_t> control_id(std::string_view text) const;

  int64_t vocabulary_size() const { return static_cast<int64_t>(spec_.tokens.size()); }
  bool is_control(int32_t id) const { return spec_.types.at(id) == TokenType::Control; }
  const TokenizerSpec& spec() const { return spec_; }

 private:
  struct Merge {
    int32_t rank, id;
  };
  struct Candidate;
  struct StringHash {
    using is_transparent = void;
    size_t operator()(std::string_view s) const { return std::hash<std::string_view>{}(s); }
  };
  using StringMap = std::unordered_map<std::string, int32_t, StringHash, std::equal_to<>>;

  void index_tokens(StringMap& by_form, const std::string& where);
  void index_merges(const StringMap& by_form, const std::string& where);
  std::optional<int32_t> whole_token_at(std::string_view text, size_t at, SpecialText special) const;
  void encode_plain(std::vector<int32_t>& ids, std::string_view text) const;
  void encode_piece(std::vector<int32_t>& ids, std::string_view piece) const;
  void merge_bytes(std::vector<int32_t>& ids, std::string_view piece) const;

  TokenizerSpec spec_;
  Pretokenizer pretokenizer_;
  std::vector<std::string> bytes_;              // (V)
  std::array<int32_t, 256> byte_ids_;           // -1 where the vocabulary lacks a byte
  std::unordered_map<uint64_t, Merge> merges_;  // by the pair of ids
  StringMap whole_;                             // tokens by their bytes; only where pieces are looked up whole
  std::array<std::vector<int32_t>, 256> added_by_first_;  // control and user-defined ids by first byte, longest first
};

/// Decodes ids as they come, never splitting a character: bytes of an unfinished one wait for the next id.
class StreamDecoder {
 public:
  /// Keeps a reference to the tokenizer.
  StreamDecoder(const Tokenizer& tokenizer, SpecialTokens special) : tokenizer_(tokenizer), special_(special) {}

  /// The text that is certain after this id. All results and flush()'s joined equal Tokenizer::decode of all ids.
  std::string push(int32_t id);

  /// What still waits, as U+FFFD.
  std::string flush();

 private:
  const Tokenizer& tokenizer_;
  SpecialTokens special_;
  std::string waiting_;
};

}  // namespace thinker
