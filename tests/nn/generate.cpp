#include "nn/generate.h"

#include "tests/nn/models.h"
#include "tests/tensor/temp_folder.h"

using namespace thinker;

namespace {

const std::vector<Config> kConfigs{tiny_config(), tiny_qwen_config(), tiny_qwen3_config()};
const SamplingOptions kGreedy{.greedy = true};
const SamplingOptions kDrawn{.temperature = 0.9, .top_k = 50, .top_p = 0.95, .min_p = 0.01};

/// Prompts of one token and of many, several samples of some.
std::vector<GenerateRequest> some_requests() {
  Rng rng(21, Purpose::generate_data);
  std::vector<GenerateRequest> requests;
  for (const auto& [length, samples] :
       std::vector<std::pair<int, int>>{{1, 3}, {9, 1}, {40, 5}, {2, 2}, {70, 1}, {5, 4}}) {
    requests.push_back({.prompt = random_ids(rng, length), .key = 100 + length, .samples = samples});
  }
  return requests;
}

bool same_ids(const std::vector<GeneratedSample>& a, const std::vector<GeneratedSample>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i].request != b[i].request || a[i].sample != b[i].sample || a[i].ids != b[i].ids || a[i].ended != b[i].ended)
      return false;
  }
  return true;
}

/// Greedy ids by computing the whole text again for every token.
Ids greedy_without_cache(const Transformer& model, const Ids& prompt, int64_t max_new, const Ids& ends) {
  Ids text = prompt, ids;
  while (static_cast<int64_t>(ids.size()) < max_new) {
    Batch batch;
    batch.add_prompt(text);
    batch.rows.push_back(static_cast<int32_t>(text.size()) - 1);
    Tape tape(model.device(), Tape::Mode::no_grad);
    const std::vector<double> logits = host_values(model.logits(tape, batch));
    ids.push_back(static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin()));
    text.push_back(ids.back());
    if (std::count(ends.begin(), ends.end(), ids.back())) break;
  }
  return ids;
}

void check_shape(const GeneratedSample& s, int64_t max_new, const Ids& ends) {
  REQUIRE(s.ids.size() == s.logprobs.size());
  CHECK(!s.ids.empty());
  CHECK(static_cast<int64_t>(s.ids.size()) <= max_new);
  for (size_t i = 0; i + 1 < s.ids.size(); ++i) CHECK(std::count(ends.begin(), ends.end(), s.ids[i]) == 0);
  const bool at_end = std::count(ends.begin(), ends.end(), s.ids.back()) > 0;
  CHECK(s.ended == at_end);
  if (!s.ended) CHECK(static_cast<int64_t>(s.ids.size()) == max_new);  // trap 21: cut short, and no end token added
}

}  // namespace

TEST_CASE("generate: greedy ids equal full recomputation") {
  const auto device = open_device("cpu");
  for (const Config& config : kConfigs) {
    const Transformer model = random_model(*device, config, DType::F32);
    auto requests = some_requests();
    for (GenerateRequest& r : requests) r.samples = 1;
    const Ids ends{7, 20, 33};
    const auto samples = generate(model, requests, {.max_new = 30, .sampling = kGreedy, .end_ids = ends});
    REQUIRE(samples.size() == requests.size());
    for (size_t i = 0; i < samples.size(); ++i) {
      CHECK(samples[i].ids == greedy_without_cache(model, requests[i].prompt, 30, ends));
      check_shape(samples[i], 30, ends);
    }
  }
}

TEST_CASE("generate: a sample ends where the model's context does, each behind its own prompt") {
  const auto device = open_device("cpu");
  Config config = tiny_config();
  config.context = 48;
  const Transformer model = random_model(*device, config, DType::F32);
  std::vector<GenerateRequest> requests = some_requests();
  std::erase_if(requests, [](const GenerateRequest& r) { return r.prompt.size() >= 48; });
  const auto samples = generate(model, requests, {.max_new = 30, .sampling = kDrawn});
  REQUIRE(samples.size() == 15);
  for (const GeneratedSample& s : samples) {
    const auto room = 48 - static_cast<int64_t>(requests[s.request].prompt.size());
    CHECK(static_cast<int64_t>(s.ids.size()) == std::min<int64_t>(30, room));
    CHECK(!s.ended);
  }
  // A limit far beyond the context reserves no memory that nobody could fill.
  CHECK(generate(model, {requests[0]}, {.max_new = int64_t{1} << 40, .sampling = kDrawn}).size() == 3);
  requests.push_back({.prompt = Ids(48, 1)});
  CHECK_THROWS_WITH_AS(generate(model, requests, {}), doctest::Contains("fills the model's context of 48"), Error);
}

TEST_CASE("generate: the log-probs of drawn tokens are those of a plain forward") {
  const auto device = open_device("cpu");
  for (const Config& config : kConfigs) {
    const Transformer model = random_model(*device, config, DType::F32);
    const auto requests = some_requests();
    const Ids ends{0, 1, 2};
    const auto samples = generate(model, requests, {.max_new = 40, .max_rows = 5, .sampling = kDrawn, .end_ids = ends});
    REQUIRE(samples.size() == 16);
    int64_t ended = 0;
    for (const GeneratedSample& s : samples) {
      check_shape(s, 40, ends);
      ended += s.ended;
      // 1e-4 is promised; what differs is the order of a few sums.
      CHECK(difference(s.logprobs, completion_logprobs(model, requests[s.request].prompt, s.ids)) <= 1e-5);
    }
    CHECK(ended > 0);  // both ways of ending were seen
    CHECK(ended < 16);
  }
}

TEST_CASE("generate: how many rows are decoded together changes no sample") {
  const auto device = open_device("cpu");
  for (const Config& config : kConfigs) {
    const Transformer model = random_model(*device, config, DType::F32);
    for (const SamplingOptions& sampling : {kGreedy, kDrawn}) {
      GenerateOptions options{.max_new = 24, .max_rows = 64, .sampling = sampling, .seed = 4, .end_ids = {0, 1, 2, 3}};
      const auto expected = generate(model, some_requests(), options);
      for (int64_t rows : {1, 3, 7}) {
        options.max_rows = rows;
        CHECK(same_ids(generate(model, some_requests(), options), expected));
      }
    }
  }
}

TEST_CASE("generate: a draw depends on seed, iteration, key and number of the sample, and on nothing else") {
  const auto device = open_device("cpu");
  const Transformer model = random_model(*device, tiny_config(), DType::F32);
  Rng rng(22, Purpose::generate_data);
  const Ids prompt = random_ids(rng, 6), other = random_ids(rng, 11);
  const GenerateOptions options{.max_new = 16, .sampling = kDrawn, .seed = 1, .iteration = 2};
  const auto all = generate(model, {{.prompt = prompt, .key = 9, .samples = 6}}, options);
  REQUIRE(all.size() == 6);
  for (size_t i = 1; i < 6; ++i) CHECK(all[i].ids != all[0].ids);
  // Drawn later, beside another prompt, in another place.
  const auto later = generate(
      model, {{.prompt = other, .key = 3, .samples = 2}, {.prompt = prompt, .key = 9, .samples = 2, .first_sample = 4}},
      options);
  REQUIRE(later.size() == 4);
  for (size_t i : {4, 5}) {
    CHECK(later[i - 2].ids == all[i].ids);
    CHECK(later[i - 2].sample == static_cast<int64_t>(i));
  }
  auto first_ids = [&](uint64_t seed, uint32_t iteration, int64_t key) {
    return generate(model, {{.prompt = prompt, .key = key}},
                    {.max_new = 16, .sampling = kDrawn, .seed = seed, .iteration = iteration})
        .at(0)
        .ids;
  };
  CHECK(first_ids(1, 2, 9) == all[0].ids);
  CHECK(first_ids(2, 2, 9) != all[0].ids);
  CHECK(first_ids(1, 3, 9) != all[0].ids);
  CHECK(first_ids(1, 2, 8) != all[0].ids);
}

TEST_CASE("generate: the first token's frequencies are the model's") {
  const auto device = open_device("cpu");
  Config config = tiny_config();
  config.vocab = 8;
  const Transformer model = random_model(*device, config, DType::F32, 5, 0.15);
  constexpr int64_t kDraws = 4000;
  const auto samples = generate(model, {{.prompt = {1, 2, 3}, .samples = kDraws}}, {.max_new = 1, .max_rows = 200});
  std::vector<int64_t> count(8, 0);
  for (const GeneratedSample& s : samples) ++count.at(s.ids.at(0));
  double chi2 = 0.0;
  for (int32_t id = 0; id < 8; ++id) {
    const double expected = kDraws * std::exp(completion_logprobs(model, {1, 2, 3}, {id})[0]);
    chi2 += std::pow(static_cast<double>(count[id]) - expected, 2) / expected;
  }
  CHECK(chi2 < 24.3);  // seven degrees of freedom: one in a thousand, with a fixed seed
}

TEST_CASE("generate: forced tokens, alone, in runs and up to the limit") {
  const auto device = open_device("cpu");
  const Transformer model = random_model(*device, tiny_config(), DType::F32);
  Rng rng(23, Purpose::generate_data);
  const Ids prompt = random_ids(rng, 8);
  GenerateOptions options{.max_new = 20, .sampling = kDrawn};
  // A run at the start, drawn tokens, a run in the middle, and one that the limit cuts.
  options.control = [](const GeneratedSample& s) -> NextToken {
    if (s.ids.empty()) return {.force = {50, 51, 52}};
    if (s.ids.size() == 8) return {.force = {60}};
    if (s.ids.size() == 9) return {.force = {61, 62}};
    if (s.ids.size() == 18) return {.force = {70, 71, 72, 73}};
    return {};
  };
  for (const GeneratedSample& s : generate(model, {{.prompt = prompt, .samples = 3}}, options)) {
    REQUIRE(s.ids.size() == 20);
    CHECK(Ids(s.ids.begin(), s.ids.begin() + 3) == Ids{50, 51, 52});
    CHECK(Ids(s.ids.begin() + 8, s.ids.begin() + 11) == Ids{60, 61, 62});
    CHECK(Ids(s.ids.begin() + 18, s.ids.end()) == Ids{70, 71});
    CHECK(s.forced == std::vector<std::pair<int64_t, int64_t>>{{0, 3}, {8, 11}, {18, 20}});
    CHECK(!s.ended);
    CHECK(difference(s.logprobs, completion_logprobs(model, prompt, s.ids)) <= 1e-5);  // of forced tokens too
  }
}

TEST_CASE("generate: forced and drawn tokens do not shift each other's random numbers") {
  const auto device = open_device("cpu");
  const Transformer model = random_model(*device, tiny_config(), DType::F32);
  GenerateOptions options{.max_new = 12, .sampling = kDrawn, .seed = 3};
  const Ids free_ids = generate(model, {{.prompt = {1, 2}}}, options).at(0).ids;
  options.control = [&](const GeneratedSample& s) -> NextToken {
    if (s.ids.size() == 2) return {.force = {free_ids[2], free_ids[3]}};
    return {};
  };
  CHECK(generate(model, {{.prompt = {1, 2}}}, options).at(0).ids == free_ids);
}

TEST_CASE("generate: while the end is forbidden no end token is drawn") {
  const auto device = open_device("cpu");
  const Transformer model = random_model(*device, tiny_config(), DType::F32);
  Ids ends;
  for (int32_t id = 0; id < 90; ++id) ends.push_back(id);  // almost any token ends a sample
  GenerateOptions options{.max_new = 15, .end_ids = ends};
  options.control = [](const GeneratedSample& s) { return NextToken{{}, s.ids.size() < 10}; };
  for (const GeneratedSample& s : generate(model, {{.prompt = {4, 5, 6}, .samples = 8}}, options)) {
    CHECK(s.ids.size() >= 11);
    check_shape(s, 15, ends);
    CHECK(s.forced.empty());
  }
  options.sampling = kGreedy;
  CHECK(generate(model, {{.prompt = {4, 5, 6}}}, options).at(0).ids.size() >= 11);
}

TEST_CASE("generate: each of several end tokens ends a sample") {
  const auto device = open_device("cpu");
  const Transformer model = random_model(*device, tiny_config(), DType::F32);
  GenerateOptions options{.max_new = 40, .sampling = kGreedy};
  const Ids free_ids = generate(model, {{.prompt = {3}}}, options).at(0).ids;
  for (size_t at : {0, 4}) {
    const int32_t end = free_ids[at];
    const auto first = static_cast<size_t>(std::find(free_ids.begin(), free_ids.end(), end) - free_ids.begin());
    options.end_ids = {96, end, 95};  // trap 20
    const GeneratedSample s = generate(model, {{.prompt = {3}}}, options).at(0);
    CHECK(s.ended);
    CHECK(s.ids == Ids(free_ids.begin(), free_ids.begin() + static_cast<int64_t>(first) + 1));
  }
  // The same id in the prompt ends nothing.
  options.end_ids = {free_ids[0]};
  options.max_new = 1;
  CHECK(generate(model, {{.prompt = {free_ids[0], 3, free_ids[0]}}}, options).at(0).ids.size() == 1);
}

TEST_CASE("generate: on_token sees every token once, in order") {
  const auto device = open_device("cpu");
  const Transformer model = random_model(*device, tiny_config(), DType::F32);
  std::map<std::pair<int64_t, int64_t>, Ids> seen;
  GenerateOptions options{.max_new = 10, .max_rows = 4, .end_ids = {0, 1, 2, 3, 4, 5, 6, 7}};
  options.on_token = [&](const GeneratedSample& s) {
    Ids& ids = seen[{s.request, s.sample}];
    ids.push_back(s.ids.back());
    CHECK(ids == s.ids);
  };
  const auto samples = generate(model, some_requests(), options);
  CHECK(seen.size() == samples.size());
  for (const GeneratedSample& s : samples) CHECK(seen.at({s.request, s.sample}) == s.ids);
}

TEST_CASE("generate: bad requests are errors, no requests are none") {
  const auto device = open_device("cpu");
  const Transformer model = random_model(*device, tiny_config(), DType::F32);
  CHECK(generate(model, {}, {}).empty());
  CHECK_THROWS_AS(generate(model, {{.prompt = {}}}, {}), Error);
  CHECK_THROWS_AS(generate(model, {{.prompt = {1}, .samples = 0}}, {}), Error);
  CHECK_THROWS_AS(generate(model, {{.prompt = {1}}}, {.max_new = 0}), Error);
  for (int32_t bad : {-1, 97}) {
    CHECK_THROWS_AS(generate(model, {{.prompt = {bad, 1}}}, {}), Error);
    CHECK_THROWS_AS(generate(model, {{.prompt = {1, bad}}}, {}), Error);
    GenerateOptions options{.max_new = 4};
    options.end_ids = {bad};
    CHECK_THROWS_AS(generate(model, {{.prompt = {1}}}, options), Error);
  }
  GenerateOptions options{.max_new = 4};
  options.control = [](const GeneratedSample&) { return NextToken{{97}, false}; };
  CHECK_THROWS_AS(generate(model, {{.prompt = {1}}}, options), Error);
  options.control = [](const GeneratedSample&) { return NextToken{{-5}, false}; };
  CHECK_THROWS_AS(generate(model, {{.prompt = {1}}}, options), Error);
  const Transformer wide = random_model(*device, tiny_config(), DType::F64);
  CHECK_THROWS_AS(generate(wide, {{.prompt = {1}}}, {}), Error);  // the sampler reads fp32
}
