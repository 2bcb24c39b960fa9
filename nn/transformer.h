// The decoder-only transformer: weights and one forward that serves training, scoring, the reference, prefill and
// decoding. A tape that does not record is inference; a cache makes it incremental.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "nn/batch.h"
#include "nn/config.h"
#include "nn/kv_cache.h"
#include "tensor/ops.h"

namespace thinker {

/// Whether training keeps each block's activations or computes them again in backward.
enum class Recompute { nothing, blocks };

/// Whether a model computes with its adapters, if it has any (nn/lora.h), or as it was before it got them.
enum class Adapters { on, off };

class PackedWeights;
class RecordedSteps;
class Lora;

/// What decoding adds to a forward.
struct Decoding {
  KvCache* cache = nullptr;               // past keys and values
  const PackedWeights* packed = nullptr;  // of this model, made since its weights last changed
  RecordedSteps* steps = nullptr;         // of this model and cache: logits() may record its work in them
};

class Transformer {
 public:
  /// Weights of the right shapes, zero. nn/load.h fills them from files; initialise() draws them.
  Transformer(Device& device, const Config& config, DType t);

  /// Draws weights: normal with deviation 0.02 (products into the residual stream: 0.02 / sqrt(2 layers)), norms 1.
  void initialise(uint64_t seed);

  const Config& config() const { return config_; }
  Device& device() const { return *device_; }
  DType dtype() const { return dtype_; }

  // N rows are in a batch, and M are asked for (batch.rows). The four functions below throw Error on a token id outside
  // the vocabulary. With a cache the tape must not record, and each token needs a cache row; else they throw, too.

  /// The residual stream after the last block, (N, C), before the final norm. With a cache, keys and values go to
  /// batch.cache_rows, and the segments' prefix and own rows are rows of the cache.
  Tensor hidden(Tape& tape, const Batch& batch, const Decoding& decoding = {}) const;

  /// Log-probs of batch.targets (M) at batch.rows, acc (M): natural logarithm, temperature 1. Rows are gathered before
  /// the head, and there is no logits matrix. Throws Error also on a target outside the vocabulary.
  Tensor logprobs(Tape& tape, const Batch& batch) const;

  /// What an output head reads: the residual stream at batch.rows after the final norm, (M, C).
  Tensor last_rows(Tape& tape, const Batch& batch, const Decoding& decoding = {}) const;

  /// Logits of batch.rows, (M, V) of the accumulator's dtype (F32, or F64 of an F64 model): for drawing tokens. The
  /// head's product is not recorded: they have no gradient.
  Tensor logits(Tape& tape, const Batch& batch, const Decoding& decoding = {}) const;

  /// Calls fn(name, tensor) for every weight, in a fixed order, by its Hugging Face name.
  template <class Fn>
  void visit(Fn&& fn) const {
    fn(std::string("model.embed_tokens.weight"), embedding_);
    for (size_t i = 0; i < blocks_.size(); ++i) {
      const std::string at = "model.layers." + std::to_string(i) + ".";
      const Block& b = blocks_[i];
      fn(at + "input_layernorm.weight", b.attention_norm);
      fn(at + "self_attn.q_proj.weight", b.wq);
      fn(at + "self_attn.k_proj.weight", b.wk);
      fn(at + "self_attn.v_proj.weight", b.wv);
      if (config_.attention_bias) {
        fn(at + "self_attn.q_proj.bias", b.bq);
        fn(at + "self_attn.k_proj.bias", b.bk);
        fn(at + "self_attn.v_proj.bias", b.bv);
      }
      if (config_.head_norms) {
        fn(at + "self_attn.q_norm.weight", b.q_norm);
        fn(at + "self_attn.k_norm.weight", b.k_norm);
      }
      fn(at + "self_attn.o_proj.weight", b.wo);
      fn(at + "post_attention_layernorm.weight", b.ffn_norm);
      fn(at + "mlp.gate_proj.weight", b.gate);
      fn(at + "mlp.up_proj.weight", b.up);
      fn(at + "mlp.down_proj.weight", b.down);
    }
    fn(std::string("model.norm.weight"), final_norm_);
    if (!config_.tied_head) fn(std::string("lm_head.weight"), head_);
  }

  /// Adapters learn from now on in place of the weights, which are frozen (nn/lora.h: add_lora).
  void attach(std::shared_ptr<const Lora> lora);
  const Lora* lora() const { return lora_.get(); }
  void set_adapters(Adapters which) { adapters_ = which; }

  /// Calls fn for what is trained: every weight, or the adapters' matrices where there are adapters.
  void visit_trained(const std::function<void(const std::string&, const Tensor&)>& fn) const;

  /// Number of weights' numbers, adapters not among them.
  int64_t parameters() const;
  void zero_grad() const;

  void set_recompute(Recompute what) { recompute_ = what; }

 private:
  struct Block {
    Tensor attention_norm;  // (C)
    Tensor wq, bq;          // (H*D, C), (H*D)
    Tensor wk, bk;          // (Hkv*D, C), (Hkv*D)
    Tensor wv, bv;          // (Hkv*D, C), (Hkv*D)
    Tensor q_norm, k_norm;  // (D) each, or undefined
    Tensor wo;              // (C, H*D)
    Tensor ffn_norm;        // (C)
    Tensor gate, up;        // (F, C)
    Tensor down;            // (C, F)
  };
  /// What one forward reads beside the weights, on the device.
  struct Pass;

  Pass upload(Tape& tape, const Batch& batch, const Decoding& decoding) const;
  Tensor block_forward(Tape& tape, const Pass& pass, int64_t layer, const Tensor& x) const;
  Tensor hidden(Tape& tape, Pass pass) const;
  Tensor last_rows(Tape& tape, const Pass& pass) const;
  void head_forward(Tape& tape, const Tensor& logits, const Tensor& x, const Decoding& decoding) const;

  Device* device_;
  Config config_;
  DType dtype_;
  Recompute recompute_ = Recompute::nothing;
  std::shared_ptr<const Lora> lora_;
  Adapters adapters_ = Adapters::on;
  Tensor embedding_;  // (V, C)
  std::vector<Block> blocks_;
  Tensor final_norm_;         // (C)
  Tensor head_;               // (V, C); the embedding's handle when tied
  Tensor inverse_frequency_;  // (D/2)
};

}  // namespace thinker
