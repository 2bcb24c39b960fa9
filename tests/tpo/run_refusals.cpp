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

TEST_CASE("run: a prompt that cannot be asked in the last iteration is told before the run begins") {
  std::vector<Prompt> prompts = read_prompts(world().recipe({}).prompts.train.file);
  prompts[15].messages[0].content = std::string(200, 'a');
  const std::string path = world().write_prompts("unfit.jsonl", prompts);
  const Recipe recipe = world().recipe({"prompts.train=" + Json(path).dump()});
  REQUIRE(recipe.iterations * recipe.prompts_per_iteration == 16);
  const std::string error = error_of([&] { world().run(recipe, "unfit"); });
  CHECK_MESSAGE((error.starts_with(path + ":16: ") && holds(error, "its 202 tokens fill the model's context")), error);
  CHECK(!fs::exists(world().folder / "unfit/recipe.json"));
}

TEST_CASE("run: a folder holds one run of one recipe") {
  const Recipe recipe = world().recipe({"iterations=1"});
  world().run(recipe, "one");
  CHECK(holds(error_of([&] { world().run(recipe, "one"); }), "--resume"));
  CHECK(holds(error_of([&] {
                world().run(world().recipe({"iterations=1", "dpo.beta=0.2", "dpo.lr=0.5"}), "one", Resume::yes);
              }),
              "one/recipe.json: is of another recipe: dpo.beta was 0.1, is 0.2; also changed: dpo.lr; "));
  CHECK_NOTHROW(world().run(recipe, "one", Resume::yes));
  // Of another version, or of a file that has changed since.
  const std::string path = world().folder / "one/recipe.json", text = read_text_file(path);
  const auto resumed_after = [&](const auto& change) {
    Json recorded = Json::parse(text);
    change(recorded);
    world().folder.write("one/recipe.json", recorded.dump());
    return error_of([&] { world().run(recipe, "one", Resume::yes); });
  };
  CHECK(holds(resumed_after([](Json& r) { r["version"] = "0.0.1"; }), "is of version \"0.0.1\"; this program is \""));
  CHECK(holds(resumed_after([&](Json& r) { r["inputs"][recipe.prompts.test.file] = "sha256:0"; }),
              "is of another input file: " + recipe.prompts.test.file + " has changed since"));
  CHECK(holds(resumed_after([](Json& r) { r = Json::array(); }), "is no recipe"));
  CHECK(resumed_after([](Json&) {}) == "");
  CHECK_NOTHROW(world().run(recipe, "fresh", Resume::yes));  // nothing to resume is a run from the start
}

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
