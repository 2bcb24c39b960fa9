#include "nn/optimizer.h"

#include <cstring>

#include "nn/schedule.h"
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
