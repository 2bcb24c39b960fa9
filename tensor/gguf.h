// Reading GGUF, the one-file model format of llama.cpp: typed metadata (configuration, vocabulary, chat template) and
// named tensors, often quantised. Versions 2 and 3, little-endian.
//
//   "GGUF"  version u32  tensors u64  keys u64
//   for each key:     name string, type u32, value
//   for each tensor:  name string, dimensions u32, that many u64 (innermost first), type u32, offset u64
//   padding to general.alignment (32 unless given), then the tensors' data at their offsets
//
// A string is its length u64 and its bytes; an array is its items' type u32, their count u64 and the items.
//
// The file is mapped into memory, so opening it costs little more than reading the metadata. It is not trusted: every
// count, length and offset is compared with what the file really holds before it is used or memory is reserved for it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "tensor/dequantize.h"
#include "tensor/file.h"
#include "tensor/shape.h"

namespace thinker {

enum class GgufValueType : uint32_t {
  U8 = 0,
  I8 = 1,
  U16 = 2,
  I16 = 3,
  U32 = 4,
  I32 = 5,
  F32 = 6,
  Bool = 7,
  String = 8,
  Array = 9,
  U64 = 10,
  I64 = 11,
  F64 = 12
};

/// An array as it lies in the file, its bounds already checked; GgufFile::get decodes it.
struct GgufArray {
  GgufValueType type;                // of the items
  int64_t count;                     // of items
  std::span<const std::byte> bytes;  // of all items
};

/// All integers are int64_t, except a U64, which may not fit; F32 and F64 are double.
using GgufValue = std::variant<bool, int64_t, uint64_t, double, std::string, GgufArray>;

struct GgufTensor {
  std::string name;
  GgmlType type;
  Shape shape;                      // outermost first: a linear weight is (outputs, inputs); a scalar is (1)
  std::span<const std::byte> data;  // in the map of the GgufFile, which must outlive it
};

class GgufFile {
 public:
  /// Maps the file and reads all of its structure. Throws Error naming the file and what is wrong or unsupported.
  explicit GgufFile(const std::string& path);

  const std::string& path() const { return file_.path(); }
  int version() const { return version_; }
  const std::map<std::string, GgufValue, std::less<>>& metadata() const { return metadata_; }
  const std::map<std::string, GgufTensor, std::less<>>& tensors() const { return tensors_; }

  /// The value of a key, or nothing when the file does not have the key. T is bool, int64_t, double, std::string or a
  /// std::vector of int64_t, double or std::string. int64_t reads every integer type, double every integer and
  /// floating-point type. Throws Error naming key and file when the value has another type or does not fit.
  template <class T>
  std::optional<T> find(std::string_view key) const;

  /// As find(), but a missing key is an Error naming it and the file.
  template <class T>
  T get(std::string_view key) const;

  /// The tensor, or nullptr when there is none of that name.
  const GgufTensor* find_tensor(std::string_view name) const;

  /// The tensor; throws Error naming it and the file when there is none.
  const GgufTensor& tensor(std::string_view name) const;

  /// out (tensor.shape) = the elements as fp32. Throws Error naming file, tensor and type when the type is unsupported.
  void to_f32(float* out, const GgufTensor& tensor) const;

 private:
  MappedFile file_;
  int version_ = 0;
  std::map<std::string, GgufValue, std::less<>> metadata_;
  std::map<std::string, GgufTensor, std::less<>> tensors_;
};

}  // namespace thinker
