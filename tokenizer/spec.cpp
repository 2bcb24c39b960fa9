#include "tokenizer/spec.h"

#include <array>

#include "tokenizer/error.h"
#include "tokenizer/utf8.h"

namespace thinker {
namespace {

struct ByteAlphabet {
  std::array<std::string, 256> form;      // UTF-8 of the character that stands for a byte
  std::array<int, 0x100 + 68> byte_of{};  // by code point; -1 where the character stands for no byte

  ByteAlphabet() {
    byte_of.fill(-1);
    uint32_t next = 0x100;
    for (uint32_t b = 0; b < 256; ++b) {
      const bool itself = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      const uint32_t c = itself ? b : next++;
      form[b] = utf8_encode(c);
      byte_of[c] = static_cast<int>(b);
    }
  }
};

const ByteAlphabet& alphabet() {
  static const ByteAlphabet table;
  return table;
}

}  // namespace

std::string byte_level_form(std::string_view bytes) {
  std::string out;
  for (char b : bytes) out += alphabet().form[static_cast<unsigned char>(b)];
  return out;
}

std::string bytes_of_form(std::string_view form) {
  std::string out;
  for (size_t at = 0; at < form.size();) {
    const Utf8Step step = utf8_step(form, at);
    if (step.kind != Utf8Kind::Character) return std::string(form);
    const uint32_t c = utf8_decode(form.substr(at, step.length));
    if (c >= alphabet().byte_of.size() || alphabet().byte_of[c] < 0) return std::string(form);
    out += static_cast<char>(alphabet().byte_of[c]);
    at += step.length;
  }
  return out;
}

void check_spec(const TokenizerSpec& spec, const std::string& where) {
  const auto size = static_cast<int64_t>(spec.tokens.size());
  if (size == 0) tokenizer_fail(where, ": the vocabulary is empty");
  if (size > kMaxVocabulary) tokenizer_fail(where, ": ", size, " tokens are more than the limit of ", kMaxVocabulary);
  if (spec.types.size() != spec.tokens.size()) {
    tokenizer_fail(where, ": ", size, " tokens but ", spec.types.size(), " token types");
  }
  for (int64_t id = 0; id < size; ++id) {
    const auto type = static_cast<int32_t>(spec.types[id]);
    if (type < 1 || type > 6) tokenizer_fail(where, ": token ", id, " has the unknown type ", type);
    if (spec.types[id] == TokenType::Byte) {
      tokenizer_fail(where, ": token ", id, " is a sentencepiece byte token; only byte-level BPE is supported");
    }
    if (spec.tokens[id].empty() && spec.types[id] != TokenType::Unused) {
      tokenizer_fail(where, ": token ", id, " is an empty string");
    }
  }
  const auto check_id = [&](int32_t id, const char* what) {
    if (id < -1 || id >= size) tokenizer_fail(where, ": ", what, " id ", id, " is outside the vocabulary of ", size);
  };
  check_id(spec.bos, "bos");
  check_id(spec.eos, "eos");
  for (int32_t id : spec.end_ids) check_id(id, "end token");
  if (spec.add_bos_in_chats && !spec.add_bos) tokenizer_fail(where, ": asks for a bos token in chats but not in texts");
  if (spec.add_bos && spec.bos < 0) tokenizer_fail(where, ": asks for a bos token in front but names none");
}

}  // namespace thinker
