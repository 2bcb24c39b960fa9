// A short name for what something was made from: SHA-256, by OpenSSL. Work that was interrupted is continued only where
// the name is the same: the samples of another model and the reference values of other pairs look just like one's own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "nn/transformer.h"

struct evp_md_ctx_st;  // OpenSSL's: a hash in the making

namespace thinker {

/// 64 hexadecimal digits, as sha256sum prints them.
std::string sha256(std::span<const std::byte> bytes);
inline std::string sha256(std::string_view text) {
  return sha256(std::as_bytes(std::span(text)));
}

/// The hash of several things in turn. The length of each goes in too, so that "ab", "c" is not "a", "bc".
class Fingerprint {
 public:
  Fingerprint();

  Fingerprint& add(std::span<const std::byte> bytes);
  Fingerprint& add(std::string_view text) { return add(std::as_bytes(std::span(text))); }
  Fingerprint& add(std::span<const int32_t> ids) { return add(std::as_bytes(ids)); }
  Fingerprint& add(double x) { return add(std::as_bytes(std::span(&x, 1))); }
  /// Every weight's name and bits, those of adapters too.
  Fingerprint& add(const Transformer& model);

  /// "sha256:" and 64 hexadecimal digits.
  std::string text() const;

 private:
  std::unique_ptr<evp_md_ctx_st, void (*)(evp_md_ctx_st*)> context_;
};

}  // namespace thinker
