// The trainers against PyTorch (tests/goldens/README.md), and the whole preference loss through a model against central
// differences. Tolerances: ten times the golden's own `rounding`.
#include <cstring>
#include <tuple>

#include "nn/lora.h"
#include "tensor/safetensors.h"
#include "tests/nn/models.h"
#include "tests/tensor/temp_folder.h"
#include "tpo/training.h"

using namespace thinker;
using nlohmann::json;

namespace {

const std::vector<std::string> kFolders{"tests/goldens/tiny-llama", "tests/goldens/tiny-qwen2",
                                        "tests/goldens/tiny-qwen3"};

double tolerance(const json& golden, const char* section) {
  return 10 * golden["rounding"][section].get<double>();
}

bool near(double found, const json& wanted, double most) {
  const double y = wanted.get<double>();
  return std::fabs(found - y) <= most * std::fmax(1.0, std::fabs(y));
}

std::vector<IdPair> pairs_of(const json& golden) {
  std::vector<IdPair> pairs;
  for (const json& row : golden["dpo"]["pairs"]) {
    pairs.push_back({row["prompt_ids"].get<Ids>(), row["chosen_ids"].get<Ids>(), row["rejected_ids"].get<Ids>()});
  }
  return pairs;
}

std::vector<ReferenceLogps> reference_of(const json& golden) {
  std::vector<ReferenceLogps> reference;
  for (const json& row : golden["dpo"]["pairs"]) reference.push_back({row["ref_chosen"], row["ref_rejected"]});
  return reference;
}

struct NamedLoss {
  std::string name;
  DpoOptions options;
};

std::vector<NamedLoss> all_losses(double beta, double smoothing, double nll) {
  std::vector<NamedLoss> losses;
  for (const auto& [name, kind, e] :
       std::vector<std::tuple<std::string, DpoLoss, double>>{{"sigmoid", DpoLoss::sigmoid, 0.0},
                                                             {"ipo", DpoLoss::ipo, 0.0},
                                                             {"cdpo", DpoLoss::cdpo, smoothing},
                                                             {"robust", DpoLoss::robust, smoothing}}) {
    losses.push_back({name, {kind, beta, e, 0.0}});
    losses.push_back({name + "+nll", {kind, beta, e, nll}});
  }
  return losses;
}

/// One step without movement: what the trainer logs, and the gradient that it formed (with beta1 = 0 the first moment).
struct Frozen {
  StepLog log;
  Values gradients;
};

Frozen frozen_step(const Transformer& model, const std::vector<IdPair>& pairs,
                   const std::vector<ReferenceLogps>& reference, const DpoOptions& loss) {
  Frozen result;
  const TempFolder folder;
  Transformer policy = model;
  AdamW optimizer(policy, {.beta1 = 0.0, .clip = 0.0});
  train_dpo(policy, optimizer, pairs, reference, ReferenceIs::other, loss, {.lr = 0.0},
            {.on_step = [&](const StepLog& l) { result.log = l; }});
  optimizer.save(folder / "state.safetensors");
  const SafetensorsFile state(folder / "state.safetensors");
  policy.visit_trained([&](const std::string& name, const Tensor& w) {
    const NamedTensor& m = state.tensors().at("m." + name);
    std::vector<double>& values = result.gradients[name];
    if (w.dtype() == DType::F64) {
      values.resize(w.numel());
      std::memcpy(values.data(), m.data.data(), m.data.size());
    } else {
      std::vector<float> narrow(w.numel());
      to_f32(narrow.data(), m);
      values.assign(narrow.begin(), narrow.end());
    }
  });
  return result;
}

void set_one(const Tensor& w, int64_t i, double value) {
  w.device().backend().copy_from_host(w.data<double>() + i, &value, sizeof value);
}

}  // namespace

// Traps 1, 2, 3 and 5: sums and means, every kind of loss, each by its own name.
TEST_CASE("dpo goldens: every loss and its gradient's norm; every gradient of the sigmoid loss") {
  const auto device = test_device();
  for (const std::string& folder : kFolders) {
    const json golden = read_json(folder + "/golden.json");
    const json& dpo = golden["dpo"];
    const Transformer model = load_huggingface(*device, folder, DType::F32);
    const auto pairs = pairs_of(golden);
    const auto reference = reference_of(golden);
    const double most = tolerance(golden, "dpo");
    for (const auto& [name, options] : all_losses(dpo["beta"], dpo["label_smoothing"], dpo["nll"])) {
      CAPTURE(folder);
      CAPTURE(name);
      const Frozen found = frozen_step(model, pairs, reference, options);
      CHECK(near(found.log.loss, dpo["losses"][name]["loss"], most));
      CHECK(near(found.log.grad_norm, dpo["losses"][name]["grad_norm"], most));
      CHECK(near(found.log.dpo.margin(), dpo["margin"], most));
      CHECK(near(found.log.dpo.reward_chosen(), dpo["reward_chosen"], most));
      CHECK(near(found.log.dpo.reward_rejected(), dpo["reward_rejected"], most));
      CHECK(near(found.log.dpo.logp_chosen(), dpo["logp_chosen"], most));
      CHECK(near(found.log.dpo.logp_rejected(), dpo["logp_rejected"], most));
      CHECK(near(found.log.dpo.accuracy(), dpo["accuracy"], most));
      if (name != "sigmoid") continue;
      const SafetensorsFile expected(folder + "/dpo_grads.safetensors");
      CHECK(found.gradients.size() == expected.tensors().size());
      for (const auto& [weight, values] : found.gradients) {
        std::vector<float> wanted(values.size());
        to_f32(wanted.data(), expected.tensors().at(weight));
        CHECK_MESSAGE(difference(values, wanted) <= tolerance(golden, "dpo_grads"), weight);
      }
    }
  }
}

TEST_CASE("sft goldens: ten steps with decay, clipping, warm-up and a linear schedule") {
  const auto device = test_device();
  for (const std::string& folder : kFolders) {
    CAPTURE(folder);
    const json golden = read_json(folder + "/golden.json");
    const json& steps = golden["sft_steps"];
    const double most = tolerance(golden, "sft_steps");
    std::vector<SftExample> examples;
    for (const json& row : golden["sft"]["sequences"]) {
      SftExample e{row["prompt_ids"].get<Ids>(), {}};
      e.trained.resize(e.ids.size(), 0);
      for (int32_t id : row["completion_ids"]) e.ids.push_back(id);
      e.trained.resize(e.ids.size(), 1);
      examples.push_back(std::move(e));
    }
    Transformer model = load_huggingface(*device, folder, DType::F32);
    const TrainOptions options{.lr = steps["lr"],
                               .schedule = ScheduleKind::linear,
                               .warmup = steps["warmup"],
                               .batch = 2,
                               .epochs = 10,
                               .order = Order::as_given,
                               .adamw = {.weight_decay = steps["weight_decay"], .clip = steps["clip"]}};
    int64_t seen = 0;
    train_sft(model, examples, options, {.on_step = [&](const StepLog& l) {
                const json& row = steps["log"].at(l.step - 1);
                CHECK(near(l.loss, row["loss"], most));
                CHECK(near(l.grad_norm, row["grad_norm"], most));
                CHECK(near(l.lr, row["lr"], 1e-9));
                ++seen;
              }});
    CHECK(seen == 10);
    for (const auto& [name, values] : weights_of(model)) {
      double sum = 0.0, abs_sum = 0.0;
      for (double x : values) sum += x, abs_sum += std::fabs(x);
      CHECK_MESSAGE(near(sum, steps["tensors_after"][name]["sum"], most), name);
      CHECK_MESSAGE(near(abs_sum, steps["tensors_after"][name]["abs_sum"], most), name);
    }
    for (const json& row : steps["score_after"]) {
      CHECK(difference(completion_logprobs(model, row["prompt_ids"], row["completion_ids"]),
                       row["logprobs"].get<std::vector<double>>()) <= most);
    }
  }
}

TEST_CASE("dpo goldens: ten steps from the reference") {
  const auto device = test_device();
  for (const std::string& folder : kFolders) {
    CAPTURE(folder);
    const json golden = read_json(folder + "/golden.json");
    const json& steps = golden["dpo_steps"];
    const double most = tolerance(golden, "dpo_steps");
    Transformer policy = load_huggingface(*device, folder, DType::F32);
    const auto pairs = pairs_of(golden);
    const TrainOptions options{.lr = steps["lr"],
                               .schedule = ScheduleKind::constant,
                               .batch = 3,
                               .epochs = 10,
                               .order = Order::as_given,
                               .adamw = {.clip = steps["clip"]}};
    const auto reference = reference_logps(policy, pairs, options);
    for (size_t i = 0; i < pairs.size(); ++i) {
      CHECK(near(reference[i].chosen, steps["ref_chosen"][i], most));
      CHECK(near(reference[i].rejected, steps["ref_rejected"][i], most));
    }
    AdamW optimizer(policy, options.adamw);
    int64_t seen = 0;
    train_dpo(policy, optimizer, pairs, reference, ReferenceIs::start, {.beta = steps["beta"]}, options,
              {.on_step = [&](const StepLog& l) {
                const json& row = steps["log"].at(l.step - 1);
                CHECK(near(l.loss, row["loss"], most));
                CHECK(near(l.dpo.margin(), row["margin"], most));
                CHECK(near(l.dpo.logp_chosen(), row["logp_chosen"], most));
                CHECK(near(l.dpo.logp_rejected(), row["logp_rejected"], most));
                CHECK(near(l.dpo.accuracy(), row["accuracy"], 1e-8));
                CHECK(near(l.grad_norm, row["grad_norm"], most));
                ++seen;
              }});
    CHECK(seen == 10);
  }
}

// Trap 6.
TEST_CASE("dpo: the gradient of the whole loss through a model equals central differences, for every loss") {
  const auto device = test_device();
  Config llama = tiny_config(), qwen = tiny_config();
  qwen.model_type = "qwen2";
  qwen.kv_heads = 1;
  qwen.tied_head = false;
  qwen.attention_bias = true;
  for (auto [config, rank] : {std::pair(llama, 0), {qwen, 0}, {llama, 3}, {qwen, 1}}) {
    config.vocab = 31;
    config.width = 14;
    config.ffn = 19;
    config.head_dim = 6;
    CAPTURE(rank);
    Transformer model = random_model(*device, config, DType::F64);
    Rng rng(31, Purpose::generate_data);
    if (rank > 0) {
      add_lora(model, {.rank = rank, .alpha = 1.5 * rank}, 1, 0);
      model.visit_trained([&](const std::string&, const Tensor& w) {
        std::vector<double> values(w.numel());
        for (double& x : values) x = 0.3 * rng.normal();
        set_values(w, values);
      });
    }
    std::vector<IdPair> pairs;
    for (const auto& [p, c, r] : std::vector<std::tuple<int, int, int>>{{5, 6, 4}, {1, 3, 1}, {4, 1, 7}}) {
      pairs.push_back({random_ids(rng, p, 31), random_ids(rng, c, 31), random_ids(rng, r, 31)});
    }
    const Transformer other = random_model(*device, config, DType::F64, 2);
    const auto reference = reference_logps(other, pairs, {});
    const auto losses = all_losses(0.3, 0.2, 0.7);
    std::vector<Values> gradients;
    for (const auto& [name, options] : losses)
      gradients.push_back(frozen_step(model, pairs, reference, options).gradients);

    auto losses_now = [&] {
      const auto sums = reference_logps(model, pairs, {});
      std::vector<double> now;
      for (const auto& [name, options] : losses) {
        double loss = 0.0;
        for (size_t i = 0; i < pairs.size(); ++i) {
          const PairLogps logps{sums[i].chosen,
                                sums[i].rejected,
                                reference[i].chosen,
                                reference[i].rejected,
                                static_cast<int64_t>(pairs[i].chosen.size()),
                                static_cast<int64_t>(pairs[i].rejected.size())};
          loss += dpo_pair(logps, options, 1).loss / static_cast<double>(pairs.size());
        }
        now.push_back(loss);
      }
      return now;
    };
    constexpr double kStep = 1e-5;
    model.visit_trained([&](const std::string& name, const Tensor& w) {
      const std::vector<double> values = host_values(w);
      for (int sample = 0; sample < 6; ++sample) {
        const int64_t i = rng.below(w.numel());
        set_one(w, i, values[i] + kStep);
        const auto above = losses_now();
        set_one(w, i, values[i] - kStep);
        const auto below = losses_now();
        set_one(w, i, values[i]);
        for (size_t l = 0; l < losses.size(); ++l) {
          const double numeric = (above[l] - below[l]) / (2 * kStep), tape = gradients[l].at(name)[i];
          CHECK_MESSAGE(std::fabs(numeric - tape) <= 1e-7 * std::fmax(1.0, std::fabs(tape)), losses[l].name, " ", name,
                        "[", i, "] ", numeric, " ", tape);
        }
      }
    });
  }
}
