// What the tests of nn and tpo share: small models with random weights, golden values, packing, comparisons.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "nn/load.h"
#include "tensor/rng.h"

namespace thinker {

using Ids = std::vector<int32_t>;

/// The device that golden values are checked on: what THINKER_TEST_DEVICE names (tools/gpu_check.sh), or the CPU.
inline std::unique_ptr<Device> test_device() {
  const char* named = std::getenv("THINKER_TEST_DEVICE");
  return open_device(named ? named : "cpu");
}

/// Two layers, two queries a key, heads wider together than the model, nothing a multiple of a vector's length.
inline Config tiny_config() {
  Config c;
  c.vocab = 97;
  c.width = 24;
  c.layers = 2;
  c.heads = 4;
  c.kv_heads = 2;
  c.head_dim = 10;
  c.ffn = 39;
  c.context = 256;
  c.tied_head = true;
  return c;
}

/// The same family's other branch: biases, one key/value head, a head of its own.
inline Config tiny_qwen_config() {
  Config c = tiny_config();
  c.model_type = "qwen2";
  c.kv_heads = 1;
  c.tied_head = false;
  c.attention_bias = true;
  return c;
}

/// The third branch: norms of each head, an untied head.
inline Config tiny_qwen3_config() {
  Config c = tiny_config();
  c.model_type = "qwen3";
  c.tied_head = false;
  c.head_norms = true;
  return c;
}

inline void set_values(const Tensor& x, const std::vector<double>& values) {
  Backend& backend = x.device().backend();
  const Tensor source = Tensor::from<double>(x.device(), x.shape(), values);
  backend.convert(x.raw(), source.raw(), x.numel(), x.dtype(), DType::F64);
  backend.synchronize();
}

inline std::vector<double> host_values(const Tensor& x) {
  if (x.dtype() == DType::F64) return x.to_host<double>();
  const std::vector<float> narrow = x.to_host<float>();
  return {narrow.begin(), narrow.end()};
}

inline std::vector<double> host_gradient(const Tensor& x) {
  if (x.grad_dtype() == DType::F64) return x.grad_to_host<double>();
  const std::vector<float> narrow = x.grad_to_host<float>();
  return {narrow.begin(), narrow.end()};
}

/// Weights large enough that every part of the model matters (a fresh model's outputs are nearly uniform).
inline Transformer random_model(Device& device, const Config& config, DType t, uint64_t seed = 1, double size = 0.3) {
  Transformer model(device, config, t);
  uint32_t index = 0;
  model.visit([&](const std::string& name, const Tensor& w) {
    Rng rng(seed, Purpose::initialise, index++);
    const bool is_norm = name.ends_with("norm.weight");
    std::vector<double> values(w.numel());
    // Rounded to fp32, so that the f32 and the f64 model of one seed are the same function.
    for (double& x : values) x = static_cast<float>(is_norm ? 1.0 + 0.2 * rng.normal() : size * rng.normal());
    set_values(w, values);
  });
  return model;
}

/// A reward model of such weights, its score included.
inline RewardModel random_reward_model(Device& device, Config config, DType t, uint64_t seed = 1) {
  config.tied_head = true;
  RewardModel model(random_model(device, config, t, seed));
  Rng rng(seed, Purpose::initialise, 1000);
  std::vector<double> values(config.width);
  for (double& x : values) x = static_cast<float>(0.3 * rng.normal());
  set_values(model.score(), values);
  return model;
}

inline Ids random_ids(Rng& rng, int64_t n, int64_t vocab = 97) {
  Ids ids(n);
  for (int32_t& id : ids) id = static_cast<int32_t>(rng.below(vocab));
  return ids;
}

/// Every weight, or every gradient, by name.
using Values = std::map<std::string, std::vector<double>>;

template <class Model>
Values weights_of(const Model& model) {
  Values all;
  model.visit([&](const std::string& name, const Tensor& w) { all[name] = host_values(w); });
  return all;
}

template <class Model>
Values gradients_of(const Model& model) {
  Values all;
  model.visit([&](const std::string& name, const Tensor& w) { all[name] = host_gradient(w); });
  return all;
}

/// The greatest |a - b| / max(1, |b|); infinite where sizes differ or a value is NaN.
template <class A, class B>
double difference(const A& a, const B& b) {
  if (std::size(a) != std::size(b)) return INFINITY;
  double most = 0.0;
  for (size_t i = 0; i < std::size(a); ++i) {
    const double x = a[i], y = b[i], off = std::fabs(x - y) / std::fmax(1.0, std::fabs(y));
    if (!(off <= most)) most = std::isnan(off) ? INFINITY : off;
  }
  return most;
}

/// The greatest difference over all tensors, as a part of the greatest value of all.
inline double relative_difference(const Values& a, const Values& b) {
  if (a.size() != b.size()) return INFINITY;
  double most = 0.0, greatest = 0.0;
  for (const auto& [name, y] : b) {
    const auto it = a.find(name);
    if (it == a.end() || it->second.size() != y.size()) return INFINITY;
    for (size_t i = 0; i < y.size(); ++i) {
      const double off = std::fabs(it->second[i] - y[i]);
      if (!(off <= most)) most = std::isnan(off) ? INFINITY : off;
      greatest = std::fmax(greatest, std::fabs(y[i]));
    }
  }
  return most / greatest;
}

/// The log-probs that a batch asks for.
inline std::vector<double> logprobs_of(const Transformer& model, const Batch& batch,
                                       Tape::Mode mode = Tape::Mode::no_grad) {
  Tape tape(model.device(), mode);
  return host_values(model.logprobs(tape, batch));
}

inline std::vector<double> completion_logprobs(const Transformer& model, const Ids& prompt, const Ids& completion) {
  Batch batch;
  batch.add_completion(batch.add_prompt(prompt), completion);
  return logprobs_of(model, batch);
}

/// Gradients of the sum of weight[i] times the i-th log-prob of the batch; the model's own are cleared before.
inline Values gradients_of_sum(const Transformer& model, const Batch& batch, const std::vector<double>& weight) {
  model.zero_grad();
  Tape tape(model.device(), Tape::Mode::record);
  const Tensor logprobs = model.logprobs(tape, batch);
  if (logprobs.dtype() == DType::F64) {
    tape.backward<double>(logprobs, weight);
  } else {
    tape.backward<float>(logprobs, std::vector<float>(weight.begin(), weight.end()));
  }
  return gradients_of(model);
}

inline nlohmann::json read_json(const std::string& path) {
  std::ifstream in(path);
  REQUIRE_MESSAGE(in.good(), path, " cannot be read; run from the project's folder");
  return nlohmann::json::parse(in);
}

}  // namespace thinker
