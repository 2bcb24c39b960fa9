#include "nn/optimizer.h"

#include <cstring>

#include "nn/schedule.h"
#include "tensor/safetensors.h"
#include "tests/nn/models.h"
#include "tests/tensor/temp_folder.h"

using namespace thinker;

namespace {

Batch some_batch(uint64_t seed) {
  Rng rng(seed, Purpose::generate_data);
  Batch batch;
  const Batch::Prefix prompt = batch.add_prompt(random_ids(rng, 6));
  batch.add_completion(prompt, random_ids(rng, 9));
  batch.add_completion(prompt, random_ids(rng, 4));
  return batch;
}

Values gradients_for(const Transformer& model, uint64_t seed, double weight) {
  const Batch batch = some_batch(seed);
  return gradients_of_sum(model, batch, std::vector<double>(batch.rows.size(), weight));
}

/// AdamW as in the paper, in double, on host arrays.
struct PlainAdamW {
  AdamWOptions o;
  Values weights, m, v;
  int64_t steps = 0;

  double step(const Values& gradients, double lr) {
    double squares = 0.0;
    for (const auto& [name, g] : gradients) {
      for (double x : g) squares += x * x;
    }
    const double norm = std::sqrt(squares), scale = o.clip > 0 && norm > o.clip ? o.clip / norm : 1.0;
    ++steps;
    for (auto& [name, w] : weights) {
      const bool is_matrix = !name.ends_with("norm.weight") && !name.ends_with(".bias");
      m[name].resize(w.size());
      v[name].resize(w.size());
      for (size_t i = 0; i < w.size(); ++i) {
        const double g = scale * gradients.at(name)[i];
        m[name][i] = o.beta1 * m[name][i] + (1 - o.beta1) * g;
        v[name][i] = o.beta2 * v[name][i] + (1 - o.beta2) * g * g;
        const double m_hat = m[name][i] / (1 - std::pow(o.beta1, steps)),
                     v_hat = v[name][i] / (1 - std::pow(o.beta2, steps));
        w[i] -= lr * (m_hat / (std::sqrt(v_hat) + o.eps) + (is_matrix ? o.weight_decay : 0.0) * w[i]);
      }
    }
    return norm;
  }
};

constexpr OptimizerState kStates[] = {OptimizerState::f32, OptimizerState::bf16, OptimizerState::eight_bit};

/// What AdamW needs of a model, for dtypes that the CPU has no products in: a matrix and a vector with given gradients.
class TwoWeights {
 public:
  TwoWeights(Device& device, DType t)
      : device_(&device),
        matrix_(Tensor::parameter(device, {19, 31}, t)),
        vector_(Tensor::parameter(device, {300}, t)) {
    Rng rng(3, Purpose::initialise);
    visit_trained([&](const std::string&, const Tensor& w) {
      std::vector<double> values(w.numel());
      for (double& x : values) x = rng.normal();
      set_values(w, values);
    });
  }
  Device& device() const { return *device_; }
  template <class Fn>
  void visit_trained(Fn&& fn) const {
    fn(std::string("matrix"), matrix_);
    fn(std::string("vector"), vector_);
  }
  /// The gradient of a quadratic bowl around 0, with noise that depends on the step.
  void set_gradients(uint64_t step) const {
    Rng rng(step, Purpose::generate_data);
    Tape tape(*device_, Tape::Mode::record);
    visit_trained([&](const std::string&, const Tensor& w) {
      std::vector<float> g = wide(w);
      for (float& x : g) x += 0.1f * static_cast<float>(rng.normal());
      device_->backend().copy_from_host(tape.target(w).data, g.data(), static_cast<int64_t>(4 * g.size()));
    });
  }
  static std::vector<float> wide(const Tensor& w) {
    const Tensor y = Tensor::zeros(w.device(), w.shape(), DType::F32);
    w.device().backend().convert(y.raw(), w.raw(), w.numel(), DType::F32, w.dtype());
    return y.to_host<float>();
  }
  std::vector<float> values() const {
    std::vector<float> all;
    visit_trained([&](const std::string&, const Tensor& w) {
      for (float x : wide(w)) all.push_back(x);
    });
    return all;
  }

 private:
  Device* device_;
  Tensor matrix_, vector_;
};

double norm_of_difference(const Values& a, const Values& b) {
  double squares = 0.0;
  for (const auto& [name, values] : b)
    for (size_t i = 0; i < values.size(); ++i) squares += std::pow(a.at(name)[i] - values[i], 2);
  return std::sqrt(squares);
}

}  // namespace

TEST_CASE("schedule: the rates of the formula") {
  const double pi = std::acos(-1.0);
  auto rate = [](ScheduleKind kind, int64_t warmup, int64_t steps, int64_t s) {
    return Schedule{.kind = kind, .lr = 2.0, .warmup = warmup, .steps = steps}.at(s);
  };
  for (ScheduleKind kind : {ScheduleKind::constant, ScheduleKind::linear, ScheduleKind::cosine}) {
    CHECK(rate(kind, 4, 10, 1) == 0.5);
    CHECK(rate(kind, 4, 10, 3) == 1.5);
    CHECK(rate(kind, 4, 10, 4) == 2.0);
    CHECK(rate(kind, 4, 10, 5) == 2.0);  // u = 0
    CHECK(rate(kind, 0, 10, 1) == 2.0);
    CHECK(rate(kind, 3, 3, 3) == 2.0);  // nothing but warm-up
    CHECK(rate(kind, 0, 1, 1) == 2.0);
    CHECK(rate(kind, 9, 3, 2) == doctest::Approx(4.0 / 9));  // a run shorter than its warm-up
    CHECK(schedule_from_name(name(kind)) == kind);
  }
  for (int64_t s = 5; s <= 10; ++s) {
    const double u = static_cast<double>(s - 5) / 6.0;
    CHECK(rate(ScheduleKind::constant, 4, 10, s) == 2.0);
    CHECK(rate(ScheduleKind::linear, 4, 10, s) == doctest::Approx(2.0 * (1 - u)).epsilon(1e-14));
    CHECK(rate(ScheduleKind::cosine, 4, 10, s) == doctest::Approx(1 + std::cos(pi * u)).epsilon(1e-14));
  }
  CHECK(rate(ScheduleKind::linear, 0, 4, 4) == doctest::Approx(0.5));  // the last step still moves
  CHECK(holds(error_of([] { schedule_from_name("cosin"); }), "constant, linear or cosine"));
}

TEST_CASE("adamw: equals the formula in double, with decay on matrices only and clipping by the global norm") {
  const auto device = open_device("cpu");
  for (const Config& config : {tiny_config(), tiny_qwen_config()}) {
    for (double clip : {0.0, 0.5, 1e6}) {
      const Transformer model = random_model(*device, config, DType::F64);
      const AdamWOptions options{.beta1 = 0.8, .beta2 = 0.95, .eps = 1e-6, .weight_decay = 0.3, .clip = clip};
      AdamW optimizer(model, options);
      PlainAdamW plain{options, weights_of(model), {}, {}};
      for (uint64_t s = 1; s <= 5; ++s) {
        const double lr = 0.01 * static_cast<double>(s);
        const double norm = plain.step(gradients_for(model, s, -0.1), lr);
        CHECK(optimizer.step(lr) == doctest::Approx(norm).epsilon(1e-12));
        CHECK(optimizer.steps() == static_cast<int64_t>(s));
        CHECK(relative_difference(weights_of(model), plain.weights) <= 1e-12);
      }
    }
  }
}

TEST_CASE("adamw: a step clears the gradients, and a weight without gradient stays") {
  const auto device = open_device("cpu");
  const Transformer model = random_model(*device, tiny_config(), DType::F32);
  AdamW optimizer(model, {.weight_decay = 0.1});
  const Values before = weights_of(model);
  CHECK(optimizer.step(0.1) == 0.0);
  CHECK(weights_of(model) == before);
  gradients_for(model, 1, 1.0);
  optimizer.step(0.1);
  CHECK(weights_of(model) != before);
  for (const auto& [name, g] : gradients_of(model))
    CHECK(std::count(g.begin(), g.end(), 0.0) == static_cast<int64_t>(g.size()));
}

TEST_CASE("adamw: a gradient that is not finite is an error that leaves weights and state alone") {
  const auto device = open_device("cpu");
  const Transformer model = random_model(*device, tiny_config(), DType::F32);
  AdamW optimizer(model, {});
  gradients_for(model, 1, 1.0);
  optimizer.step(0.01);
  const Values before = weights_of(model);
  for (double bad : {NAN, INFINITY}) {
    gradients_for(model, 2, bad);
    CHECK(holds(error_of([&] { optimizer.step(0.01); }), "step 2"));
    CHECK(weights_of(model) == before);
    CHECK(optimizer.steps() == 1);
  }
  gradients_for(model, 2, 1.0);
  CHECK(std::isfinite(optimizer.step(0.01)));
}

TEST_CASE("adamw: saved and loaded state continues with the same bits") {
  const auto device = open_device("cpu");
  const TempFolder folder;
  for (DType t : {DType::F32, DType::F64}) {
    const Transformer model = random_model(*device, tiny_qwen_config(), t),
                      copy = random_model(*device, tiny_qwen_config(), t);
    AdamW optimizer(model, {.weight_decay = 0.1});
    for (uint64_t s = 1; s <= 3; ++s) {
      gradients_for(model, s, 1.0);
      optimizer.step(0.01);
    }
    optimizer.save(folder / "state.safetensors");
    const Values middle = weights_of(model);
    copy.visit([&](const std::string& name, const Tensor& w) { set_values(w, middle.at(name)); });
    AdamW loaded(copy, {.weight_decay = 0.1});
    loaded.load(folder / "state.safetensors");
    CHECK(loaded.steps() == 3);
    for (uint64_t s = 4; s <= 6; ++s) {
      gradients_for(model, s, 1.0);
      gradients_for(copy, s, 1.0);
      CHECK(optimizer.step(0.01) == loaded.step(0.01));
    }
    CHECK(weights_of(copy) == weights_of(model));
  }
}

TEST_CASE("adamw: state of another model or another file is refused by name") {
  const auto device = open_device("cpu");
  const TempFolder folder;
  const Transformer model = random_model(*device, tiny_config(), DType::F32);
  AdamW(model, {}).save(folder / "state.safetensors");
  const Transformer other = random_model(*device, tiny_qwen_config(), DType::F32);
  AdamW optimizer(other, {});
  const std::string error = error_of([&] { optimizer.load(folder / "state.safetensors"); });
  CHECK(holds(error, "state.safetensors"));
  CHECK(holds(error, "k_proj"));
  AdamW fresh(model, {});
  CHECK(holds(error_of([&] { fresh.load("tests/goldens/tiny-llama/model.safetensors"); }), "optimizer state"));
}

TEST_CASE("adamw: names of its state's formats") {
  for (OptimizerState state : kStates) CHECK(optimizer_state_from_name(name(state)) == state);
  CHECK(holds(error_of([] { optimizer_state_from_name("8-bit"); }), "f32, bf16 or 8bit"));
}

TEST_CASE("adamw in fewer bits learns what it learns in fp32") {
  const auto device = open_device("cpu");
  Values start, in_fp32;
  double begin = 0.0, loss_fp32 = 0.0;
  for (OptimizerState state : kStates) {
    CAPTURE(name(state));
    const Transformer model = random_model(*device, tiny_config(), DType::F32);
    const auto loss = [&] {
      double sum = 0.0;
      for (uint64_t batch = 1; batch <= 4; ++batch)
        for (double x : logprobs_of(model, some_batch(batch))) sum -= x / 52;
      return sum;
    };
    if (state == OptimizerState::f32) start = weights_of(model), begin = loss();
    AdamW optimizer(model, {.weight_decay = 0.01, .state = state});
    const Schedule schedule{.kind = ScheduleKind::linear, .lr = 3e-3, .warmup = 10, .steps = 300};
    for (int64_t s = 1; s <= schedule.steps; ++s) {
      gradients_for(model, 1 + static_cast<uint64_t>(s) % 4, -1.0 / 13);
      optimizer.step(schedule.at(s));
    }
    if (state == OptimizerState::f32) {
      in_fp32 = weights_of(model);
      loss_fp32 = loss();
      CHECK(loss_fp32 < 0.1 * begin);
      continue;
    }
    CHECK(loss() == doctest::Approx(loss_fp32).epsilon(0.02));
    // Noise in the steps leads to another place nearby: measured 0.04 of the way in bf16, 0.09 in 8 bits.
    CHECK(norm_of_difference(weights_of(model), in_fp32) <= 0.15 * norm_of_difference(in_fp32, start));
  }
}

TEST_CASE("adamw: each format of the state with each dtype of weights is saved, is as small as it says, and resumes") {
  const auto device = open_device("cpu");
  const TempFolder folder;
  const std::string path = folder / "state.safetensors";
  for (DType t : {DType::F32, DType::BF16}) {
    for (OptimizerState state : kStates) {
      CAPTURE(name(t));
      CAPTURE(name(state));
      const TwoWeights model(*device, t), copy(*device, t);
      const std::vector<float> before = model.values();
      const AdamWOptions options{.weight_decay = 0.1, .state = state};
      AdamW optimizer(model, options);
      for (uint64_t s = 1; s <= 5; ++s) {
        model.set_gradients(s);
        optimizer.step(0.01);
      }
      CHECK(model.values() != before);
      optimizer.save(path);
      int64_t bytes = 0, expected = 0;
      const SafetensorsFile file(path);
      for (const auto& [key, tensor] : file.tensors())
        if (!key.starts_with("master.")) bytes += static_cast<int64_t>(tensor.data.size());
      model.visit_trained([&](const std::string&, const Tensor& w) { expected += moment_bytes(state, w.numel()); });
      CHECK(bytes == expected);

      std::vector<Tensor> targets;
      copy.visit_trained([&](const std::string&, const Tensor& w) { targets.push_back(w); });
      model.visit_trained([&, i = 0](const std::string&, const Tensor& w) mutable {
        device->backend().copy(targets[i++].raw(), w.raw(), w.bytes());
      });
      AdamW loaded(copy, options);
      loaded.load(path);
      for (uint64_t s = 6; s <= 9; ++s) {
        model.set_gradients(s);
        copy.set_gradients(s);
        CHECK(optimizer.step(0.01) == loaded.step(0.01));
      }
      CHECK(copy.values() == model.values());
      for (OptimizerState other : kStates) {
        AdamW wrong(copy, {.state = other});
        if (other != state) CHECK(holds(error_of([&] { wrong.load(path); }), "does not fit"));
      }
    }
  }
  CHECK(moment_bytes(OptimizerState::bf16, 1 << 20) * 2 == moment_bytes(OptimizerState::f32, 1 << 20));
  CHECK(moment_bytes(OptimizerState::eight_bit, 1 << 20) < 0.26 * moment_bytes(OptimizerState::f32, 1 << 20));
}
