// The trainers' promises: micro-batches change nothing, a resumed run gives the same bits, broken numbers stop it, and
// it learns.
#include "tpo/training.h"

#include "tensor/safetensors.h"
#include "tests/nn/models.h"
#include "tests/tensor/temp_folder.h"
#include "tpo/batching.h"

using namespace thinker;

namespace {

std::vector<IdPair> some_pairs(int64_t n, uint64_t seed = 1) {
  Rng rng(seed, Purpose::generate_data);
  std::vector<IdPair> pairs;
  for (int64_t i = 0; i < n; ++i) {
    pairs.push_back(
        {random_ids(rng, 1 + rng.below(12)), random_ids(rng, 1 + rng.below(15)), random_ids(rng, 1 + rng.below(15))});
  }
  return pairs;
}

std::vector<SftExample> some_examples(int64_t n, uint64_t seed = 2) {
  Rng rng(seed, Purpose::generate_data);
  std::vector<SftExample> examples;
  for (int64_t i = 0; i < n; ++i) {
    SftExample e{random_ids(rng, 2 + rng.below(20)), {}};
    for (size_t t = 0; t < e.ids.size(); ++t) e.trained.push_back(t + 1 == e.ids.size() || (t > 0 && rng.below(2)));
    examples.push_back(std::move(e));
  }
  return examples;
}

struct Interrupted {};

/// The gradient that the trainer formed: with beta1 = 0 the first moment is the last gradient, unclipped.
Values dpo_gradient(const Transformer& start, const std::vector<IdPair>& pairs, TrainOptions options, StepLog& log) {
  const TempFolder folder;
  Transformer policy = start;
  options.lr = 0.0;
  options.adamw = {.beta1 = 0.0, .clip = 0.0};
  AdamW optimizer(policy, options.adamw);
  const auto reference = reference_logps(policy, pairs, options);
  train_dpo(policy, optimizer, pairs, reference, ReferenceIs::start, {}, options,
            {.on_step = [&](const StepLog& l) { log = l; }});
  optimizer.save(folder / "state.safetensors");
  const SafetensorsFile state(folder / "state.safetensors");
  Values gradients;
  policy.visit([&](const std::string& name, const Tensor& w) {
    std::vector<float> m(w.numel());
    to_f32(m.data(), state.tensors().at("m." + name));
    gradients[name].assign(m.begin(), m.end());
  });
  return gradients;
}

}  // namespace

TEST_CASE("batching: every example once an epoch, optimizer batches full, micro-batches within the budget") {
  Rng rng(3, Purpose::generate_data);
  for (int round = 0; round < 200; ++round) {
    std::vector<int64_t> rows(1 + rng.below(50));
    for (int64_t& r : rows) r = 1 + rng.below(100);
    TrainOptions o{.batch = 1 + rng.below(12), .micro_tokens = 1 + rng.below(300), .seed = rng.bits_at(0)};
    o.order = rng.below(2) ? Order::shuffled : Order::as_given;
    const auto epoch = plan_epoch(rows, o, 1);
    CHECK(static_cast<int64_t>(epoch.size()) == steps_per_epoch(static_cast<int64_t>(rows.size()), o));
    std::vector<int64_t> seen;
    for (size_t b = 0; b < epoch.size(); ++b) {
      const size_t before = seen.size();
      for (const MicroBatch& micro : epoch[b]) {
        int64_t used = 0;
        for (int64_t i : micro) used += rows[i];
        CHECK(!micro.empty());
        CHECK((used <= o.micro_tokens || micro.size() == 1));
        seen.insert(seen.end(), micro.begin(), micro.end());
      }
      const auto size = static_cast<int64_t>(seen.size() - before);
      CHECK((size == o.batch || (b + 1 == epoch.size() && size > 0)));
    }
    std::vector<int64_t> sorted = seen;
    std::sort(sorted.begin(), sorted.end());
    for (size_t i = 0; i < rows.size(); ++i) REQUIRE(sorted.at(i) == static_cast<int64_t>(i));
    CHECK(sorted.size() == rows.size());
    if (o.order == Order::as_given) CHECK(seen == sorted);
    // The cut into micro-batches does not touch the order.
    TrainOptions other = o;
    other.micro_tokens = 1;
    std::vector<int64_t> again;
    for (const auto& batch : plan_epoch(rows, other, 1)) {
      for (const MicroBatch& micro : batch) again.insert(again.end(), micro.begin(), micro.end());
    }
    CHECK(again == seen);
  }
  const std::vector<int64_t> rows(40, 1);
  const TrainOptions o{.batch = 40};
  CHECK(plan_epoch(rows, o, 1) == plan_epoch(rows, o, 1));
  CHECK(plan_epoch(rows, o, 1) != plan_epoch(rows, o, 2));
}

// Trap 14.
TEST_CASE("training: cutting a batch into micro-batches changes neither loss nor gradients") {
  const auto device = open_device("cpu");
  const Transformer start = random_model(*device, tiny_config(), DType::F32);
  const auto pairs = some_pairs(7);
  TrainOptions options{.batch = 7};
  StepLog whole, cut;
  const Values expected = dpo_gradient(start, pairs, options, whole);
  CHECK(whole.loss == doctest::Approx(std::log(2.0)).epsilon(1e-12));
  for (int64_t micro : {1, 40, 70}) {
    options.micro_tokens = micro;
    CHECK(relative_difference(dpo_gradient(start, pairs, options, cut), expected) <= 1e-5);
    CHECK(cut.loss == doctest::Approx(whole.loss).epsilon(1e-12));
    CHECK(cut.grad_norm == doctest::Approx(whole.grad_norm).epsilon(1e-5));
    CHECK(cut.tokens == whole.tokens);
    CHECK(cut.dpo.logp_chosen() == doctest::Approx(whole.dpo.logp_chosen()).epsilon(1e-6));
  }

  const auto examples = some_examples(9);
  auto train = [&](int64_t micro) {
    Transformer model = random_model(*device, tiny_config(), DType::F64);
    std::vector<double> numbers;
    train_sft(model, examples, {.lr = 1e-3, .batch = 4, .epochs = 2, .micro_tokens = micro},
              {.on_step = [&](const StepLog& l) {
                numbers.insert(numbers.end(), {l.loss, l.grad_norm, static_cast<double>(l.tokens)});
              }});
    CHECK(numbers.size() == 3 * 6);
    return std::pair(numbers, weights_of(model));
  };
  const auto [numbers, weights] = train(2048);
  for (int64_t micro : {1, 25}) {
    const auto [n, w] = train(micro);
    CHECK(difference(n, numbers) <= 1e-11);
    CHECK(relative_difference(w, weights) <= 1e-11);
  }
}

TEST_CASE("training: the supervised loss counts trained tokens of the whole optimizer batch, the last of a text too") {
  const auto device = open_device("cpu");
  const auto examples = some_examples(5);
  Transformer model = random_model(*device, tiny_config(), DType::F64);
  double sum = 0.0;
  int64_t tokens = 0;
  for (const SftExample& e : examples) {
    const auto all = completion_logprobs(model, {e.ids[0]}, Ids(e.ids.begin() + 1, e.ids.end()));
    for (size_t i = 1; i < e.ids.size(); ++i) {
      if (e.trained[i]) sum -= all[i - 1], ++tokens;
    }
  }
  train_sft(model, examples, {.lr = 0.0, .batch = 5, .micro_tokens = 20}, {.on_step = [&](const StepLog& l) {
              CHECK(l.loss == doctest::Approx(sum / static_cast<double>(tokens)).epsilon(1e-12));
              CHECK(l.tokens == tokens);
            }});
}

// Traps 8 and 9.
TEST_CASE("dpo: the first margins are exactly 0, and a reference of other weights is found out") {
  const auto device = open_device("cpu");
  for (int64_t micro : {1, 60, 2048}) {
    Transformer policy = random_model(*device, tiny_config(), DType::F32);
    const auto pairs = some_pairs(6);
    const TrainOptions options{.lr = 1e-4, .batch = 6, .epochs = 2, .micro_tokens = micro};
    const auto reference = reference_logps(policy, pairs, options);
    AdamW optimizer(policy, options.adamw);
    train_dpo(policy, optimizer, pairs, reference, ReferenceIs::start, {}, options, {.on_step = [](const StepLog& l) {
                if (l.step == 1) {
                  CHECK(l.dpo.margin() == 0.0);
                  CHECK(l.dpo.accuracy() == 0.5);
                  CHECK(l.dpo.kl() == 0.0);
                } else {
                  CHECK(l.dpo.margin() > 0.0);
                  CHECK(l.loss < std::log(2.0));
                }
              }});
    AdamW fresh(policy, options.adamw);
    const Values before = weights_of(policy);
    CHECK(holds(error_of([&] { train_dpo(policy, fresh, pairs, reference, ReferenceIs::start, {}, options, {}); }),
                "self-check"));
    CHECK(weights_of(policy) == before);
    train_dpo(policy, fresh, pairs, reference, ReferenceIs::other, {}, options, {});
  }
}

// Trap 37.
TEST_CASE("dpo: a run that is resumed at an epoch's beginning ends with the bits of a straight run") {
  const auto device = open_device("cpu");
  for (OptimizerState optimizer_state : {OptimizerState::f32, OptimizerState::bf16, OptimizerState::eight_bit}) {
    CAPTURE(name(optimizer_state));
    const TempFolder folder;
    const auto pairs = some_pairs(10);
    const TrainOptions options{.lr = 1e-3,
                               .schedule = ScheduleKind::cosine,
                               .warmup = 3,
                               .batch = 4,
                               .epochs = 4,
                               .micro_tokens = 50,
                               .adamw = {.weight_decay = 0.1, .state = optimizer_state}};
    std::vector<double> straight_log, resumed_log;
    auto keep = [](std::vector<double>& to) {
      return [&](const StepLog& l) { to.insert(to.end(), {l.loss, l.grad_norm, l.lr}); };
    };

    Transformer straight = random_model(*device, tiny_config(), DType::F32);
    const auto reference = reference_logps(straight, pairs, options);
    AdamW optimizer(straight, options.adamw);
    train_dpo(straight, optimizer, pairs, reference, ReferenceIs::start, {}, options, {.on_step = keep(straight_log)});
    CHECK(optimizer.steps() == 12);

    {
      Transformer killed = random_model(*device, tiny_config(), DType::F32);
      AdamW state(killed, options.adamw);
      TrainHooks hooks{.on_step = keep(resumed_log), .on_epoch = [&](int64_t epoch) {
                         if (epoch < 2) return;
                         save_checkpoint(folder.path(), killed, {}, StoredAs::f32);
                         state.save(folder / "state.safetensors");
                         throw Interrupted{};
                       }};
      CHECK_THROWS_AS(train_dpo(killed, state, pairs, reference, ReferenceIs::start, {}, options, hooks), Interrupted);
    }
    Transformer resumed = load_huggingface(*device, folder.path(), DType::F32);
    AdamW state(resumed, options.adamw);
    state.load(folder / "state.safetensors");
    train_dpo(resumed, state, pairs, reference, ReferenceIs::start, {}, options, {.on_step = keep(resumed_log)});
    CHECK(resumed_log == straight_log);
    CHECK(weights_of(resumed) == weights_of(straight));
    // A finished run has nothing left to do.
    train_dpo(resumed, state, pairs, reference, ReferenceIs::start, {}, options,
              {.on_step = [](const StepLog&) { FAIL("a step too many"); }});
    CHECK(weights_of(resumed) == weights_of(straight));
    // Nor has one that ended within an epoch.
    TrainOptions fewer = options;
    fewer.steps = 7;  // two epochs of 3, and one step of the third
    std::vector<int64_t> epochs;
    Transformer cut = random_model(*device, tiny_config(), DType::F32);
    AdamW cut_state(cut, fewer.adamw);
    const TrainHooks count{.on_epoch = [&](int64_t epoch) { epochs.push_back(epoch); }};
    for (int again = 0; again < 2; ++again) {
      train_dpo(cut, cut_state, pairs, reference, ReferenceIs::other, {}, fewer, count);
      CHECK(cut_state.steps() == 7);
      CHECK(epochs == std::vector<int64_t>{1, 2, 3});
    }
    CHECK(total_epochs(10, fewer) == 3);
    CHECK(total_epochs(10, options) == 4);
  }
}

TEST_CASE("dpo: tokens that were written for the model count in no sum, and get no gradient of their own") {
  const auto device = open_device("cpu");
  const Transformer model = random_model(*device, tiny_config(), DType::F64);
  IdPair pair = some_pairs(1, 5)[0];
  Rng rng(6, Purpose::generate_data);
  pair.chosen = random_ids(rng, 9);
  pair.rejected = random_ids(rng, 5);
  pair.chosen_forced = {{0, 2}, {5, 6}};
  pair.rejected_forced = {{4, 5}};
  double chosen = 0.0, rejected = 0.0;
  const auto c = completion_logprobs(model, pair.prompt, pair.chosen),
             r = completion_logprobs(model, pair.prompt, pair.rejected);
  for (size_t i : {2, 3, 4, 6, 7, 8}) chosen += c[i];
  for (size_t i : {0, 1, 2, 3}) rejected += r[i];
  const ReferenceLogps sums = reference_logps(model, {pair}, {})[0];
  CHECK(sums.chosen == doctest::Approx(chosen).epsilon(1e-12));
  CHECK(sums.rejected == doctest::Approx(rejected).epsilon(1e-12));
  Transformer policy = random_model(*device, tiny_config(), DType::F64);
  AdamW optimizer(policy, {});
  train_dpo(policy, optimizer, {pair}, {sums}, ReferenceIs::start, {.loss = DpoLoss::ipo}, {.lr = 0.0},
            {.on_step = [](const StepLog& l) { CHECK(l.tokens == 6 + 4); }});

  pair.chosen_forced = {{7, 10}};  // beyond the completion
  CHECK_THROWS_AS(reference_logps(model, {pair}, {}), Error);
  pair.chosen_forced = {{-1, 2}};
  CHECK_THROWS_AS(reference_logps(model, {pair}, {}), Error);
}

TEST_CASE("training: the same run twice gives the same bits") {
  const auto device = open_device("cpu");
  auto train = [&] {
    Transformer model = random_model(*device, tiny_qwen_config(), DType::F32);
    train_sft(model, some_examples(12), {.lr = 1e-3, .batch = 5, .epochs = 2, .micro_tokens = 40}, {});
    return weights_of(model);
  };
  CHECK(train() == train());
}

TEST_CASE("training: examples longer than the context are left out as a whole, and counted (trap 22)") {
  std::vector<IdPair> pairs = {{{1, 2}, {3, 4}, {5}}, {{1, 2}, {3}, {4, 5, 6}}, {{1}, {2}, {3}}};
  CHECK(drop_longer_than(4, pairs) == 1);
  REQUIRE(pairs.size() == 2);
  CHECK(pairs[0].chosen == Ids{3, 4});
  CHECK(drop_longer_than(1, pairs) == 2);
  std::vector<SftExample> examples = {{{1, 2, 3}, {0, 1, 1}}, {{1, 2}, {0, 1}}};
  CHECK(drop_longer_than(2, examples) == 1);
  CHECK(examples[0].ids == Ids{1, 2});
  std::vector<RewardPair> rewards = {{{1, 2}, {3, 4}, {5}, 0.0}};
  CHECK(drop_longer_than(4, rewards) == 0);
  CHECK(drop_longer_than(3, rewards) == 1);
}

TEST_CASE("training: empty or useless data and broken weights are errors that say so") {
  const auto device = open_device("cpu");
  Transformer model = random_model(*device, tiny_config(), DType::F32);
  CHECK(holds(error_of([&] { train_sft(model, {}, {}, {}); }), "no examples"));
  CHECK(holds(error_of([&] { train_sft(model, {{{1, 2, 3}, {0, 0, 0}}}, {}, {}); }), "example 1"));
  CHECK(holds(error_of([&] {
                train_sft(model, {{{1, 2, 3}, {1, 0, 0}}}, {}, {});
              }),
              "example 1"));  // the first is never predicted
  CHECK_THROWS_AS(train_sft(model, {{{1, 2, 3}, {0, 1}}}, {}, {}), Error);
  AdamW optimizer(model, {});
  CHECK(holds(error_of([&] { train_dpo(model, optimizer, {}, {}, ReferenceIs::start, {}, {}, {}); }), "no pairs"));
  CHECK_THROWS_AS(reference_logps(model, {{{1}, {}, {2}}}, {}), Error);
  CHECK_THROWS_AS(reference_logps(model, {{{}, {1}, {2}}}, {}), Error);

  model.visit([](const std::string& name, const Tensor& w) {
    if (name == "model.layers.1.mlp.up_proj.weight") set_values(w, std::vector<double>(w.numel(), NAN));
  });
  const Values before = weights_of(model);
  CHECK(holds(error_of([&] { train_sft(model, some_examples(3), {.lr = 1.0}, {}); }), "finite"));
  const auto pairs = some_pairs(2);
  const std::vector<ReferenceLogps> reference(2);
  CHECK(holds(error_of([&] { train_dpo(model, optimizer, pairs, reference, ReferenceIs::other, {}, {.lr = 1.0}, {}); }),
              "finite"));
  const Values after = weights_of(model);
  CHECK(after.at("model.embed_tokens.weight") == before.at("model.embed_tokens.weight"));
}

TEST_CASE("training: a fresh model learns to reverse sequences") {
  const auto device = open_device("cpu");
  constexpr int32_t kSymbols = 8, kSeparator = 8, kEnd = 9;
  Config config = tiny_config();
  config.vocab = 10;
  config.width = 48;
  config.kv_heads = 4;
  config.head_dim = 12;
  config.ffn = 96;
  config.tied_head = false;
  Transformer model(*device, config, DType::F32);
  model.initialise(1);
  Rng rng(4, Purpose::generate_data);
  std::vector<SftExample> examples;
  for (int i = 0; i < 12800; ++i) {
    Ids ids = random_ids(rng, 4, kSymbols);
    const size_t n = ids.size();
    ids.push_back(kSeparator);
    for (size_t t = n; t-- > 0;) ids.push_back(ids[t]);
    ids.push_back(kEnd);
    std::vector<uint8_t> trained(n + 1, 0);
    trained.resize(ids.size(), 1);
    examples.push_back({ids, trained});
  }
  double loss = INFINITY, first = 0.0;
  train_sft(model, examples, {.lr = 3e-3, .schedule = ScheduleKind::cosine, .warmup = 20, .batch = 32},
            {.on_step = [&](const StepLog& l) { loss = l.loss, first = l.step == 1 ? l.loss : first; }});
  CHECK(first == doctest::Approx(std::log(10.0)).epsilon(0.05));
  CHECK(loss < 0.02);
}
