#include "tpo/fingerprint.h"

#include <cstdio>
#include <cstring>

namespace thinker {

Fingerprint& Fingerprint::add(std::span<const std::byte> bytes) {
  auto mix = [&](uint64_t word) { hash_ = (hash_ ^ word) * 1099511628211u; };
  size_t i = 0;
  for (; i + 8 <= bytes.size(); i += 8) {
    uint64_t word;
    std::memcpy(&word, bytes.data() + i, 8);
    mix(word);
  }
  for (; i < bytes.size(); ++i) mix(static_cast<uint64_t>(bytes[i]));
  mix(bytes.size());
  return *this;
}

Fingerprint& Fingerprint::add(const Transformer& model) {
  std::vector<std::byte> host;
  model.visit([&](const std::string& name, const Tensor& weight) {
    host.resize(weight.bytes());
    model.device().backend().copy_to_host(host.data(), weight.raw(), weight.bytes());
    add(name).add(host);
  });
  return *this;
}

std::string Fingerprint::text() const {
  char text[32];
  std::snprintf(text, sizeof text, "fnv1a:%016llx", static_cast<unsigned long long>(hash_));
  return text;
}

}  // namespace thinker
