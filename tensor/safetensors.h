// Safetensors, the format of model weights on the Hugging Face Hub: reading (one file, or a folder of shards) and
// writing.
//
//   header length u64  header (JSON, padded with spaces)  data
//   {"__metadata__": {"format": "pt"}, "NAME": {"dtype": "F32", "shape": [3, 5], "data_offsets": [begin, end]}, …}
//
// Offsets count from the start of the data, and the tensors fill it without holes or overlaps. Files are mapped into
// memory and not trusted: the header is read by a strict parser that knows only this structure and builds nothing else
// in memory, and every length and offset is compared with what the file really holds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/file.h"
#include "tensor/shape.h"

namespace thinker {

/// What the header says of a tensor.
struct TensorHeader {
  std::string name;
  std::string dtype_name;  // F64 F32 F16 BF16 I64 I32 I16 I8 U8 BOOL
  Shape shape;             // outermost first; a scalar is (1)
};

struct NamedTensor : TensorHeader {
  std::span<const std::byte> data;  // row-major, little-endian, of any alignment
  std::string file = {};            // where it was read from
};

using NamedTensors = std::map<std::string, NamedTensor, std::less<>>;

class SafetensorsFile {
 public:
  /// Maps the file and reads its header. Throws Error naming the file and what is wrong with it.
  explicit SafetensorsFile(const std::string& path);

  const std::string& path() const { return file_.path(); }
  const NamedTensors& tensors() const { return tensors_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  MappedFile file_;
  NamedTensors tensors_;
  std::map<std::string, std::string> metadata_;
};

/// The weights of a model folder: model.safetensors, or else the shards that model.safetensors.index.json lists. With
/// shards, that list decides: a tensor it does not name is left out.
class SafetensorsFolder {
 public:
  /// Throws Error when the folder holds neither, a shard or a listed tensor is missing, or a file is damaged.
  explicit SafetensorsFolder(const std::string& folder);

  const std::string& path() const { return folder_; }
  const NamedTensors& tensors() const { return tensors_; }

  /// The tensor, or nullptr when there is none of that name.
  const NamedTensor* find(std::string_view name) const;

  /// The tensor; throws Error naming it and the folder when there is none.
  const NamedTensor& tensor(std::string_view name) const;

 private:
  void open_shards(const std::string& index_path);

  std::string folder_;
  std::vector<SafetensorsFile> files_;  // what the tensors' data lies in
  NamedTensors tensors_;
};

/// out (tensor.shape) = the elements as fp32, for dtypes F32, F16, BF16 and F64 (rounded); throws Error naming file,
/// tensor and dtype for others.
void to_f32(float* out, const NamedTensor& tensor);

/// Bytes of one element of a safetensors dtype, 0 when the name is unknown.
int64_t safetensors_element_bytes(std::string_view dtype_name);

/// Gives the data of one tensor when it is its turn; needed only until the next call.
using TensorData = std::function<std::span<const std::byte>(const TensorHeader&)>;

/// Writes a file atomically (see AtomicFile), one tensor at a time, so that converting or fetching a model's weights
/// needs memory for one of them only. The data is laid out with the widest dtypes first, which keeps every tensor
/// aligned to its element's size as readers that map the file need it; `data_of` is called once for each tensor in that
/// order. Throws Error when a name repeats, a dtype is unknown, or writing fails.
void write_safetensors(const std::string& path, const std::vector<TensorHeader>& tensors, const TensorData& data_of,
                       const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

/// The same for tensors whose data is at hand.
void write_safetensors(const std::string& path, const std::vector<NamedTensor>& tensors,
                       const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

}  // namespace thinker
