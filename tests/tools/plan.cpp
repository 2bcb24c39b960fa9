// The plan of a run: its peak, and what it advises where that does not fit.
#include "tools/plan.h"

#include <doctest/doctest.h>

#include <sstream>

#include "tensor/file.h"
#include "tests/nn/models.h"

using namespace thinker;

namespace {

RunShape some_shape() {
  RunShape shape;
  shape.sampling = {
      .dtype = DType::F32, .prompts = 10, .prompt_length = 40, .samples = 8, .max_rows = 64, .max_new = 60};
  shape.micro_tokens = 500;
  return shape;
}

std::string printed(const RunShape& shape, int64_t device_bytes) {
  std::ostringstream out;
  print_memory(out, tiny_config(), shape, device_bytes, nullptr);
  return out.str();
}

}  // namespace

TEST_CASE("plan: the peak is of what exists together") {
  RunShape shape = some_shape();
  CHECK(shape.pair_rows() == 160);
  CHECK(shape.micro_rows() == 500);
  const RunMemory all = predict_run(tiny_config(), shape, nullptr);
  const TrainingMemory& t = all.training;
  const int64_t lasting =
      t.weights + t.gradients + t.activation_gradients + std::max(t.activations, all.sampling.activations);
  CHECK(all.peak == lasting + t.state + std::max(all.sampling.cache, t.weights));
  shape.selects = false;  // the optimizer is gone when the next iteration samples
  CHECK(predict_run(tiny_config(), shape, nullptr).peak ==
        lasting + std::max({t.state, all.sampling.cache, t.weights}));
  shape.micro_tokens = 1;  // a pair is never cut
  CHECK(shape.micro_rows() == 160);
  shape.micro_tokens = 1'000'000;
  CHECK(shape.micro_rows() == 160 * shape.pairs);
  // Evaluation draws one sample of each prompt: as many prompts lie in the cache as rows are drawn.
  const int64_t drawn = predict_sampling(tiny_config(), shape.sampling, nullptr).cache,
                evaluated = predict_sampling(tiny_config(), shape.evaluation(), nullptr).cache;
  CHECK(evaluated > drawn);
  CHECK(all.sampling.cache == evaluated);
}

TEST_CASE("plan: what does not fit is told, with every key that helps and by how much") {
  const RunShape shape = some_shape();
  const int64_t peak = predict_run(tiny_config(), shape, nullptr).peak;
  CHECK(printed(shape, 0).find("this device") == std::string::npos);
  CHECK(printed(shape, peak).find("does not fit") == std::string::npos);
  const std::string advice = printed(shape, peak - 1);
  for (const char* key : {"does not fit", "checkpoint_blocks=true", "dpo.optimizer_state=8bit", "dpo.micro_tokens=160",
                          "sampling.max_new=30"})
    CHECK_MESSAGE(advice.find(key) != std::string::npos, key, "\n", advice);
  RunShape small = shape;
  small.training.recompute = Recompute::blocks;
  small.training.state = OptimizerState::eight_bit;
  small.micro_tokens = 160;
  CHECK(predict_run(tiny_config(), small, nullptr).peak < peak);
  const std::string rest = printed(small, 1);
  for (const char* used : {"checkpoint_blocks", "optimizer_state", "micro_tokens"})
    CHECK_MESSAGE(rest.find(used) == std::string::npos, used);
}

TEST_CASE("plan: docs/gpu.md shows the table that `thinker bench --memory` prints") {
  std::ostringstream table;
  print_memory_table(table);
  CHECK_MESSAGE(read_text_file("docs/gpu.md").find(table.str()) != std::string::npos, "put this in its place:\n",
                table.str());
}
