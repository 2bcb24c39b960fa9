// The device that THINKER_TEST_DEVICE names against the CPU, where no golden values exist.
#include "nn/generate.h"
#include "tests/nn/models.h"

using namespace thinker;

TEST_CASE("another device: samples are the CPU's, token for token, and their log-probs nearly") {
  const auto cpu = open_device("cpu"), other = test_device();
  if (other->backend().kind() == "cpu") {
    std::fprintf(stderr, "SKIP: THINKER_TEST_DEVICE names no other device than the CPU\n");
    return;
  }
  Rng rng(5, Purpose::generate_data);
  std::vector<GenerateRequest> requests;
  for (int64_t i = 0; i < 6; ++i)
    requests.push_back({.prompt = random_ids(rng, 1 + 7 * i), .key = i, .samples = 1 + i % 3});
  for (const Config& config : {tiny_config(), tiny_qwen_config(), tiny_qwen3_config()}) {
    const Transformer here = random_model(*cpu, config, DType::F32), there = random_model(*other, config, DType::F32);
    for (const SamplingOptions& sampling : {SamplingOptions{.greedy = true}, SamplingOptions{.temperature = 0.8},
                                            SamplingOptions{.temperature = 0.7, .top_k = 20, .top_p = 0.9},
                                            SamplingOptions{.temperature = 1.2, .min_p = 0.02}}) {
      const GenerateOptions options{.max_new = 20, .max_rows = 5, .sampling = sampling, .seed = 3, .end_ids = {96}};
      const auto expected = generate(here, requests, options), found = generate(there, requests, options);
      REQUIRE(found.size() == expected.size());
      for (size_t i = 0; i < found.size(); ++i) {
        CHECK(found[i].ids == expected[i].ids);
        CHECK(difference(found[i].logprobs, expected[i].logprobs) <= 1e-4);  // fp32 sums in another order
      }
    }
  }
}
