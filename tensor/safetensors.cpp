#include "tensor/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "tensor/check.h"
#include "tensor/dequantize.h"

namespace thinker {
namespace {

static_assert(std::endian::native == std::endian::little, "file data is little-endian and read in place");

// The format's own limit on the header.
constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr const char* kMetadataKey = "__metadata__";

constexpr std::array<std::pair<std::string_view, int64_t>, 10> kElementBytes = {{{"F64", 8},
                                                                                 {"F32", 4},
                                                                                 {"F16", 2},
                                                                                 {"BF16", 2},
                                                                                 {"I64", 8},
                                                                                 {"I32", 4},
                                                                                 {"I16", 2},
                                                                                 {"I8", 1},
                                                                                 {"U8", 1},
                                                                                 {"BOOL", 1}}};

struct Entry {
  TensorHeader header;
  uint64_t begin = 0, end = 0;  // of the data
};

/// Takes the events of the JSON parser and accepts exactly the structure of a header. Without a tree of values in
/// between, a hostile header costs no memory, cannot nest, and cannot name anything twice.
class HeaderReader final : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderReader(const std::string& path) : path_(path) {}

  std::vector<Entry> entries;
  std::map<std::string, std::string> metadata;

  bool start_object(size_t) override {
    if (place_ == Place::Start)
      place_ = Place::Root;
    else if (place_ == Place::Root && key_ == kMetadataKey)
      place_ = Place::Metadata;
    else if (place_ == Place::Root)
      start_tensor();
    else
      unexpected("an object");
    return true;
  }

  bool key(string_t& key) override {
    key_ = std::move(key);
    if (place_ != Place::Root) return true;
    if (!names_.insert(key_).second) damaged("tensor ", printable(key_), " appears twice");
    return true;
  }

  bool end_object() override {
    if (place_ == Place::Tensor && (!has_dtype_ || !has_shape_ || offsets_ != 2))
      damaged("tensor ", printable(entries.back().header.name), " lacks dtype, shape or two data_offsets");
    place_ = place_ == Place::Root ? Place::End : Place::Root;
    return true;
  }

  bool start_array(size_t) override {
    if (place_ == Place::Tensor && key_ == "shape" && !has_shape_)
      has_shape_ = true, place_ = Place::Shape;
    else if (place_ == Place::Tensor && key_ == "data_offsets" && offsets_ == 0)
      place_ = Place::Offsets;
    else
      unexpected("an array");
    return true;
  }

  bool end_array() override {
    place_ = Place::Tensor;
    return true;
  }

  bool string(string_t& text) override {
    if (place_ == Place::Metadata) {
      if (!metadata.emplace(key_, std::move(text)).second) damaged("metadata ", printable(key_), " appears twice");
    } else if (place_ == Place::Tensor && key_ == "dtype" && !has_dtype_) {
      has_dtype_ = true;
      entries.back().header.dtype_name = std::move(text);
    } else {
      unexpected("a string");
    }
    return true;
  }

  bool number_unsigned(number_unsigned_t n) override {
    if (place_ == Place::Shape)
      push_dimension(n);
    else if (place_ == Place::Offsets && offsets_ < 2)
      (offsets_++ == 0 ? entries.back().begin : entries.back().end) = n;
    else
      unexpected("a number");
    return true;
  }

  bool null() override { unexpected("null"); }
  bool boolean(bool) override { unexpected("a boolean"); }
  bool number_integer(number_integer_t) override { unexpected("a negative number"); }
  bool number_float(number_float_t, const string_t&) override { unexpected("a fraction or a number too large"); }
  bool binary(binary_t&) override { unexpected("binary data"); }

  bool parse_error(size_t position, const std::string&, const nlohmann::json::exception&) override {
    damaged("the header is not valid JSON at its byte ", position);
  }

 private:
  enum class Place { Start, Root, Metadata, Tensor, Shape, Offsets, End };

  template <class... Parts>
  [[noreturn]] void damaged(const Parts&... parts) const {
    fail(path_, ": damaged safetensors file: ", parts...);
  }

  [[noreturn]] void unexpected(const char* what) const { damaged("unexpected ", what, " at ", printable(key_)); }

  void start_tensor() {
    entries.emplace_back().header.name = key_;
    place_ = Place::Tensor;
    has_dtype_ = has_shape_ = false;
    offsets_ = 0;
    elements_ = 1;
  }

  void push_dimension(uint64_t n) {
    TensorHeader& t = entries.back().header;
    if (t.shape.rank() == 4)
      fail(path_, ": tensor ", printable(t.name), " has more than 4 dimensions, which is not supported");
    // A zero counts as one here, so that it cannot hide another dimension that is too large.
    if (__builtin_mul_overflow(elements_, std::max<uint64_t>(n, 1), &elements_))
      damaged("the shape of tensor ", printable(t.name), " is too large");
    t.shape.push(static_cast<int64_t>(n));
  }

  const std::string& path_;
  Place place_ = Place::Start;
  std::string key_;
  std::set<std::string, std::less<>> names_;
  bool has_dtype_ = false, has_shape_ = false;
  int offsets_ = 0;
  int64_t elements_ = 1;
};

/// Bytes of the tensor's data. Throws Error beginning with the path when the dtype is unknown or the size overflows.
int64_t data_bytes(const TensorHeader& t, const std::string& path) {
  const int64_t element = safetensors_element_bytes(t.dtype_name);
  if (element == 0)
    fail(path, ": tensor ", printable(t.name), " has dtype ", printable(t.dtype_name), ", which is not supported");
  int64_t bytes;
  if (__builtin_mul_overflow(t.shape.numel(), element, &bytes))
    fail(path, ": the shape of tensor ", printable(t.name), " is too large");
  return bytes;
}

/// Throws unless the tensors, in the order of their offsets, fill `size` bytes exactly.
void check_layout(std::vector<Entry>& entries, uint64_t size, const std::string& path) {
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  uint64_t position = 0;
  for (Entry& e : entries) {
    TensorHeader& t = e.header;
    if (t.shape.rank() == 0) t.shape.push(1);
    if (e.begin != position || e.end < e.begin || e.end > size)
      fail(path, ": damaged or truncated safetensors file: tensor ", printable(t.name), " lies at bytes ", e.begin,
           " to ", e.end, " of the data; expected from ", position, " and within ", size);
    const int64_t bytes = data_bytes(t, path);
    if (static_cast<uint64_t>(bytes) != e.end - e.begin)
      fail(path, ": damaged safetensors file: tensor ", printable(t.name), " has shape ", t.shape, " of ", t.dtype_name,
           ", which needs ", bytes, " bytes, but its data has ", e.end - e.begin);
    position = e.end;
  }
  if (position != size)
    fail(path, ": damaged safetensors file: ", size - position, " bytes after the last tensor belong to none");
}

/// The text as a JSON string. Throws Error beginning with the path when it is not valid UTF-8.
std::string json_string(const std::string& text, const std::string& path) {
  try {
    return nlohmann::json(text).dump();
  } catch (const nlohmann::json::exception&) {
    fail(path, ": ", printable(text), " is not valid UTF-8 and cannot be written");
  }
}

/// The text of the header: JSON, padded so that the data begins at a multiple of 8 bytes.
std::string header_text(const std::vector<const TensorHeader*>& tensors,
                        const std::map<std::string, std::string>& metadata, const std::string& path) {
  std::string text = "{";
  if (!metadata.empty()) {
    text += json_string(kMetadataKey, path) + ":{";
    for (const auto& [key, value] : metadata)
      text += (text.back() == '{' ? "" : ",") + json_string(key, path) + ":" + json_string(value, path);
    text += "}";
  }
  std::set<std::string_view> names = {kMetadataKey};
  int64_t position = 0;
  for (const TensorHeader* t : tensors) {
    ENSURE(names.insert(t->name).second, path, ": tensor ", printable(t->name), " would appear twice");
    ENSURE(t->shape.rank() > 0, path, ": tensor ", printable(t->name), " has no shape");
    const int64_t end = position + data_bytes(*t, path);
    nlohmann::ordered_json shape = nlohmann::ordered_json::array();
    for (int i = 0; i < t->shape.rank(); ++i) shape.push_back(t->shape[i]);
    const nlohmann::ordered_json entry = {
        {"dtype", t->dtype_name}, {"shape", shape}, {"data_offsets", {position, end}}};
    text += (text.size() > 1 ? "," : "") + json_string(t->name, path) + ":" + entry.dump();
    position = end;
  }
  text += "}";
  text.resize((text.size() + 7) / 8 * 8, ' ');
  if (text.size() > kMaxHeaderBytes) fail(path, ": the header would exceed the format's limit of 100 MB");
  return text;
}

/// {"weight_map": {"TENSOR": "SHARD"}} as tensor -> shard. Throws Error naming the file when it is anything else.
std::map<std::string, std::string> read_index(const std::string& path) {
  std::map<std::string, std::string> shards;
  const std::string text = read_text_file(path);
  try {
    // An index is flat; the limit stops a hostile one at its third bracket.
    const auto stop_deep = [&](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
      if (depth > 3) fail(path, ": is not an index of safetensors shards: nested too deeply");
      return true;
    };
    const auto index = nlohmann::json::parse(text, stop_deep);
    for (const auto& [name, shard] : index.at("weight_map").items()) shards[name] = shard.get<std::string>();
  } catch (const nlohmann::json::exception&) {
    fail(path, ": is not an index of safetensors shards (JSON with a \"weight_map\" of names)");
  }
  return shards;
}

}  // namespace

SafetensorsFile::SafetensorsFile(const std::string& path) : file_(path) {
  const auto bytes = file_.bytes();
  if (bytes.size() < 8) fail(path, ": is not a safetensors file (", bytes.size(), " bytes)");
  const uint64_t header_bytes = load_unaligned<uint64_t>(bytes.data());
  // A wrong length is the usual sign of another format, or of a download that stopped.
  if (header_bytes > kMaxHeaderBytes || header_bytes < 2)
    fail(path, ": is not a safetensors file (a header of ", header_bytes, " bytes)");
  if (header_bytes > bytes.size() - 8)
    fail(path, ": damaged or truncated safetensors file: a header of ", header_bytes, " bytes in a file of ",
         bytes.size());
  const std::string_view header(reinterpret_cast<const char*>(bytes.data()) + 8, header_bytes);
  if (header[0] != '{') fail(path, ": is not a safetensors file (its header does not begin with '{')");

  HeaderReader reader(file_.path());
  nlohmann::json::sax_parse(header, &reader);
  const auto data = bytes.subspan(8 + header_bytes);
  check_layout(reader.entries, data.size(), path);
  for (Entry& e : reader.entries) {
    std::string name = e.header.name;
    tensors_.emplace(std::move(name), NamedTensor{std::move(e.header), data.subspan(e.begin, e.end - e.begin), path});
  }
  metadata_ = std::move(reader.metadata);
}

SafetensorsFolder::SafetensorsFolder(const std::string& folder) : folder_(folder) {
  const std::filesystem::path base(folder);
  const auto single = base / "model.safetensors", index = base / "model.safetensors.index.json";
  std::error_code ignored;
  if (std::filesystem::exists(single, ignored)) {
    files_.emplace_back(single);
    tensors_ = files_[0].tensors();
  } else if (std::filesystem::exists(index, ignored)) {
    open_shards(index);
  } else if (!std::filesystem::is_directory(base, ignored)) {
    fail(folder, std::filesystem::exists(base, ignored) ? ": is not a model folder" : ": no such model folder");
  } else {
    fail(folder, ": holds neither model.safetensors nor model.safetensors.index.json");
  }
}

void SafetensorsFolder::open_shards(const std::string& index_path) {
  std::map<std::string, size_t> opened;  // shard -> its place in files_
  for (const auto& [name, shard] : read_index(index_path)) {
    if (shard.empty() || shard.find('/') != std::string::npos || shard == "." || shard == "..")
      fail(index_path, ": shard ", printable(shard), " is not a plain file name");
    const auto [place, is_new] = opened.emplace(shard, files_.size());
    if (is_new) files_.emplace_back((std::filesystem::path(folder_) / shard).string());
    const SafetensorsFile& file = files_[place->second];
    const auto found = file.tensors().find(name);
    if (found == file.tensors().end())
      fail(file.path(), ": tensor ", printable(name), " is missing; the index lists it");
    tensors_.insert(*found);
  }
}

const NamedTensor* SafetensorsFolder::find(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

const NamedTensor& SafetensorsFolder::tensor(std::string_view name) const {
  const NamedTensor* found = find(name);
  if (!found) fail(folder_, ": tensor ", printable(name), " is missing");
  return *found;
}

int64_t safetensors_element_bytes(std::string_view dtype_name) {
  for (const auto& [name, bytes] : kElementBytes)
    if (name == dtype_name) return bytes;
  return 0;
}

void to_f32(float* out, const NamedTensor& t) {
  const int64_t n = t.shape.numel();
  ENSURE(static_cast<int64_t>(t.data.size()) == n * safetensors_element_bytes(t.dtype_name), "tensor ",
         printable(t.name), " ", t.shape, " of ", t.dtype_name, " with ", t.data.size(), " bytes");
  const std::byte* in = t.data.data();
  if (t.dtype_name == "F32") return dequantize(out, in, n, GgmlType::F32);
  if (t.dtype_name == "F16") return dequantize(out, in, n, GgmlType::F16);
  if (t.dtype_name == "BF16") return dequantize(out, in, n, GgmlType::BF16);
  if (t.dtype_name != "F64")
    fail(t.file, ": tensor ", printable(t.name), " has dtype ", t.dtype_name, ", expected F32, F16, BF16 or F64");
  for (int64_t i = 0; i < n; ++i) out[i] = static_cast<float>(load_unaligned<double>(in + 8 * i));
}

void write_safetensors(const std::string& path, const std::vector<TensorHeader>& tensors, const TensorData& data_of,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<const TensorHeader*> ordered;
  for (const TensorHeader& t : tensors) ordered.push_back(&t);
  std::stable_sort(ordered.begin(), ordered.end(), [](const TensorHeader* a, const TensorHeader* b) {
    return safetensors_element_bytes(a->dtype_name) > safetensors_element_bytes(b->dtype_name);
  });
  const std::string header = header_text(ordered, metadata, path);
  const uint64_t header_bytes = header.size();
  AtomicFile file(path);
  file.write(std::as_bytes(std::span(&header_bytes, 1)));
  file.write(header);
  for (const TensorHeader* t : ordered) {
    const auto data = data_of(*t);
    ENSURE(static_cast<int64_t>(data.size()) == data_bytes(*t, path), path, ": tensor ", printable(t->name), " ",
           t->shape, " of ", t->dtype_name, " with ", data.size(), " bytes");
    file.write(data);
  }
  file.commit();
}

void write_safetensors(const std::string& path, const std::vector<NamedTensor>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<TensorHeader> headers(tensors.begin(), tensors.end());
  std::map<std::string_view, std::span<const std::byte>> data;
  for (const NamedTensor& t : tensors) data.emplace(t.name, t.data);
  write_safetensors(
      path, headers, [&](const TensorHeader& t) { return data.at(t.name); }, metadata);
}

}  // namespace thinker
