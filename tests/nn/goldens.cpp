// The tiny models, on the CPU or the device that THINKER_TEST_DEVICE names, against PyTorch (tests/goldens/README.md).
// A golden's `rounding` says how far fp32 alone moves its numbers; ours are rounded along other sums, so ten times that
// is allowed, and in f64 twice.
#include <filesystem>

#include "nn/generate.h"
#include "tensor/safetensors.h"
#include "tests/nn/models.h"
#include "tests/tensor/temp_folder.h"

using namespace thinker;
using nlohmann::json;

namespace {

const std::vector<std::string> kFolders{"tests/goldens/tiny-llama", "tests/goldens/tiny-qwen2",
                                        "tests/goldens/tiny-qwen3"};

double tolerance(const json& golden, const char* section, DType t) {
  return golden["rounding"][section].get<double>() * (t == DType::F64 ? 2.0 : 10.0);
}

void check_scores(const Transformer& model, const json& rows, double most) {
  for (const json& row : rows) {
    const auto found = completion_logprobs(model, row["prompt_ids"], row["completion_ids"]);
    const double off = difference(found, row["logprobs"].get<std::vector<double>>());
    CHECK_MESSAGE(off <= most, "completion of ", row["completion_ids"].size(), " tokens");
  }
}

}  // namespace

TEST_CASE("goldens: log-probs of the tiny models, alone and packed together") {
  const auto device = test_device();
  for (const std::string& folder : kFolders) {
    const json golden = read_json(folder + "/golden.json");
    for (DType t : {DType::F32, DType::F64}) {
      CAPTURE(folder);
      CAPTURE(name(t));
      const Transformer model = load_huggingface(*device, folder, t);
      const double most = tolerance(golden, "score", t);
      check_scores(model, golden["score"], most);

      Batch batch;
      std::vector<double> expected;
      for (const json& row : golden["score"]) {
        batch.add_completion(batch.add_prompt(row["prompt_ids"].get<Ids>()), row["completion_ids"].get<Ids>());
        for (double x : row["logprobs"]) expected.push_back(x);
      }
      CHECK(difference(logprobs_of(model, batch), expected) <= most);
    }
  }
}

/// The weights of a folder under another configuration of its own, and the scores that are called after it. A
/// configuration that ties the head goes with a file without one.
void check_variant(const std::string& from, const std::string& variant) {
  const TempFolder folder;
  namespace fs = std::filesystem;
  fs::copy_file(from + "/config-" + variant + ".json", folder / "config.json");
  const SafetensorsFolder files(from);
  std::vector<NamedTensor> weights;
  for (const auto& [name, tensor] : files.tensors())
    if (name != "lm_head.weight" || variant != "tied") weights.push_back(tensor);
  write_safetensors(folder / "model.safetensors", weights);
  const json golden = read_json(from + "/golden.json");
  const std::string section = "score_" + variant;
  const auto device = test_device();
  for (DType t : {DType::F32, DType::F64}) {
    const Transformer model = load_huggingface(*device, folder.path(), t);
    check_scores(model, golden[section], tolerance(golden, section.c_str(), t));
  }
}

TEST_CASE("goldens: Llama-3.1's rope scaling: kept, blended and divided frequencies") {
  check_variant("tests/goldens/tiny-llama", "llama3");
}

TEST_CASE("goldens: Qwen3 with the embedding as its head, as its small models have it") {
  check_variant("tests/goldens/tiny-qwen3", "tied");
}

TEST_CASE("goldens: greedy ids and their log-probs") {
  const auto device = test_device();
  for (const std::string& folder : kFolders) {
    CAPTURE(folder);
    const json golden = read_json(folder + "/golden.json");
    const Transformer model = load_huggingface(*device, folder, DType::F32);
    std::vector<GenerateRequest> requests;
    for (const json& row : golden["greedy"]) requests.push_back({.prompt = row["prompt_ids"].get<Ids>()});
    const auto samples = generate(model, requests, {.max_new = 12, .sampling = {.greedy = true}, .end_ids = {96}});
    REQUIRE(samples.size() == requests.size());
    for (size_t i = 0; i < samples.size(); ++i) {
      const json& row = golden["greedy"][i];
      CHECK(samples[i].ids == row["ids"].get<Ids>());
      CHECK(difference(samples[i].logprobs, row["logprobs"].get<std::vector<double>>()) <=
            tolerance(golden, "greedy", DType::F32));
      CHECK(samples[i].ended == (row["stop"] == "end"));
    }
  }
}

TEST_CASE("goldens: the supervised loss and its gradient for every weight") {
  const auto device = test_device();
  for (const std::string& folder : kFolders) {
    const json golden = read_json(folder + "/golden.json");
    const SafetensorsFile expected(folder + "/sft_grads.safetensors");
    for (DType t : {DType::F32, DType::F64}) {
      CAPTURE(folder);
      CAPTURE(name(t));
      const Transformer model = load_huggingface(*device, folder, t);
      Batch batch;
      for (const json& row : golden["sft"]["sequences"]) {
        Ids ids = row["prompt_ids"].get<Ids>();
        std::vector<uint8_t> trained(ids.size(), 0);
        for (int32_t id : row["completion_ids"]) ids.push_back(id);
        trained.resize(ids.size(), 1);
        batch.add_sequence(ids, trained);
      }
      const auto n = static_cast<double>(batch.rows.size());
      double loss = 0.0;
      for (double x : logprobs_of(model, batch)) loss -= x / n;
      CHECK(std::fabs(loss - golden["sft"]["loss"].get<double>()) <= 10 * tolerance(golden, "sft", t));

      const Values found = gradients_of_sum(model, batch, std::vector<double>(batch.rows.size(), -1.0 / n));
      CHECK(found.size() == expected.tensors().size());
      for (const auto& [weight, values] : found) {
        std::vector<float> wanted(values.size());
        to_f32(wanted.data(), expected.tensors().at(weight));
        CHECK_MESSAGE(difference(values, wanted) <= tolerance(golden, "sft_grads", t), weight);
      }
    }
  }
}
