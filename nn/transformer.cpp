#include "nn/transformer.h"

#include <cmath>

#include "nn/lora.h"
#include "nn/packed_weights.h"
#include "nn/recorded_steps.h"
#include "tensor/rng.h"

namespace thinker {

namespace {

Tensor frequencies_on(Device& device, const Config& config, DType t) {
  const std::vector<double> f = inverse_frequencies(config);
  const Shape shape{static_cast<int64_t>(f.size())};
  if (accumulator_of(t) == DType::F64) return Tensor::from<double>(device, shape, f);
  const std::vector<float> narrow(f.begin(), f.end());
  return Tensor::from<float>(device, shape, narrow);
}

}  // namespace

struct Transformer::Pass {
  Tensor tokens;      // I32 (N)
  Tensor positions;   // I32 (N)
  Tensor angles;      // acc (N, D): of all layers' rope
  Tensor cache_rows;  // I32 (N), undefined without a cache
  Tensor rows;        // I32 (M)
  AttentionPlan plan;
  Decoding decoding;
  const Lora* lora = nullptr;

  const void* packed(const Tensor& weight) const { return decoding.packed ? decoding.packed->find(weight) : nullptr; }

  std::vector<Tensor> linears(Tape& tape, const Tensor& x, std::vector<LinearWeight> weights) const {
    for (LinearWeight& w : weights) w.packed = packed(w.weight);
    const std::vector<Tensor> ys = thinker::linears(tape, x, weights);
    for (size_t i = 0; i < ys.size(); ++i) adapt(tape, ys[i], x, weights[i].weight);
    return ys;
  }
  /// x + a weight^T: what a block puts on the residual stream. Unrecorded it is written over x, which nobody reads
  /// again.
  Tensor residual(Tape& tape, const Tensor& x, const Tensor& a, const Tensor& weight) const {
    const Tensor y = tape.recording() ? copy(tape, x) : x;
    add_linear(tape, y, a, weight, packed(weight));
    adapt(tape, y, a, weight);
    return y;
  }
  /// y += (alpha / rank) (x A^T) B^T, where the weight has an adapter.
  void adapt(Tape& tape, const Tensor& y, const Tensor& x, const Tensor& weight) const {
    const Adapter* adapter = lora ? lora->find(weight) : nullptr;
    if (adapter) add_linear(tape, y, scale(tape, linear(tape, x, adapter->a), lora->scale()), adapter->b);
  }
};

Transformer::Transformer(Device& device, const Config& config, DType t) : device_(&device), config_(config), dtype_(t) {
  config_.validate("model");
  const Config& c = config_;
  const int64_t q = c.heads * c.head_dim, kv = c.kv_heads * c.head_dim;
  auto make = [&](const Shape& shape) { return Tensor::parameter(device, shape, t); };
  embedding_ = make({c.vocab, c.width});
  for (int64_t i = 0; i < c.layers; ++i) {
    Block b;
    b.attention_norm = make({c.width});
    b.wq = make({q, c.width});
    b.wk = make({kv, c.width});
    b.wv = make({kv, c.width});
    if (c.attention_bias) {
      b.bq = make({q});
      b.bk = make({kv});
      b.bv = make({kv});
    }
    if (c.head_norms) {
      b.q_norm = make({c.head_dim});
      b.k_norm = make({c.head_dim});
    }
    b.wo = make({c.width, q});
    b.ffn_norm = make({c.width});
    b.gate = make({c.ffn, c.width});
    b.up = make({c.ffn, c.width});
    b.down = make({c.width, c.ffn});
    blocks_.push_back(std::move(b));
  }
  final_norm_ = make({c.width});
  head_ = c.tied_head ? embedding_ : make({c.vocab, c.width});
  inverse_frequency_ = frequencies_on(device, c, t);
}

void Transformer::initialise(uint64_t seed) {
  uint32_t index = 0;
  const double into_residual = 0.02 / std::sqrt(2.0 * static_cast<double>(config_.layers));
  visit([&](const std::string& name, const Tensor& w) {
    Rng rng(seed, Purpose::initialise, index++);
    const bool is_bias = name.ends_with(".bias"), is_norm = name.ends_with("norm.weight");
    const bool residual = name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight");
    std::vector<float> values(w.numel());
    for (float& x : values) {
      x = is_norm ? 1.0f : is_bias ? 0.0f : static_cast<float>(rng.normal() * (residual ? into_residual : 0.02));
    }
    const Tensor source = Tensor::from<float>(*device_, w.shape(), values);
    device_->backend().convert(w.raw(), source.raw(), w.numel(), w.dtype(), DType::F32);
    device_->backend().synchronize();
  });
}

Tensor Transformer::block_forward(Tape& tape, const Pass& pass, int64_t layer, const Tensor& x) const {
  const Block& b = blocks_[layer];
  Tensor h = rmsnorm(tape, x, b.attention_norm, config_.norm_eps);  // (N, C)
  auto qkv = pass.linears(tape, h, {{b.wq, b.bq}, {b.wk, b.bk}, {b.wv, b.bv}});
  if (config_.head_norms) {
    qkv[0] = rmsnorm(tape, qkv[0], b.q_norm, config_.norm_eps);
    qkv[1] = rmsnorm(tape, qkv[1], b.k_norm, config_.norm_eps);
  }
  const Tensor q = qkv[0];        // (N, H*D)
  Tensor k = qkv[1], v = qkv[2];  // (N, Hkv*D)
  rope(tape, q, k, pass.angles);
  if (KvCache* cache = pass.decoding.cache) {
    const Tensor keys = cache->keys(layer), values = cache->values(layer);
    tape.backend().append_to_cache(keys.raw(), values.raw(), k.raw(), v.raw(), pass.cache_rows.data<int32_t>(),
                                   k.dim(0), k.dim(1), dtype_);
    k = keys;
    v = values;
  }
  Tensor y = pass.residual(tape, x, attention(tape, q, k, v, pass.plan), b.wo);  // (N, C)
  h = rmsnorm(tape, y, b.ffn_norm, config_.norm_eps);                            // (N, C)
  const auto gate_up = pass.linears(tape, h, {{b.gate}, {b.up}});                // (N, F) each
  return pass.residual(tape, y, swiglu(tape, gate_up[0], gate_up[1]), b.down);
}

Transformer::Pass Transformer::upload(Tape& tape, const Batch& batch, const Decoding& decoding) const {
  const KvCache* cache = decoding.cache;
  ENSURE(!(cache && tape.recording()), "a cache is for inference: the tape must not record");
  ENSURE(!cache || batch.cache_rows.size() == batch.tokens.size(), "a cached batch needs a cache row for each token");
  for (int32_t id : batch.tokens) {
    ENSURE(id >= 0 && id < config_.vocab, "token id ", id, " is outside the model's vocabulary of ", config_.vocab);
  }
  const auto* words = reinterpret_cast<const int32_t*>(batch.segments.data());
  const auto segments = static_cast<int64_t>(batch.segments.size());
  Pass pass;
  pass.tokens = tape.from(batch.tokens);
  pass.positions = tape.from(batch.positions);
  if (cache) pass.cache_rows = tape.from(batch.cache_rows);
  pass.rows = tape.from(batch.rows);
  pass.plan = {tape.from<int32_t>({segments, 6}, {words, static_cast<size_t>(6 * segments)}), config_.heads,
               config_.kv_heads, config_.head_dim, longest_sequence(batch.segments)};
  pass.decoding = decoding;
  pass.lora = adapters_ == Adapters::on ? lora_.get() : nullptr;
  return pass;
}

Tensor Transformer::hidden(Tape& tape, Pass pass) const {
  pass.angles = rope_angles(tape, pass.positions, inverse_frequency_);
  Tensor x = embedding(tape, embedding_, pass.tokens, dtype_);  // (N, C)
  for (int64_t layer = 0; layer < config_.layers; ++layer) {
    if (tape.recording() && recompute_ == Recompute::blocks) {
      x = checkpoint(tape, x,
                     [this, pass, layer](Tape& t, const Tensor& in) { return block_forward(t, pass, layer, in); });
    } else {
      x = tape.scope(x, [&](const Tensor& in) { return block_forward(tape, pass, layer, in); });
    }
  }
  return x;
}

Tensor Transformer::last_rows(Tape& tape, const Pass& pass) const {
  const Tensor x = gather(tape, hidden(tape, pass), pass.rows);  // (M, C)
  return rmsnorm(tape, x, final_norm_, config_.norm_eps);
}

Tensor Transformer::hidden(Tape& tape, const Batch& batch, const Decoding& decoding) const {
  return hidden(tape, upload(tape, batch, decoding));
}

Tensor Transformer::last_rows(Tape& tape, const Batch& batch, const Decoding& decoding) const {
  return last_rows(tape, upload(tape, batch, decoding));
}

Tensor Transformer::logprobs(Tape& tape, const Batch& batch) const {
  for (int32_t id : batch.targets) {
    ENSURE(id >= 0 && id < config_.vocab, "token id ", id, " is outside the model's vocabulary of ", config_.vocab);
  }
  return token_logprob(tape, last_rows(tape, batch), head_, tape.from(batch.targets));
}

void Transformer::head_forward(Tape& tape, const Tensor& y, const Tensor& x, const Decoding& decoding) const {
  const int64_t m = x.dim(0);
  const StoredProduct stored{y.raw(), head_.raw(), head_.dtype(), config_.vocab};
  const LinearProduct packed{y.raw(), head_.raw(), decoding.packed ? decoding.packed->find(head_) : nullptr,
                             config_.vocab};
  if (head_.dtype() != dtype_)
    tape.backend().matmul_stored({&stored, 1}, x.raw(), m, config_.width, dtype_);
  else if (packed.packed)
    tape.backend().matmul_weights({&packed, 1}, x.raw(), m, config_.width, dtype_);
  else  // logits are of the accumulator's dtype
    tape.backend().matmul(y.raw(), x.raw(), head_.raw(), m, config_.vocab, config_.width, Transpose::no, Transpose::yes,
                          dtype_, y.dtype(), Write::set);
}

Tensor Transformer::logits(Tape& tape, const Batch& batch, const Decoding& decoding) const {
  const Pass pass = upload(tape, batch, decoding);
  const int64_t n = batch.size(), m = pass.rows.dim(0);
  // Before all else: a recording finds it at the same place, and its other memory behind it.
  Tensor y = tape.make({m, config_.vocab}, accumulator_of(dtype_));
  const auto work = [&] { head_forward(tape, y, last_rows(tape, pass), decoding); };
  if (decoding.steps)
    decoding.steps->run(
        tape.backend(),
        {n, static_cast<int64_t>(batch.segments.size()), m, pass.plan.longest_sequence, pass.tokens.raw(), y.raw()},
        work);
  else
    work();
  return y;
}

int64_t Transformer::parameters() const {
  int64_t n = 0;
  visit([&](const std::string&, const Tensor& w) { n += w.numel(); });
  return n;
}

void Transformer::attach(std::shared_ptr<const Lora> lora) {
  visit([](const std::string&, const Tensor& w) { w.freeze(); });
  lora_ = std::move(lora);
}

void Transformer::visit_trained(const std::function<void(const std::string&, const Tensor&)>& fn) const {
  if (lora_)
    lora_->visit(fn);
  else
    visit(fn);
}

void Transformer::zero_grad() const {
  visit_trained([](const std::string&, const Tensor& w) { w.zero_grad(); });
}

}  // namespace thinker
