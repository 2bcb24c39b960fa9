// What a run refuses before it begins, and what it is resumed with.
#include <doctest/doctest.h>

#include <filesystem>

#include "tensor/file.h"
#include "tests/tpo/tiny_world.h"
#include "tpo/run.h"

using namespace thinker;
using tiny::World;
namespace fs = std::filesystem;

namespace {

const World& world() {
  static const World shared;
  return shared;
}

}  // namespace

TEST_CASE("run: forced markers that leave no room for a response are told before the run begins") {
  // In characters: two line ends, the marker "<R>", a line end; then a token of response and the end.
  const auto error = [](const std::vector<std::string>& keys) {
    const Recipe recipe = world().recipe(keys);
    Model model = world().open();
    return error_of([&] { check_run_prompts(recipe, model, open_prompts(recipe)); });
  };
  const int64_t markers = static_cast<int64_t>(
      world().open().text.tokenizer.encode("\n\n" + world().style.split + "\n", SpecialText::Plain).size());
  const auto length = [&](int64_t n) { return "sampling.max_new=" + std::to_string(n); };
  const int64_t least = markers + 10 + 2;
  for (const char* forced : {"format=forced", "warmup={\"samples\": 8}"}) {
    const std::string short_of_one = error({forced, "thought_budget=10", length(least - 1)});
    CHECK_MESSAGE(holds(short_of_one, "sampling.max_new: is " + std::to_string(least - 1)), short_of_one);
    CHECK(holds(short_of_one, "thought_budget of 10"));
    CHECK(holds(short_of_one, "at least " + std::to_string(least)));
    CHECK(error({forced, "thought_budget=10", length(least)}) == "");
  }
  CHECK(error({"thought_budget=96"}) == "");  // nothing is forced
}

TEST_CASE("run: a warm-up of fewer prompts than it needs is refused when they are opened") {
  const std::string few = world().write_prompts("few.jsonl", tiny::prompts(7, 1));
  const auto recipe = [&](const char* warmup) {
    return world().recipe({"prompts.train=" + few, warmup, "iterations=1", "prompts_per_iteration=4"});
  };
  CHECK(
      holds(error_of([&] { open_prompts(recipe("warmup={}")); }), "prompts.train has 7 prompts; the warm-up needs 8"));
  CHECK(error_of([&] { open_prompts(recipe("warmup=null")); }) == "");
}
