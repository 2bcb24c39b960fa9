#include "nn/load.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "nn/weight_file.h"
#include "tensor/file.h"
#include "tensor/quantize.h"
#include "tensor/safetensors.h"

namespace thinker {

namespace {

bool is_matrix(const Tensor& weight) {
  return weight.shape().rank() == 2;
}

/// What a matrix read from the file as fp32 is to be stored as.
DType stored_dtype(const Tensor& weight, WeightStorage storage) {
  if (!is_matrix(weight)) return weight.dtype();
  if (storage == WeightStorage::bf16) return DType::BF16;
  if (storage == WeightStorage::q8 && weight.dim(1) % block_elements(DType::Q8_0) == 0) return DType::Q8_0;
  return weight.dtype();
}

/// Gives all weights of a model their memory. dtype_of(name, weight) is what a weight will be stored as.
template <class Model, class DTypeOfWeight>
void lay_out(const Model& model, Device& device, const DTypeOfWeight& dtype_of) {
  std::vector<std::pair<Tensor, DType>> weights;
  model.visit([&](const std::string& name, const Tensor& w) { weights.emplace_back(w, dtype_of(name, w)); });
  place_in_one_piece(device, weights);
}

/// Copies fp32 values to a weight, in the dtype that it is stored as.
void store(const Tensor& weight, const std::vector<float>& values) {
  if (weight.dtype() != DType::Q8_0) return assign(weight, values);
  std::vector<std::byte> blocks(weight.bytes());
  quantize_q8_0(blocks.data(), values.data(), weight.numel());
  weight.device().backend().store_weight(weight.raw(), blocks.data(), weight.dim(0), weight.dim(1), DType::Q8_0);
}

/// The dtype that has the same bytes as a type of a file, or nothing.
std::optional<DType> same_dtype(GgmlType t) {
  switch (t) {
    case GgmlType::BF16: return DType::BF16;
    case GgmlType::Q4_0: return DType::Q4_0;
    case GgmlType::Q4_1: return DType::Q4_1;
    case GgmlType::Q8_0: return DType::Q8_0;
    default: return std::nullopt;
  }
}

void expect_shape(const std::string& where, const std::string& name, const Shape& found, const Shape& wanted) {
  if (!(found == wanted))
    fail(where, ": weight \"", name, "\" has shape ", found, ", the configuration asks for ", wanted);
}

/// "model.layers.3.self_attn.q_proj.weight" -> "blk.3.attn_q.weight"
std::string gguf_name(std::string name) {
  static const std::map<std::string, std::string> kParts{
      {"input_layernorm", "attn_norm"},    {"self_attn.q_proj", "attn_q"},
      {"self_attn.k_proj", "attn_k"},      {"self_attn.v_proj", "attn_v"},
      {"self_attn.o_proj", "attn_output"}, {"post_attention_layernorm", "ffn_norm"},
      {"self_attn.q_norm", "attn_q_norm"}, {"self_attn.k_norm", "attn_k_norm"},
      {"mlp.gate_proj", "ffn_gate"},       {"mlp.up_proj", "ffn_up"},
      {"mlp.down_proj", "ffn_down"}};
  if (name == "model.embed_tokens.weight") return "token_embd.weight";
  if (name == "model.norm.weight") return "output_norm.weight";
  if (name == "lm_head.weight") return "output.weight";
  const std::string prefix = "model.layers.";
  name = name.substr(prefix.size());
  const size_t first = name.find('.'), last = name.rfind('.');
  return "blk." + name.substr(0, first) + "." + kParts.at(name.substr(first + 1, last - first - 1)) + name.substr(last);
}

/// Undoes the row order of "llama" GGUF files: within each head, file row 2j+p is row j + p*D/2 of the rotate-half
/// form. T is float, or std::byte for rows of blocks.
template <class T>
void unpermute_rows(std::vector<T>& values, int64_t heads, int64_t head_dim) {
  const std::vector<T> file = values;
  const int64_t width = static_cast<int64_t>(values.size()) / (heads * head_dim);  // 1 for a bias
  for (int64_t h = 0; h < heads; ++h) {
    for (int64_t j = 0; j < head_dim / 2; ++j) {
      for (int64_t p = 0; p < 2; ++p) {
        const int64_t from = h * head_dim + 2 * j + p, to = h * head_dim + j + p * (head_dim / 2);
        std::copy_n(file.begin() + from * width, width, values.begin() + to * width);
      }
    }
  }
}

/// Refuses a file with a weight that the model has no place for: biases, further layers, norms or scales. Without them
/// the numbers would be others than the file means. `used` are the names that the model has; a head that is tied or
/// left out, and frequencies that follow from the configuration, may be there all the same.
template <class Tensors>
void check_all_used(const std::string& where, const Tensors& tensors, const std::set<std::string>& used) {
  for (const auto& [name, tensor] : tensors) {
    const bool needless = name == "lm_head.weight" || name == "output.weight" || name == "score.weight" ||
                          name == "rope_freqs.weight" || name.ends_with(".rotary_emb.inv_freq");
    if (!needless && !used.contains(name))
      fail(where, ": weight ", printable(name), " has no place in the model that the configuration describes");
  }
}

/// A head of its own in a file whose configuration says that the embedding is the head: not to be left out in silence.
void check_tied(const SafetensorsFolder& files) {
  const NamedTensor *table = files.find("model.embed_tokens.weight"), *head = files.find("lm_head.weight");
  if (!table || !head) return;
  if (table->dtype_name == head->dtype_name && std::ranges::equal(table->data, head->data)) return;
  std::vector<float> rows(table->shape.numel()), head_rows(head->shape.numel());
  to_f32(rows.data(), *table);
  to_f32(head_rows.data(), *head);
  if (rows != head_rows)
    fail(files.path(), ": config.json ties the output head to the embedding, but lm_head.weight has other values; set ",
         "\"tie_word_embeddings\" to false, or remove that weight");
}

/// Fills every weight of a Transformer or RewardModel from a folder's file of weights.
template <class Model>
void assign_all(const Model& model, Device& device, const SafetensorsFolder& files, WeightStorage storage) {
  std::set<std::string> used;
  lay_out(model, device, [&](const std::string& name, const Tensor& weight) {
    expect_shape(files.path(), name, files.tensor(name).shape, weight.shape());
    used.insert(name);
    return stored_dtype(weight, storage);
  });
  check_all_used(files.path(), files.tensors(), used);
  model.visit([&](const std::string& name, const Tensor& weight) {
    const NamedTensor& source = files.tensor(name);
    if (weight.dtype() == DType::BF16 && source.dtype_name == "BF16")  // as it is: billions need not be widened first
      return device.backend().copy_from_host(weight.raw(), source.data.data(), weight.bytes());
    std::vector<float> values(weight.numel());
    to_f32(values.data(), source);
    store(weight, values);
  });
}

Config with_head(Config config, OutputHead head) {
  if (head == OutputHead::left_out) config.tied_head = true;
  return config;
}

}  // namespace

Transformer load_huggingface(Device& device, const std::string& folder, DType t, OutputHead head,
                             WeightStorage storage) {
  if (read_head(folder) == Head::reward) {
    fail(folder, ": is a reward model and writes no text; name it as the model of a judge of kind \"reward\"");
  }
  const Config config = read_config(folder);
  const SafetensorsFolder files(folder);
  if (config.tied_head && head == OutputHead::loaded) check_tied(files);
  Transformer model(device, with_head(config, head), t);
  assign_all(model, device, files, storage);
  return model;
}

RewardModel load_reward_model(Device& device, const std::string& folder, DType t) {
  ENSURE(read_head(folder) == Head::reward, folder, " is no reward model");
  RewardModel model(Transformer(device, with_head(read_config(folder), OutputHead::left_out), t));
  assign_all(model, device, SafetensorsFolder(folder), WeightStorage::full);
  return model;
}

Transformer load_gguf(Device& device, const GgufFile& file, DType t, OutputHead head, WeightStorage storage) {
  const Config config = with_head(read_config(file), head);
  Transformer model(device, config, t);
  const bool permuted = file.get<std::string>("general.architecture") == "llama";
  const auto as_in_file = [&](const GgufTensor& source, const Tensor& weight) {
    return storage == WeightStorage::file && is_matrix(weight) ? same_dtype(source.type) : std::nullopt;
  };
  std::set<std::string> used;
  lay_out(model, device, [&](const std::string& name, const Tensor& weight) {
    const GgufTensor& source = file.tensor(gguf_name(name));
    expect_shape(file.path(), source.name, source.shape, weight.shape());
    used.insert(source.name);
    return as_in_file(source, weight).value_or(stored_dtype(weight, storage));
  });
  check_all_used(file.path(), file.tensors(), used);
  model.visit([&](const std::string& name, const Tensor& weight) {
    const GgufTensor& source = file.tensor(gguf_name(name));
    const int64_t permuted_heads = !permuted                                  ? 0
                                   : name.find("q_proj") != std::string::npos ? config.heads
                                   : name.find("k_proj") != std::string::npos ? config.kv_heads
                                                                              : 0;
    if (as_in_file(source, weight)) {
      std::span<const std::byte> rows = source.data;
      std::vector<std::byte> moved;
      if (permuted_heads > 0) {
        moved.assign(rows.begin(), rows.end());
        unpermute_rows(moved, permuted_heads, config.head_dim);
        rows = moved;
      }
      device.backend().store_weight(weight.raw(), rows.data(), weight.dim(0), weight.dim(1), weight.dtype());
    } else {
      std::vector<float> values(weight.numel());
      file.to_f32(values.data(), source);
      if (permuted_heads > 0) unpermute_rows(values, permuted_heads, config.head_dim);
      store(weight, values);
    }
  });
  return model;
}

}  // namespace thinker
