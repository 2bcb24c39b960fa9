// The forward in its different uses must be one function: packed or alone, with a shared prompt or without, recorded
// or not, with activations kept or computed again.
#include "nn/transformer.h"

#include "tests/nn/models.h"

using namespace thinker;

namespace {

const std::vector<Config> kConfigs{tiny_config(), tiny_qwen_config(), tiny_qwen3_config()};

struct Text {
  Ids prompt, completion;
};

/// Prompts and completions of one token, and lengths around those of tiles.
std::vector<Text> some_texts(uint64_t seed) {
  Rng rng(seed, Purpose::generate_data);
  std::vector<Text> texts;
  for (const auto& [p, c] :
       std::vector<std::pair<int, int>>{{1, 1}, {1, 7}, {5, 1}, {13, 20}, {63, 2}, {64, 65}, {65, 64}, {3, 150}}) {
    texts.push_back({random_ids(rng, p), random_ids(rng, c)});
  }
  return texts;
}

std::vector<double> random_weights(Rng& rng, size_t n) {
  std::vector<double> w(n);
  for (double& x : w) x = rng.normal();
  return w;
}

Batch packed(const std::vector<Text>& texts) {
  Batch batch;
  for (const Text& t : texts) batch.add_completion(batch.add_prompt(t.prompt), t.completion);
  return batch;
}

template <class T>
std::vector<T> slice(const std::vector<T>& all, size_t begin, size_t n) {
  return {all.begin() + begin, all.begin() + begin + n};
}

/// Gradients of several batches one after the other, added up, as micro-batches do.
Values add_up(const std::vector<Values>& parts) {
  Values sum = parts.front();
  for (size_t p = 1; p < parts.size(); ++p) {
    for (auto& [name, values] : sum) {
      for (size_t i = 0; i < values.size(); ++i) values[i] += parts[p].at(name)[i];
    }
  }
  return sum;
}

}  // namespace

TEST_CASE("transformer: a batch of 8 equals 8 batches of 1, values and gradients") {
  const auto device = open_device("cpu");
  for (const Config& config : kConfigs) {
    for (DType t : {DType::F32, DType::F64}) {
      const Transformer model = random_model(*device, config, t);
      const std::vector<Text> texts = some_texts(1);
      const Batch together = packed(texts);
      Rng rng(2, Purpose::generate_data);
      const std::vector<double> weight = random_weights(rng, together.rows.size());

      std::vector<double> alone;
      std::vector<Values> gradients;
      for (const Text& text : texts) {
        const Batch one = packed({text});
        gradients.push_back(gradients_of_sum(model, one, slice(weight, alone.size(), one.rows.size())));
        for (double x : logprobs_of(model, one)) alone.push_back(x);
      }
      // 1e-4 is what is promised; rounding of sums of a few hundred terms is far below it.
      const double most = t == DType::F32 ? 1e-5 : 1e-13;
      CHECK(difference(logprobs_of(model, together), alone) <= most);
      CHECK(relative_difference(gradients_of_sum(model, together, weight), add_up(gradients)) <= most);
    }
  }
}

TEST_CASE("transformer: completions on a shared prompt equal separate sequences, values and gradients") {
  const auto device = open_device("cpu");
  Rng rng(3, Purpose::generate_data);
  for (const Config& config : kConfigs) {
    for (DType t : {DType::F32, DType::F64}) {
      for (int64_t prompt_length : {1, 7, 64, 100}) {
        const Transformer model = random_model(*device, config, t);
        const Ids prompt = random_ids(rng, prompt_length);
        std::vector<Text> texts;
        // Three completions on one prompt, one of them of a single token: the prompt's last row predicts all three.
        for (int64_t n : {9, 1, 70}) texts.push_back({prompt, random_ids(rng, n)});
        Batch shared;
        const Batch::Prefix prefix = shared.add_prompt(prompt);
        for (const Text& text : texts) shared.add_completion(prefix, text.completion);
        const Batch separate = packed(texts);
        REQUIRE(shared.size() == prompt_length + 8 + 69);
        REQUIRE(separate.size() == 3 * prompt_length + 8 + 69);

        const double most = t == DType::F32 ? 1e-5 : 1e-13;
        CHECK(difference(logprobs_of(model, shared), logprobs_of(model, separate)) <= most);
        const std::vector<double> weight = random_weights(rng, shared.rows.size());
        CHECK(relative_difference(gradients_of_sum(model, shared, weight), gradients_of_sum(model, separate, weight)) <=
              most);
      }
    }
  }
}

TEST_CASE("transformer: a masked sequence is its prompt and completion; the mask picks tokens one by one") {
  const auto device = open_device("cpu");
  const Transformer model = random_model(*device, tiny_config(), DType::F32);
  Rng rng(4, Purpose::generate_data);
  const Ids ids = random_ids(rng, 30);
  const Ids prompt(ids.begin(), ids.begin() + 1), completion(ids.begin() + 1, ids.end());
  const std::vector<double> all = completion_logprobs(model, prompt, completion);
  std::vector<uint8_t> trained(30, 0);
  for (size_t i : {1, 8, 9, 29}) trained[i] = 1;  // the first that can be, two in a row, the last
  Batch batch;
  batch.add_sequence(ids, trained);
  CHECK(difference(logprobs_of(model, batch), std::vector<double>{all[0], all[7], all[8], all[28]}) <= 1e-5);
}

TEST_CASE("transformer: recorded and unrecorded forwards give the same bits") {
  const auto device = open_device("cpu");
  for (const Config& config : kConfigs) {
    const Transformer model = random_model(*device, config, DType::F32);
    const Batch batch = packed(some_texts(5));
    const std::vector<double> recorded = logprobs_of(model, batch, Tape::Mode::record);
    CHECK(recorded == logprobs_of(model, batch, Tape::Mode::no_grad));
    CHECK(recorded == logprobs_of(model, batch, Tape::Mode::record));
  }
}

TEST_CASE("transformer: blocks computed again in backward give the same bits") {
  const auto device = open_device("cpu");
  for (const Config& config : kConfigs) {
    Transformer model = random_model(*device, config, DType::F32);
    const Batch batch = packed(some_texts(6));
    Rng rng(7, Purpose::generate_data);
    const std::vector<double> weight = random_weights(rng, batch.rows.size());
    const Values kept = gradients_of_sum(model, batch, weight);
    CHECK(gradients_of_sum(model, batch, weight) == kept);
    model.set_recompute(Recompute::blocks);
    const std::vector<double> values = logprobs_of(model, batch, Tape::Mode::record);
    CHECK(gradients_of_sum(model, batch, weight) == kept);
    model.set_recompute(Recompute::nothing);
    CHECK(logprobs_of(model, batch, Tape::Mode::record) == values);
  }
}

TEST_CASE("transformer: f32 agrees with f64") {
  const auto device = open_device("cpu");
  for (const Config& config : kConfigs) {
    const Batch batch = packed(some_texts(8));
    const Transformer narrow = random_model(*device, config, DType::F32),
                      wide = random_model(*device, config, DType::F64);
    CHECK(difference(logprobs_of(narrow, batch), logprobs_of(wide, batch)) <= 1e-5);
    const std::vector<double> weight(batch.rows.size(), 1.0);
    CHECK(relative_difference(gradients_of_sum(narrow, batch, weight), gradients_of_sum(wide, batch, weight)) <= 1e-5);
  }
}

TEST_CASE("transformer: an unrecorded forward keeps one block's activations; the head's logits exist in chunks") {
  Config config = tiny_config();
  config.vocab = 24000;
  constexpr int64_t kTokens = 1024;
  Rng rng(9, Purpose::generate_data);
  const std::vector<Text> texts{{random_ids(rng, 1), random_ids(rng, kTokens)}};
  auto high_water = [&](int64_t layers, Tape::Mode mode, Recompute recompute) {
    const auto device = open_device("cpu");
    config.layers = layers;
    Transformer model = random_model(*device, config, DType::F32);
    model.set_recompute(recompute);
    logprobs_of(model, packed(texts), mode);
    return device->arena().high_water();
  };
  const int64_t few = high_water(2, Tape::Mode::no_grad, Recompute::nothing);
  CHECK(high_water(8, Tape::Mode::no_grad, Recompute::nothing) == few);
  // (N, V) in fp32 would be 98 MB; a chunk is 32 MB, the rest a few rows of N.
  CHECK(few < (int64_t{48} << 20));
  const int64_t block = kTokens * config.width * 4;  // checkpointed, each layer costs the residual stream
  const int64_t two = high_water(2, Tape::Mode::record, Recompute::blocks);
  CHECK(high_water(8, Tape::Mode::record, Recompute::blocks) <= two + 6 * block + (1 << 20));
  CHECK(high_water(8, Tape::Mode::record, Recompute::nothing) > few + 6 * 5 * block);
}

TEST_CASE("transformer: a cached forward in any pieces equals the forward in one") {
  const auto device = open_device("cpu");
  Rng rng(10, Purpose::generate_data);
  const Ids ids = random_ids(rng, 90);
  const auto whole_and_pieces = [&]<class T>(T, DType t) {
    const Transformer model = random_model(*device, tiny_config(), t);
    Batch whole;
    whole.add_prompt(ids);
    Tape tape(*device, Tape::Mode::no_grad);
    const std::vector<T> expected = model.hidden(tape, whole).to_host<T>();  // (90, C)
    KvCache cache(*device, model.config(), 200, t);
    cache.reserve(17);  // so that rows and positions differ
    const int32_t begin = *cache.reserve(90);
    std::vector<T> found;
    Rng cuts(11, Purpose::generate_data);
    for (int32_t at = 0; at < 90;) {
      const auto n = static_cast<int32_t>(std::min<int64_t>(1 + cuts.below(30), 90 - at));
      Batch piece;
      for (int32_t i = at; i < at + n; ++i) {
        piece.tokens.push_back(ids[i]);
        piece.positions.push_back(i);
        piece.cache_rows.push_back(begin + i);
      }
      piece.segments.push_back({0, n, 0, 0, begin, at + n});
      for (T x : model.hidden(tape, piece, {.cache = &cache}).template to_host<T>()) found.push_back(x);
      at += n;
    }
    return std::pair{expected, found};
  };
  const auto [exact, exact_pieces] = whole_and_pieces(double{}, DType::F64);
  CHECK(difference(exact_pieces, exact) <= 1e-12);
  // In fp32 the forward in one is itself off by its roundings, and the pieces by others of the same size: 1.0e-5 to
  // 1.7e-5 with oneDNN's SSE4.1, AVX and AVX2 products, and up to 6e-5 with other ids.
  const auto [rounded, rounded_pieces] = whole_and_pieces(float{}, DType::F32);
  CHECK(difference(rounded, exact) <= 5e-5);
  CHECK(difference(rounded_pieces, exact) <= 5e-5);
}

TEST_CASE("transformer: ids outside the vocabulary and a cache on a recording tape are errors") {
  const auto device = open_device("cpu");
  const Transformer model = random_model(*device, tiny_config(), DType::F32);
  for (int32_t bad : {-1, 97}) {
    CHECK_THROWS_AS(completion_logprobs(model, {1, bad}, {2, 3}), Error);
    CHECK_THROWS_AS(completion_logprobs(model, {1}, {bad, 3}), Error);
    CHECK_THROWS_AS(completion_logprobs(model, {1}, {3, bad}), Error);  // a target only
  }
  Batch batch;
  CHECK_THROWS_AS(batch.add_prompt({}), Error);
  const Batch::Prefix prompt = batch.add_prompt(Ids{1});
  CHECK_THROWS_AS(batch.add_completion(prompt, {}), Error);
  KvCache cache(*device, model.config(), 8, DType::F32);
  Tape tape(*device, Tape::Mode::record);
  CHECK_THROWS_AS(model.hidden(tape, batch, {.cache = &cache}), Error);
}

TEST_CASE("transformer: fresh weights are reproducible and give nearly uniform predictions") {
  const auto device = open_device("cpu");
  Transformer a(*device, tiny_config(), DType::F32), b(*device, tiny_config(), DType::F32);
  a.initialise(3);
  b.initialise(3);
  CHECK(weights_of(a) == weights_of(b));
  b.initialise(4);
  CHECK(weights_of(a) != weights_of(b));
  CHECK(a.parameters() == 97 * 24 + 2 * (24 + 40 * 24 + 2 * 20 * 24 + 24 * 40 + 24 + 3 * 39 * 24) + 24);
  Rng rng(1, Purpose::generate_data);
  for (double x : completion_logprobs(a, random_ids(rng, 5), random_ids(rng, 20)))
    CHECK(std::fabs(x + std::log(97.0)) < 0.5);
}
