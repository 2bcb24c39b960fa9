// Low-rank adapters (Hu et al., arXiv 2106.09685). Beside the frozen weight W (out, in) of a linear layer two small
// matrices learn,
//
//     y = x W^T + (alpha / rank) (x A^T) B^T        A (rank, in) drawn, B (out, rank) zero at first
//
// so the adapted model begins as the model itself, bit for bit, and is the model itself whenever its adapters are off:
// preference training needs no second copy for its reference. The weights are never touched; a checkpoint holds their
// sum with the adapters, formed while it is written. Folders are PEFT's: adapter_config.json and
// adapter_model.safetensors.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "nn/transformer.h"

namespace thinker {

/// The linear layers of a block, by PEFT's names: q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj.
const std::vector<std::string>& lora_targets();

constexpr int64_t kGreatestLoraRank = 65536;

struct LoraOptions {
  int64_t rank = 16;
  double alpha = 32;
  std::vector<std::string> targets = lora_targets();  // without repetition
};

/// One linear layer's adapter.
struct Adapter {
  Tensor a;  // (rank, in)
  Tensor b;  // (out, rank)
};

/// The adapters of one model.
class Lora {
 public:
  /// A and B zero, for the weights as they lie now: a model whose weights are loaded anew needs new adapters.
  Lora(const Transformer& model, const LoraOptions& options);

  /// Draws A as PEFT does: uniform in +-1/sqrt(in), which is Kaiming's rule with a = sqrt(5). A layer's draw does not
  /// depend on which others have adapters.
  void initialise(uint64_t seed, uint32_t iteration) const;

  const LoraOptions& options() const { return options_; }
  double scale() const { return options_.alpha / static_cast<double>(options_.rank); }

  /// A weight's adapter, or null.
  const Adapter* find(const Tensor& weight) const;

  /// Calls fn(name, tensor) for every A and B, in the order of the model's layers, by its name in PEFT's files.
  template <class Fn>
  void visit(Fn&& fn) const {
    for (const Layer& l : layers_) {
      fn("base_model.model." + l.module + ".lora_A.weight", l.adapter.a);
      fn("base_model.model." + l.module + ".lora_B.weight", l.adapter.b);
    }
  }

  /// Number of trainable numbers.
  int64_t parameters() const;

 private:
  struct Layer {
    std::string module;  // "model.layers.0.self_attn.q_proj"
    uint32_t index;      // among all linear layers of the model
    Adapter adapter;
  };
  LoraOptions options_;
  std::vector<Layer> layers_;
  std::map<const void*, size_t> of_weight_;  // a weight's data -> its place in layers_
};

/// Freezes the model's weights and gives it fresh adapters.
void add_lora(Transformer& model, const LoraOptions& options, uint64_t seed, uint32_t iteration);

/// What a weight amounts to: weight + scale B A in acc, where it has an adapter; otherwise the weight itself.
Tensor merged(const Transformer& model, const Tensor& weight);

/// Writes the model's adapters into a folder (made if needed) that PEFT loads; base: the MODEL that they belong to.
void save_adapter(const std::string& folder, const Transformer& model, const std::string& base);

/// Reads a folder that save_adapter or PEFT wrote. Throws Error naming the file when it does not fit the model, or when
/// it asks for more than plain low-rank adapters of linear layers.
std::shared_ptr<const Lora> read_adapter(const std::string& folder, const Transformer& model);

}  // namespace thinker
