// A short name for what something was made from. Work that was interrupted is continued only where the name is the
// same: the samples of another model and the reference values of other pairs look just like one's own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "nn/transformer.h"

namespace thinker {

/// 64-bit FNV-1a over words of eight bytes: it tells accidental differences, not forgeries, apart.
class Fingerprint {
 public:
  Fingerprint& add(std::span<const std::byte> bytes);
  Fingerprint& add(std::string_view text) { return add(std::as_bytes(std::span(text))); }
  Fingerprint& add(std::span<const int32_t> ids) { return add(std::as_bytes(ids)); }
  Fingerprint& add(double x) { return add(std::as_bytes(std::span(&x, 1))); }
  /// Every weight's name and bits.
  Fingerprint& add(const Transformer& model);

  /// "fnv1a:" and 16 hexadecimal digits.
  std::string text() const;

 private:
  uint64_t hash_ = 14695981039346656037u;
};

}  // namespace thinker
