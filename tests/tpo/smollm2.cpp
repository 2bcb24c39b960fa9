// Preference training of SmolLM2-135M-Instruct against PyTorch (tests/goldens/smollm2/dpo.json). `make model` fetches
// the file; without it this is skipped and counted. SMOLLM2=all takes all five steps, otherwise the first.
#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "tests/nn/models.h"
#include "tpo/training.h"

using namespace thinker;
using nlohmann::json;

TEST_CASE("SmolLM2: preference steps with losses within 1e-3 and gradient norms within 1 % of PyTorch's") {
  const std::string path = "models/SmolLM2-135M-Instruct.Q4_1.gguf", goldens = "tests/goldens/smollm2/";
  if (!std::filesystem::exists(path)) {
    std::cerr << "SKIP: preference training of SmolLM2: " << path << " is missing; `make model` fetches it\n";
    return;
  }
  std::vector<IdPair> pairs;
  std::ifstream lines(goldens + "pairs.jsonl");
  for (std::string line; std::getline(lines, line);) {
    const json row = json::parse(line);
    pairs.push_back({row["prompt_ids"].get<Ids>(), row["chosen_ids"].get<Ids>(), row["rejected_ids"].get<Ids>()});
  }
  REQUIRE(pairs.size() == 4);
  const auto device = open_device("cpu");
  Transformer policy = load_gguf(*device, GgufFile(path), DType::F32);
  const json golden = read_json(goldens + "dpo.json");
  const TrainOptions options{
      .lr = 1e-5, .schedule = ScheduleKind::constant, .batch = 4, .epochs = 5, .order = Order::as_given};
  const auto reference = reference_logps(policy, pairs, options);
  for (size_t i = 0; i < 4; ++i) {
    CHECK(std::fabs(reference[i].chosen - golden["reference"][i][0].get<double>()) <= 1e-3);
    CHECK(std::fabs(reference[i].rejected - golden["reference"][i][1].get<double>()) <= 1e-3);
  }
  const char* all = std::getenv("SMOLLM2");
  const int64_t wanted = all && std::string(all) == "all" ? 5 : 1;
  struct Enough {};
  int64_t seen = 0;
  AdamW optimizer(policy, options.adamw);
  try {
    train_dpo(policy, optimizer, pairs, reference, ReferenceIs::start, {}, options, {.on_step = [&](const StepLog& l) {
                const json& row = golden["log"].at(l.step - 1);
                CHECK(std::fabs(l.loss - row["loss"].get<double>()) <= 1e-3);
                CHECK(std::fabs(l.dpo.margin() - row["margin"].get<double>()) <= 1e-3);
                CHECK(l.grad_norm == doctest::Approx(row["grad_norm"].get<double>()).epsilon(0.01));
                MESSAGE("step ", l.step, ": loss ", l.loss, " for ", row["loss"].get<double>(), ", gradient ",
                        l.grad_norm, " for ", row["grad_norm"].get<double>());
                if (++seen == wanted) throw Enough{};
              }});
  } catch (const Enough&) {
  }
  CHECK(seen == wanted);
}
