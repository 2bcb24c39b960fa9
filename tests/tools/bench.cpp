// thinker bench: what it does, not how fast that is.
#include <doctest/doctest.h>

#include <fstream>

#include "nn/load.h"
#include "tests/tools/cli.h"
#include "tools/bench/machine.h"

using namespace thinker;

namespace {

int64_t parameters(const Config& c) {
  const int64_t q = c.heads * c.head_dim, kv = c.kv_heads * c.head_dim,
                block = 2 * c.width + 2 * c.width * (q + kv) + 3 * c.width * c.ffn;
  return c.vocab * c.width * (c.tied_head ? 1 : 2) + c.layers * block + c.width;
}

}  // namespace

TEST_CASE("bench: the shapes are those of the models that they are named after") {
  for (const auto& [name, count] : {std::pair<const char*, int64_t>{"smollm2-135m", 134'515'008},
                                    {"llama-3.2-1b", 1'235'814'400},
                                    {"llama-3.2-3b", 3'212'749'824},
                                    {"llama-3-8b", 8'030'261'248}}) {
    INFO(name);
    CHECK(parameters(read_config_file(concat("tools/bench/shapes/", name, ".json"))) == count);
  }
}

TEST_CASE("bench: work of a size for GPUs, with adapters, on a CPU that is asked for it alone") {
  const TempFolder folder;
  const std::string config = folder / "config.json";
  std::ofstream(config) << R"({"model_type": "llama", "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 1,
    "num_attention_heads": 2, "intermediate_size": 48, "max_position_embeddings": 4096})";
  const auto bench = [&](std::vector<std::string> options) {
    options.insert(options.begin(), {"bench", "--config", config, "--device", "cpu", "--repeat", "1"});
    return thinker_with("", options);
  };
  const Outcome named = bench({"--only", "batch 2, prompts 1024", "--lora-rank", "4"});
  CHECK_MESSAGE(named.status == 0, named.err);
  CHECK(named.out.find("\nDPO step, batch 2, prompts 1024, completions 1024 ") != std::string::npos);
  CHECK(named.out.find("% of products\npeak memory") != std::string::npos);
  CHECK(named.out.find("SFT step") == std::string::npos);
  const Outcome none = bench({"--only", "a work that there is not"});
  CHECK(none.status == 1);
  CHECK(none.err == "thinker: --only a work that there is not: no work has a name that holds this\n");
}

TEST_CASE("bench: work is held against what it needs more of") {
  const std::unique_ptr<Device> device = open_device("cpu");
  const Redirected console("");
  Machine machine(*device, DType::F32, 1);
  machine.row_of_limit("multiplies", 1.0, "tokens/s", 1e6, 1e-6);
  machine.row_of_limit("reads", 1.0, "tokens/s", 1e-6, 1e6);
  CHECK(machine.works() == 2);
  const std::string rows = console.out();
  const size_t multiplies = rows.find("\nmultiplies "), reads = rows.find("\nreads ");
  REQUIRE(multiplies < reads);
  REQUIRE(reads < rows.size());
  CHECK(rows.substr(multiplies, reads - multiplies).ends_with("% of products"));
  CHECK(rows.substr(reads).ends_with("% of memory bandwidth\n"));
}
