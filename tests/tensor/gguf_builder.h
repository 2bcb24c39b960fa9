// GGUF files for tests, byte by byte.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tensor/gguf.h"

namespace thinker {

/// A GGUF file put together by hand, so that it can say what no honest writer would.
struct GgufBuilder {
  std::string bytes;

  template <class T>
  GgufBuilder& put(T value) {
    bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  GgufBuilder& string(std::string_view s) {
    put<uint64_t>(s.size());
    bytes += s;
    return *this;
  }
  GgufBuilder& header(uint64_t tensors, uint64_t keys, uint32_t version = 3) {
    bytes += "GGUF";
    return put(version).put(tensors).put(keys);
  }
  GgufBuilder& key(std::string_view name, GgufValueType type) { return string(name).put(type); }
  GgufBuilder& tensor(std::string_view name, std::vector<uint64_t> dims, uint64_t offset, uint32_t type = 0) {
    string(name).put(static_cast<uint32_t>(dims.size()));
    for (uint64_t d : dims) put(d);
    return put(type).put(offset);
  }
  /// Pads to 32 and adds so many bytes of data.
  GgufBuilder& data(size_t n) {
    bytes.resize((bytes.size() + 31) / 32 * 32 + n);
    return *this;
  }
};

}  // namespace thinker
