#include "tokenizer/utf8.h"

namespace thinker {

Utf8Step utf8_step(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(at);
  if (lead < 0x80) return {Utf8Kind::Character, 1};
  const size_t length = lead >= 0xC2 && lead <= 0xDF   ? 2
                        : (lead & 0xF0) == 0xE0        ? 3
                        : lead >= 0xF0 && lead <= 0xF4 ? 4
                                                       : 0;
  if (length == 0) return {Utf8Kind::Invalid, 1};
  // The second byte's range excludes overlong forms, surrogates and what lies above U+10FFFF.
  unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  for (size_t i = 1; i < length; ++i) {
    if (at + i == text.size()) return {Utf8Kind::Incomplete, i};
    if (byte(at + i) < low || byte(at + i) > high) return {Utf8Kind::Invalid, i};
    low = 0x80;
    high = 0xBF;
  }
  return {Utf8Kind::Character, length};
}

std::string utf8_replace_invalid(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const Utf8Step step = utf8_step(text, at);
    if (step.kind == Utf8Kind::Character) {
      out += text.substr(at, step.length);
    } else {
      out += "\xEF\xBF\xBD";
    }
    at += step.length;
  }
  return out;
}

std::string utf8_excerpt(std::string_view text, size_t limit) {
  std::string line = utf8_replace_invalid(text.substr(0, limit));
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < ' ') c = ' ';
  }
  return text.size() <= limit ? line : line + "…";
}

std::string utf8_encode(uint32_t c) {
  const auto tail = [&](int shift) { return static_cast<char>(0x80 | ((c >> shift) & 0x3F)); };
  if (c < 0x80) return {static_cast<char>(c)};
  if (c < 0x800) return {static_cast<char>(0xC0 | (c >> 6)), tail(0)};
  if (c < 0x10000) return {static_cast<char>(0xE0 | (c >> 12)), tail(6), tail(0)};
  return {static_cast<char>(0xF0 | (c >> 18)), tail(12), tail(6), tail(0)};
}

uint32_t utf8_decode(std::string_view character) {
  const auto lead = static_cast<unsigned char>(character[0]);
  if (character.size() == 1) return lead;
  uint32_t c = lead & (0x7Fu >> character.size());
  for (char next : character.substr(1)) c = (c << 6) | (static_cast<unsigned char>(next) & 0x3F);
  return c;
}

}  // namespace thinker
