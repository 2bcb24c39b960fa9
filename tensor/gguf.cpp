#include "tensor/gguf.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

#include "tensor/check.h"

namespace thinker {
namespace {

static_assert(std::endian::native == std::endian::little, "file data is little-endian and read in place");

constexpr int kMaxArrayNesting = 4;

struct ValueTraits {
  const char* name;
  uint64_t min_bytes;  // of one item; exact for numbers, the empty item for strings and arrays
};

// By GgufValueType.
constexpr std::array<ValueTraits, 13> kValueTraits = {{{"UINT8", 1},
                                                       {"INT8", 1},
                                                       {"UINT16", 2},
                                                       {"INT16", 2},
                                                       {"UINT32", 4},
                                                       {"INT32", 4},
                                                       {"FLOAT32", 4},
                                                       {"BOOL", 1},
                                                       {"STRING", 8},
                                                       {"ARRAY", 12},
                                                       {"UINT64", 8},
                                                       {"INT64", 8},
                                                       {"FLOAT64", 8}}};

const ValueTraits& traits(GgufValueType t) {
  return kValueTraits[static_cast<size_t>(t)];
}

/// Walks through the file's bytes; every step is checked against the end.
class Reader {
 public:
  Reader(const std::string& path, std::span<const std::byte> bytes) : path_(path), bytes_(bytes) {}

  uint64_t position() const { return position_; }
  uint64_t remaining() const { return bytes_.size() - position_; }

  /// Throws Error with the file's name and the byte at which reading stands.
  template <class... Parts>
  [[noreturn]] void damaged(const Parts&... parts) const {
    fail(path_, ": damaged or truncated GGUF file: ", parts..., " (at byte ", position_, ")");
  }

  std::span<const std::byte> take(uint64_t n, const char* what) {
    if (n > remaining()) damaged(what, " needs ", n, " bytes, but only ", remaining(), " are left");
    const auto taken = bytes_.subspan(position_, n);
    position_ += n;
    return taken;
  }

  template <class T>
  T number(const char* what) {
    return load_unaligned<T>(take(sizeof(T), what).data());
  }

  std::string_view string(const char* what) {
    const auto text = take(number<uint64_t>(what), what);
    return {reinterpret_cast<const char*>(text.data()), text.size()};
  }

  GgufValueType value_type() {
    const uint32_t type = number<uint32_t>("a value's type");
    if (type >= kValueTraits.size()) damaged("there is no value type ", type);
    return static_cast<GgufValueType>(type);
  }

  GgufValue value(GgufValueType type) {
    switch (type) {
      case GgufValueType::U8: return int64_t{number<uint8_t>("a value")};
      case GgufValueType::I8: return int64_t{number<int8_t>("a value")};
      case GgufValueType::U16: return int64_t{number<uint16_t>("a value")};
      case GgufValueType::I16: return int64_t{number<int16_t>("a value")};
      case GgufValueType::U32: return int64_t{number<uint32_t>("a value")};
      case GgufValueType::I32: return int64_t{number<int32_t>("a value")};
      case GgufValueType::U64: return number<uint64_t>("a value");
      case GgufValueType::I64: return number<int64_t>("a value");
      case GgufValueType::F32: return double{number<float>("a value")};
      case GgufValueType::F64: return number<double>("a value");
      case GgufValueType::Bool: return number<uint8_t>("a value") != 0;
      case GgufValueType::String: return std::string(string("a string"));
      case GgufValueType::Array: return array(1);
    }
    damaged("there is no value type ", static_cast<uint32_t>(type));
  }

 private:
  GgufArray array(int depth) {
    if (depth > kMaxArrayNesting) damaged("arrays are nested more than ", kMaxArrayNesting, " deep");
    const GgufValueType type = value_type();
    const uint64_t count = number<uint64_t>("an array's count");
    const uint64_t item = traits(type).min_bytes;
    if (count > remaining() / item)
      damaged("an array of ", count, " items of type ", traits(type).name, " does not fit into the file");
    const uint64_t start = position_;
    if (type == GgufValueType::String)
      for (uint64_t i = 0; i < count; ++i) string("a string of an array");
    else if (type == GgufValueType::Array)
      for (uint64_t i = 0; i < count; ++i) array(depth + 1);
    else
      take(count * item, "an array");
    return {type, static_cast<int64_t>(count), bytes_.subspan(start, position_ - start)};
  }

  const std::string& path_;
  std::span<const std::byte> bytes_;
  uint64_t position_ = 0;
};

struct TensorEntry {
  std::string_view name;
  GgmlType type;
  Shape shape;
  uint64_t offset, bytes;
};

/// Reads a tensor's dimensions and reverses them. Throws when they are too many or too large.
Shape read_shape(Reader& in, std::string_view name) {
  const uint32_t rank = in.number<uint32_t>("a tensor's number of dimensions");
  if (rank > 4) in.damaged("tensor ", printable(name), " has ", rank, " dimensions, at most 4 are possible");
  std::array<uint64_t, 4> dims{};
  int64_t product = 1;
  for (uint32_t i = 0; i < rank; ++i) {
    dims[i] = in.number<uint64_t>("a tensor's dimension");
    // A zero counts as one here, so that it cannot hide another dimension that is too large.
    if (__builtin_mul_overflow(product, std::max<uint64_t>(dims[i], 1), &product))
      in.damaged("the dimensions of tensor ", printable(name), " are too large");
  }
  Shape shape;
  if (rank == 0) shape.push(1);
  for (uint32_t i = rank; i > 0; --i) shape.push(static_cast<int64_t>(dims[i - 1]));
  return shape;
}

TensorEntry read_entry(Reader& in, const std::string& path) {
  TensorEntry e;
  e.name = in.string("a tensor's name");
  e.shape = read_shape(in, e.name);
  const uint32_t number = in.number<uint32_t>("a tensor's type");
  const auto type = ggml_type(number);
  if (!type)
    fail(path, ": tensor ", printable(e.name), " has element type number ", number, ", which is not supported");
  e.type = *type;
  e.offset = in.number<uint64_t>("a tensor's offset");
  if (e.shape[-1] % block_elements(e.type) != 0)
    in.damaged("rows of tensor ", printable(e.name), " have ", e.shape[-1], " elements, not whole blocks of ",
               name(e.type));
  int64_t bytes;
  if (__builtin_mul_overflow(e.shape.numel() / block_elements(e.type), block_bytes(e.type), &bytes))
    in.damaged("tensor ", printable(e.name), " ", e.shape, " is too large");
  e.bytes = static_cast<uint64_t>(bytes);
  return e;
}

/// Throws when a tensor's data is not aligned, not inside the data section, or shared with another tensor.
void check_data(const Reader& in, std::vector<TensorEntry> entries, uint64_t alignment, uint64_t data_bytes) {
  for (const TensorEntry& e : entries) {
    if (e.offset % alignment != 0)
      in.damaged("the data of tensor ", printable(e.name), " is not aligned to ", alignment, " bytes");
    if (e.offset > data_bytes || e.bytes > data_bytes - e.offset)
      in.damaged("the data of tensor ", printable(e.name), " (", e.bytes, " bytes from ", e.offset,
                 ") lies beyond the file's end: the file holds ", data_bytes, " bytes of data");
  }
  std::erase_if(entries, [](const TensorEntry& e) { return e.bytes == 0; });
  std::sort(entries.begin(), entries.end(),
            [](const TensorEntry& a, const TensorEntry& b) { return a.offset < b.offset; });
  for (size_t i = 1; i < entries.size(); ++i)
    if (entries[i - 1].offset + entries[i - 1].bytes > entries[i].offset)
      in.damaged("tensors ", printable(entries[i - 1].name), " and ", printable(entries[i].name), " overlap");
}

struct Header {
  int version;
  uint64_t tensors, keys;
};

Header read_header(Reader& in, const std::string& path) {
  if (in.remaining() < 4 || std::memcmp(in.take(4, "the file's mark").data(), "GGUF", 4) != 0)
    fail(path, ": is not a GGUF file (it does not begin with \"GGUF\")");
  const uint32_t version = in.number<uint32_t>("the version");
  if (version != 0 && (version & 0xffff) == 0) fail(path, ": is a big-endian GGUF file, which is not supported");
  if (version != 2 && version != 3)
    fail(path, ": has GGUF version ", version, ", supported are 2 and 3; convert the model again with a current tool");
  Header h{static_cast<int>(version), in.number<uint64_t>("the number of tensors"),
           in.number<uint64_t>("the number of keys")};
  // The smallest entries: an empty name with a one-byte value; an empty name without dimensions.
  if (h.keys > in.remaining() / 13) in.damaged(h.keys, " keys do not fit into the file");
  if (h.tensors > in.remaining() / 24) in.damaged(h.tensors, " tensors do not fit into the file");
  return h;
}

uint64_t read_alignment(const GgufFile& file) {
  const int64_t alignment = file.find<int64_t>("general.alignment").value_or(32);
  if (alignment <= 0 || !std::has_single_bit(static_cast<uint64_t>(alignment)))
    fail(file.path(), ": general.alignment is ", alignment, ", not a power of two");
  return static_cast<uint64_t>(alignment);
}

/// Explains why a value cannot be read as what was asked for.
[[noreturn]] void wrong_type(const std::string& path, std::string_view key, const GgufValue& value,
                             const char* expected) {
  std::string found;
  if (const auto* array = std::get_if<GgufArray>(&value))
    found = concat("an array of ", traits(array->type).name);
  else
    found =
        std::array{"a boolean", "an integer", "an integer that may be too large", "a floating-point number", "a string",
                   ""}[value.index()];
  fail(path, ": key ", printable(key), " holds ", found, ", expected ", expected);
}

template <class T>
constexpr const char* kExpected = nullptr;
template <>
constexpr const char* kExpected<bool> = "a boolean";
template <>
constexpr const char* kExpected<int64_t> = "an integer";
template <>
constexpr const char* kExpected<double> = "a number";
template <>
constexpr const char* kExpected<std::string> = "a string";
template <>
constexpr const char* kExpected<std::vector<int64_t>> = "an array of integers";
template <>
constexpr const char* kExpected<std::vector<double>> = "an array of numbers";
template <>
constexpr const char* kExpected<std::vector<std::string>> = "an array of strings";

/// The value as a T, or nothing when it is of another type.
template <class T>
std::optional<T> convert(GgufValue value) {
  if (T* same = std::get_if<T>(&value)) return std::move(*same);
  const auto* big = std::get_if<uint64_t>(&value);
  if constexpr (std::is_same_v<T, int64_t>)
    if (big && std::in_range<int64_t>(*big)) return static_cast<int64_t>(*big);
  if constexpr (std::is_same_v<T, double>) {
    if (big) return static_cast<double>(*big);
    if (const auto* integer = std::get_if<int64_t>(&value)) return static_cast<double>(*integer);
  }
  return std::nullopt;
}

}  // namespace

GgufFile::GgufFile(const std::string& path) : file_(path) {
  const std::span<const std::byte> bytes = file_.bytes();
  Reader in(file_.path(), bytes);
  const Header header = read_header(in, path);
  version_ = header.version;
  for (uint64_t i = 0; i < header.keys; ++i) {
    const std::string_view key = in.string("a key");
    GgufValue value = in.value(in.value_type());
    if (!metadata_.emplace(key, std::move(value)).second) in.damaged("key ", printable(key), " appears twice");
  }
  if (find<int64_t>("split.count").value_or(1) > 1)
    fail(path, ": is one part of a split model; join the parts with `llama-gguf-split --merge`");

  std::vector<TensorEntry> entries;
  for (uint64_t i = 0; i < header.tensors; ++i) entries.push_back(read_entry(in, path));
  const uint64_t alignment = read_alignment(*this);
  const uint64_t padding = (alignment - in.position() % alignment) % alignment;
  // A file without tensors may end here.
  const auto data = padding <= in.remaining() ? bytes.subspan(in.position() + padding) : bytes.last(0);
  check_data(in, entries, alignment, data.size());
  for (const TensorEntry& e : entries) {
    GgufTensor tensor{std::string(e.name), e.type, e.shape, data.subspan(e.offset, e.bytes)};
    if (!tensors_.emplace(e.name, std::move(tensor)).second) in.damaged("tensor ", printable(e.name), " appears twice");
  }
}

template <class T>
std::optional<T> GgufFile::find(std::string_view key) const {
  const auto found = metadata_.find(key);
  if (found == metadata_.end()) return std::nullopt;
  const GgufValue& value = found->second;
  if constexpr (requires { typename T::value_type; } && !std::is_same_v<T, std::string>) {
    const auto* array = std::get_if<GgufArray>(&value);
    if (!array) wrong_type(path(), key, value, kExpected<T>);
    Reader in(path(), array->bytes);
    T items;
    items.reserve(static_cast<size_t>(array->count));
    for (int64_t i = 0; i < array->count; ++i) {
      auto item =
          array->type == GgufValueType::Array ? std::nullopt : convert<typename T::value_type>(in.value(array->type));
      if (!item) wrong_type(path(), key, value, kExpected<T>);
      items.push_back(std::move(*item));
    }
    return items;
  } else {
    std::optional<T> result = convert<T>(value);
    if (!result) wrong_type(path(), key, value, kExpected<T>);
    return result;
  }
}

template <class T>
T GgufFile::get(std::string_view key) const {
  std::optional<T> value = find<T>(key);
  if (!value) fail(path(), ": key ", printable(key), " is missing (", kExpected<T>, ")");
  return std::move(*value);
}

template std::optional<bool> GgufFile::find(std::string_view) const;
template std::optional<int64_t> GgufFile::find(std::string_view) const;
template std::optional<double> GgufFile::find(std::string_view) const;
template std::optional<std::string> GgufFile::find(std::string_view) const;
template std::optional<std::vector<int64_t>> GgufFile::find(std::string_view) const;
template std::optional<std::vector<double>> GgufFile::find(std::string_view) const;
template std::optional<std::vector<std::string>> GgufFile::find(std::string_view) const;
template bool GgufFile::get(std::string_view) const;
template int64_t GgufFile::get(std::string_view) const;
template double GgufFile::get(std::string_view) const;
template std::string GgufFile::get(std::string_view) const;
template std::vector<int64_t> GgufFile::get(std::string_view) const;
template std::vector<double> GgufFile::get(std::string_view) const;
template std::vector<std::string> GgufFile::get(std::string_view) const;

const GgufTensor* GgufFile::find_tensor(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

const GgufTensor& GgufFile::tensor(std::string_view name) const {
  const GgufTensor* found = find_tensor(name);
  if (!found) fail(path(), ": tensor ", printable(name), " is missing");
  return *found;
}

void GgufFile::to_f32(float* out, const GgufTensor& tensor) const {
  if (!can_dequantize(tensor.type))
    fail(path(), ": tensor ", printable(tensor.name), " is of type ", name(tensor.type),
         ", which is not supported; supported are ", dequantizable_types());
  dequantize(out, tensor.data.data(), tensor.shape.numel(), tensor.type);
}

}  // namespace thinker
