#include "nn/load.h"

#include <algorithm>
#include <map>
#include <optional>

#include "tensor/quantize.h"
#include "tensor/safetensors.h"

namespace thinker {

namespace {

/// Copies fp32 values to a weight of any dtype on any device.
void assign(const Tensor& weight, const std::vector<float>& values) {
  Device& device = weight.device();
  if (weight.dtype() == DType::F32) {
    device.backend().copy_from_host(weight.raw(), values.data(), weight.bytes());
    return;
  }
  const Tensor source = Tensor::from<float>(device, weight.shape(), values);
  device.backend().convert(weight.raw(), source.raw(), weight.numel(), weight.dtype(), DType::F32);
  device.backend().synchronize();
}

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

void store(const Tensor& weight, const std::vector<float>& values, WeightStorage storage) {
  const DType t = stored_dtype(weight, storage);
  if (t != weight.dtype()) weight.store_as(t);
  if (t != DType::Q8_0) return assign(weight, values);
  std::vector<std::byte> blocks(weight.bytes());
  quantize_q8_0(blocks.data(), values.data(), weight.numel());
  weight.device().backend().copy_from_host(weight.raw(), blocks.data(), weight.bytes());
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
      {"input_layernorm", "attn_norm"}, {"self_attn.q_proj", "attn_q"},      {"self_attn.k_proj", "attn_k"},
      {"self_attn.v_proj", "attn_v"},   {"self_attn.o_proj", "attn_output"}, {"post_attention_layernorm", "ffn_norm"},
      {"mlp.gate_proj", "ffn_gate"},    {"mlp.up_proj", "ffn_up"},           {"mlp.down_proj", "ffn_down"}};
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

/// Fills every weight of a Transformer or RewardModel from a folder's file of weights.
template <class Model>
void assign_all(const Model& model, const std::string& folder, WeightStorage storage) {
  const SafetensorsFolder files(folder);
  model.visit([&](const std::string& name, const Tensor& weight) {
    const NamedTensor& source = files.tensor(name);
    expect_shape(folder, name, source.shape, weight.shape());
    std::vector<float> values(weight.numel());
    to_f32(values.data(), source);
    store(weight, values, storage);
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
  Transformer model(device, with_head(read_config(folder), head), t);
  assign_all(model, folder, storage);
  return model;
}

RewardModel load_reward_model(Device& device, const std::string& folder, DType t) {
  ENSURE(read_head(folder) == Head::reward, folder, " is no reward model");
  RewardModel model(Transformer(device, with_head(read_config(folder), OutputHead::left_out), t));
  assign_all(model, folder, WeightStorage::full);
  return model;
}

Transformer load_gguf(Device& device, const GgufFile& file, DType t, OutputHead head, WeightStorage storage) {
  const Config config = with_head(read_config(file), head);
  Transformer model(device, config, t);
  const bool permuted = file.get<std::string>("general.architecture") == "llama";
  const auto in_order = [&](const std::string& name, auto values) {
    if (permuted && name.find("q_proj") != std::string::npos) unpermute_rows(values, config.heads, config.head_dim);
    if (permuted && name.find("k_proj") != std::string::npos) unpermute_rows(values, config.kv_heads, config.head_dim);
    return values;
  };
  model.visit([&](const std::string& name, const Tensor& weight) {
    const GgufTensor& source = file.tensor(gguf_name(name));
    expect_shape(file.path(), source.name, source.shape, weight.shape());
    const auto same = same_dtype(source.type);
    if (storage == WeightStorage::file && is_matrix(weight) && same) {
      if (*same != weight.dtype()) weight.store_as(*same);
      const auto rows = in_order(name, std::vector<std::byte>(source.data.begin(), source.data.end()));
      device.backend().copy_from_host(weight.raw(), rows.data(), weight.bytes());
      return;
    }
    std::vector<float> values(weight.numel());
    file.to_f32(values.data(), source);
    store(weight, in_order(name, std::move(values)), storage);
  });
  return model;
}

}  // namespace thinker
