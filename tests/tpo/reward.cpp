// Reward models: the loss and its gradients against PyTorch and differences, the trainer's promises, held-out pairs,
// what a trained one learns, and the judge that it becomes.
#include "tpo/stages/reward.h"

#include <cstring>

#include "tensor/safetensors.h"
#include "tests/tpo/tiny_world.h"
#include "tpo/judges/reward.h"
#include "tpo/logistic.h"
#include "tpo/step_log.h"

using namespace thinker;

namespace {

bool near(double found, double wanted, double most) {
  return std::fabs(found - wanted) <= most * std::fmax(1.0, std::fabs(wanted));
}

std::vector<RewardPair> random_pairs(int64_t n, uint64_t seed, int64_t vocab = 97) {
  Rng rng(seed, Purpose::generate_data);
  std::vector<RewardPair> pairs;
  for (int64_t i = 0; i < n; ++i) {
    pairs.push_back({random_ids(rng, 1 + rng.below(12), vocab), random_ids(rng, 1 + rng.below(15), vocab),
                     random_ids(rng, 1 + rng.below(15), vocab), rng.normal()});
  }
  return pairs;
}

/// One epoch without movement: the last step's log, and the gradient that it formed (with beta1 = 0 the first moment).
Values frozen_gradient(RewardModel model, const std::vector<RewardPair>& pairs, double center, TrainOptions options,
                       StepLog& log) {
  const TempFolder folder;
  options.lr = 0.0;
  AdamW optimizer(model, {.beta1 = 0.0, .clip = 0.0});
  train_reward(model, optimizer, pairs, center, options, {.on_step = [&](const StepLog& l) { log = l; }});
  optimizer.save(folder / "state.safetensors");
  const SafetensorsFile state(folder / "state.safetensors");
  Values gradients;
  model.visit([&](const std::string& name, const Tensor& w) {
    const NamedTensor& m = state.tensors().at("m." + name);
    std::vector<float> values(w.numel());
    to_f32(values.data(), m);
    gradients[name].assign(values.begin(), values.end());
    if (w.dtype() == DType::F64) std::memcpy(gradients[name].data(), m.data.data(), m.data.size());
  });
  return gradients;
}

void set_one(const Tensor& w, int64_t i, double value) {
  w.device().backend().copy_from_host(w.data<double>() + i, &value, sizeof value);
}

}  // namespace

TEST_CASE("reward loss: ln 2 for equal rewards, differences give the gradients, extremes stay finite") {
  CHECK(near(reward_pair(0, 0, 0, 0, 1).loss, std::log(2.0), 1e-15));
  CHECK(near(reward_pair(3, 3, 0, 0, 4).loss, std::log(2.0), 1e-15));  // each pair's own, whatever the batch
  CHECK(near(reward_pair(2, 1, 1, 0, 1).loss, std::log(2.0), 1e-15));  // a lead of just the margin
  CHECK(near(reward_pair(2, 1, 1, 0.1, 1).loss, std::log(2.0) + 0.1 * 9, 1e-15));
  CHECK(reward_pair(1, 0, 0, 0, 1).loss < std::log(2.0));
  Rng rng(3, Purpose::generate_data);
  for (int i = 0; i < 200; ++i) {
    const double c = 3 * rng.normal(), r = 3 * rng.normal(), m = rng.normal(), center = rng.uniform(), h = 1e-5;
    const auto loss = [&](double dc, double dr) { return reward_pair(c + dc, r + dr, m, center, 1).loss; };
    const RewardPairLoss result = reward_pair(c, r, m, center, 8);
    REQUIRE(near(8 * result.d_chosen, (loss(h, 0) - loss(-h, 0)) / (2 * h), 1e-7));
    REQUIRE(near(8 * result.d_rejected, (loss(0, h) - loss(0, -h)) / (2 * h), 1e-7));
  }
  for (double lead : {-1e6, 1e6}) {
    const RewardPairLoss result = reward_pair(lead, 0, 0, 0, 1);
    CHECK(std::isfinite(result.loss));
    CHECK(near(result.d_chosen, lead > 0 ? 0 : -1, 1e-12));
  }
  CHECK_THROWS_AS(reward_pair(std::nan(""), 0, 0, 0, 1), Error);
  CHECK_THROWS_AS(reward_pair(0, INFINITY, 0, 0, 1), Error);
  CHECK_THROWS_AS(RewardMeter().loss(), Error);
}

TEST_CASE("reward goldens: rewards, loss and gradients equal transformers' and PyTorch's") {
  const auto golden = read_json("tests/goldens/reward.json");
  const auto device = open_device("cpu");
  for (const std::string folder : {"tiny-llama", "tiny-qwen2", "tiny-qwen3"}) {
    const auto& wanted = golden[folder];
    const RewardModel model(load_huggingface(*device, "tests/goldens/" + folder, DType::F32, OutputHead::left_out));
    set_values(model.score(), wanted["score"].get<std::vector<double>>());
    std::vector<RewardPair> pairs;
    for (const auto& p : wanted["pairs"])
      pairs.push_back({p["prompt_ids"].get<Ids>(), p["chosen_ids"].get<Ids>(), p["rejected_ids"].get<Ids>(),
                       p["margin"].get<double>()});
    const auto rewards = pair_rewards(model, pairs, {});
    for (size_t i = 0; i < pairs.size(); ++i) {
      CHECK(near(rewards[i].chosen, wanted["pairs"][i]["rewards"][0], 1e-5));
      CHECK(near(rewards[i].rejected, wanted["pairs"][i]["rewards"][1], 1e-5));
    }
    StepLog log;
    const Values gradients = frozen_gradient(model, pairs, wanted["center"], {.batch = 3}, log);
    CHECK(near(log.loss, wanted["loss"], 1e-5));
    CHECK(near(log.grad_norm, wanted["grad_norm"], 1e-5));
    CHECK(difference(gradients.at("score.weight"), wanted["score_gradient"].get<std::vector<double>>()) <= 1e-5);
    CHECK(gradients.size() == wanted["abs_gradients"].size());
    for (const auto& [name, values] : gradients) {
      double sum = 0;
      for (double x : values) sum += std::fabs(x);
      CHECK_MESSAGE(near(sum, wanted["abs_gradients"][name], 1e-4), name);
    }
  }
}

TEST_CASE("reward training: the gradient of the whole loss through a model equals central differences") {
  const auto device = open_device("cpu");
  for (Config config : {tiny_config(), tiny_qwen_config(), tiny_qwen3_config()}) {
    config.vocab = 31;
    config.width = 14;
    config.ffn = 19;
    config.head_dim = 6;
    const RewardModel model = random_reward_model(*device, config, DType::F64);
    const auto pairs = random_pairs(3, 31, 31);
    constexpr double kCenter = 0.2, kStep = 1e-5;
    StepLog log;
    const Values gradients = frozen_gradient(model, pairs, kCenter, {.batch = 3}, log);
    const auto loss_now = [&] {
      double loss = 0.0;
      const auto rewards = pair_rewards(model, pairs, {});
      for (size_t i = 0; i < 3; ++i)
        loss += reward_pair(rewards[i].chosen, rewards[i].rejected, pairs[i].margin, kCenter, 1).loss / 3;
      return loss;
    };
    CHECK(near(log.loss, loss_now(), 1e-12));
    Rng rng(5, Purpose::generate_data);
    model.visit([&](const std::string& name, const Tensor& w) {
      const std::vector<double> values = host_values(w);
      for (int sample = 0; sample < 6; ++sample) {
        const int64_t i = rng.below(w.numel());
        set_one(w, i, values[i] + kStep);
        const double above = loss_now();
        set_one(w, i, values[i] - kStep);
        const double numeric = (above - loss_now()) / (2 * kStep), tape = gradients.at(name)[i];
        set_one(w, i, values[i]);
        CHECK_MESSAGE(std::fabs(numeric - tape) <= 1e-7 * std::fmax(1.0, std::fabs(tape)), name, "[", i, "] ", numeric,
                      " ", tape);
      }
    });
  }
}

// Traps 8, 11 and 14.
TEST_CASE("reward training: starts at ln 2 with half the pairs right; micro-batches change nothing") {
  const auto device = open_device("cpu");
  Config config = tiny_config();
  auto pairs = random_pairs(7, 4);
  const RewardModel fresh(random_model(*device, config, DType::F32));
  StepLog log;
  for (RewardPair& p : pairs) p.margin = 0;
  frozen_gradient(fresh, pairs, 0.1, {.batch = 7}, log);
  CHECK(near(log.loss, std::log(2.0), 1e-15));
  CHECK(log.reward.accuracy() == 0.5);
  CHECK(log.grad_norm > 0);

  const RewardModel model = random_reward_model(*device, config, DType::F64);
  pairs = random_pairs(7, 5);
  StepLog whole, cut;
  const Values expected = frozen_gradient(model, pairs, 0.1, {.batch = 7}, whole);
  for (int64_t micro : {1, 40, 70}) {
    CHECK(relative_difference(frozen_gradient(model, pairs, 0.1, {.batch = 7, .micro_tokens = micro}, cut), expected) <=
          1e-11);
    CHECK(near(cut.loss, whole.loss, 1e-12));
    CHECK(near(cut.grad_norm, whole.grad_norm, 1e-11));
    CHECK(cut.tokens == whole.tokens);
    CHECK(cut.reward.accuracy() == whole.reward.accuracy());
  }
  const Json line = reward_step_to_json(whole);
  std::string keys;
  for (const auto& [key, value] : line.items()) keys += key + " ";
  CHECK(keys == "step epoch loss margin reward_chosen reward_rejected accuracy grad_norm lr tokens_per_s seconds ");
  CHECK(near(line["margin"], whole.reward.reward_chosen() - whole.reward.reward_rejected(), 1e-12));
}

TEST_CASE("reward training: centring draws the rewards to 0, a margin widens the lead, broken numbers stop it") {
  const auto device = open_device("cpu");
  const auto trained = [&](double center, double margin) {
    RewardModel model = random_reward_model(*device, tiny_config(), DType::F32);
    auto pairs = random_pairs(4, 6);
    for (RewardPair& p : pairs) p.margin = margin;
    const TrainOptions options{.lr = 3e-3, .batch = 4, .epochs = 30};
    AdamW optimizer(model, options.adamw);
    train_reward(model, optimizer, pairs, center, options, {});
    RewardMeter meter;
    double off = 0;
    for (const PairRewards& r : pair_rewards(model, pairs, options)) {
      meter.add(r, {});
      off += std::fabs(r.chosen + r.rejected);
    }
    CHECK(meter.accuracy() == 1.0);
    return std::pair(meter.margin(), off / 4);
  };
  const auto [lead, off] = trained(0, 0);
  CHECK(trained(1.0, 0).second < 0.2 * off);
  CHECK(trained(0, 5).first > lead + 1);

  RewardModel broken = random_reward_model(*device, tiny_config(), DType::F32);
  set_values(broken.score(), std::vector<double>(24, NAN));
  const Values before = weights_of(broken);
  AdamW optimizer(broken, {});
  CHECK(holds(error_of([&] { train_reward(broken, optimizer, random_pairs(2, 1), 0, {}, {}); }), "not finite"));
  CHECK(holds(error_of([&] { train_reward(broken, optimizer, {}, 0, {}, {}); }), "no pairs"));
}

TEST_CASE("calibration: a known table") {
  // Confidences sigmoid(1) = .731 (right, right, wrong) and sigmoid(3) = .953 (right), and a tie, which is half right.
  const std::vector<PairRewards> pairs{{1, 0}, {2, 1}, {0, 1}, {3, 0}, {5, 5}};
  const Calibration c = calibrate(pairs, 5);
  REQUIRE(c.bins.size() == 5);
  CHECK(c.bins[0].pairs == 1);
  CHECK(c.bins[0].accuracy == 0.5);
  CHECK(c.bins[2].pairs == 3);
  CHECK(near(c.bins[2].low, 0.7, 1e-12));
  CHECK(near(c.bins[2].confidence, sigmoid(1), 1e-12));
  CHECK(near(c.bins[2].accuracy, 2.0 / 3, 1e-12));
  CHECK(c.bins[4].pairs == 1);
  CHECK(c.bins[4].high == 1.0);
  CHECK(near(c.error, (3 * (sigmoid(1) - 2.0 / 3) + (1 - sigmoid(3))) / 5, 1e-12));
  CHECK(calibrate({{1e9, 0}}, 10).bins[9].pairs == 1);  // a confidence of just 1
  CHECK(calibrate({}).error == 0.0);
}

TEST_CASE("reward pairs: read with margins, held out by prompts, shared prompts refused") {
  const TempFolder folder;
  const ChatTokenizer text{Tokenizer(tiny::spec())};
  const std::string path = folder.write("pairs.jsonl",
                                        R"({"prompt":"ab?","chosen":"a","rejected":"bc","margin":0.5}
{"messages":[{"role":"user","content":"ab?"}],"chosen":"a","rejected":"c"}
{"prompt_ids":[3,4],"chosen_ids":[5,0],"rejected_ids":[6]}
)");
  const auto pairs = read_reward_pairs(path, text);
  REQUIRE(pairs.size() == 3);
  CHECK(pairs[0].margin == 0.5);
  CHECK(pairs[1].margin == 0.0);
  CHECK(pairs[0].prompt == text.prompt_ids({{"user", "ab?"}}));
  CHECK(pairs[0].chosen == text.completion_ids("a"));
  CHECK(pairs[0].chosen.back() == text.end_ids.front());  // the last token is the end of the turn
  CHECK(pairs[2].rejected == Ids{6});                     // ids are used untouched
  folder.write("bad.jsonl", "{\"prompt\":\"a\",\"chosen\":\"a\",\"rejected\":\"b\",\"margin\":\"x\"}\n");
  CHECK(holds(error_of([&] { read_reward_pairs(folder / "bad.jsonl", text); }), "bad.jsonl:1: \"margin\""));

  auto many = random_pairs(40, 8);
  for (size_t i = 0; i < many.size(); ++i) many[i].prompt = {static_cast<int32_t>(i / 3)};
  for (double share : {0.0, 0.1, 0.25, 0.9}) {
    const HeldOut split = hold_out(many, share, 1);
    CHECK(split.train.size() + split.held_out.size() == 40);
    CHECK(static_cast<double>(split.held_out.size()) <= 40 * share);
    CHECK(static_cast<double>(split.held_out.size()) > 40 * share - 3);
    check_disjoint(split.train, split.held_out, "F");
  }
  const auto prompts_of = [](const std::vector<RewardPair>& list) {
    std::vector<Ids> prompts;
    for (const RewardPair& p : list) prompts.push_back(p.prompt);
    return prompts;
  };
  CHECK(prompts_of(hold_out(many, 0.25, 1).held_out) == prompts_of(hold_out(many, 0.25, 1).held_out));
  CHECK(prompts_of(hold_out(many, 0.25, 1).held_out) != prompts_of(hold_out(many, 0.25, 2).held_out));
  CHECK(hold_out({many.begin(), many.begin() + 3}, 0.5, 1).held_out.empty());  // one prompt only
  CHECK(holds(error_of([&] { check_disjoint(many, {many[0], many[5]}, "F"); }), "F: 2 of its pairs"));
}
