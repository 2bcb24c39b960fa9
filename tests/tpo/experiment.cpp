#include "tpo/report/experiment.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>

#include "tensor/check.h"
#include "tensor/file.h"

using namespace thinker;

namespace {

namespace fs = std::filesystem;

struct Folder {
  std::string path = (fs::temp_directory_path() / ("thinker-experiment-" + std::to_string(::getpid()))).string();

  Folder() { fs::create_directories(path); }
  ~Folder() { fs::remove_all(path); }
  void write(const Json& json) const { write_file_atomically(path + "/experiment.json", json.dump() + "\n"); }
};

Experiment made_up() {
  Experiment e;
  e.title = "Thoughts";
  e.introduction = {"First.", "Second."};
  e.arms = {{"direct", "direct baseline", {"direct-1", "direct-2"}}, {"thinking", "TPO", {"/elsewhere/thinking"}}};
  e.claims = {{"a", Claim::Kind::set_up, true, "it starts below"}, {"b", Claim::Kind::finding, false, "it ends above"}};
  e.seed_recipe = {{"texts", 1000}};
  return e;
}

}  // namespace

TEST_CASE("experiment: written and read back, with its runs' folders") {
  const Folder folder;
  folder.write(experiment_to_json(made_up()));
  const Experiment e = read_experiment(folder.path);
  CHECK(e.title == "Thoughts");
  CHECK(e.introduction == std::vector<std::string>{"First.", "Second."});
  REQUIRE(e.arms.size() == 2);
  CHECK(e.arms[0].name == "direct");
  CHECK(e.arms[0].label == "direct baseline");
  CHECK(e.arms[0].runs == std::vector<std::string>{folder.path + "/direct-1", folder.path + "/direct-2"});
  CHECK(e.arms[1].runs == std::vector<std::string>{"/elsewhere/thinking"});
  REQUIRE(e.claims.size() == 2);
  CHECK(e.claims[0].kind == Claim::Kind::set_up);
  CHECK(e.claims[0].held);
  CHECK(e.claims[1].kind == Claim::Kind::finding);
  CHECK(!e.claims[1].held);
  CHECK(e.claims[1].text == "it ends above");
  CHECK(e.seed_recipe["texts"] == 1000);
}

TEST_CASE("experiment: errors name the file, the place and the remedy") {
  const Folder folder;
  CHECK_THROWS_WITH_AS(read_experiment(folder.path + "/no"), doctest::Contains("no/experiment.json"), Error);
  const auto refuses = [&](const char* pointer, const Json& value, const char* reason) {
    Json json = experiment_to_json(made_up());
    json[Json::json_pointer(pointer)] = value;
    folder.write(json);
    CHECK_THROWS_WITH_AS(read_experiment(folder.path), doctest::Contains(reason), Error);
  };
  refuses("/title", 3, "experiment.json: ");
  refuses("/introduction", "text", "experiment.json: \"introduction\" is not a list of strings");
  refuses("/introduction", {"text", 1}, "\"introduction\" is not a list of strings");
  refuses("/seed_recipe", "text", "\"seed_recipe\" is an object or null");
  refuses("/arms", Json::array(), "\"arms\" is empty; name at least one arm");
  refuses("/arms/1", 5, "arms[1]: is a number, not an object");
  refuses("/arms/1/runs", Json::array(), "arms[1]: \"runs\" is empty; name at least one run");
  refuses("/arms/1/name", "direct", "arms[1]: a second arm named \"direct\"");
  refuses("/claims/0/kind", "setup", "claims[0]: \"kind\" is \"setup\"; write \"set-up\" or \"finding\"");
  refuses("/claims/1/held", "yes", "claims[1]: \"held\" is true or false");
  folder.write(Json::array());
  CHECK_THROWS_WITH_AS(read_experiment(folder.path), doctest::Contains("an experiment is a JSON object"), Error);
}

TEST_CASE("experiment: what may be left out") {
  const Folder folder;
  folder.write({{"title", "T"}, {"arms", {{{"name", "one"}, {"runs", {"one"}}}}}});
  const Experiment e = read_experiment(folder.path);
  CHECK(e.arms[0].label == "one");
  CHECK(e.claims.empty());
  CHECK(e.seed_recipe.is_null());
}

TEST_CASE("experiment: of plain runs") {
  const Experiment e = experiment_of_runs({"runs/a", "runs/b/"});
  CHECK(e.title == "Thought Preference Optimization: a, b");
  REQUIRE(e.arms.size() == 2);
  CHECK(e.arms[1].label == "b");
  CHECK(e.arms[1].runs == std::vector<std::string>{"runs/b/"});
  CHECK(experiment_of_runs({"x/a", "y/a"}).arms[1].name == "y/a");
  CHECK(experiment_of_runs({"x/a"}, "Mine").title == "Mine");
  CHECK_THROWS_WITH_AS(experiment_of_runs({}), doctest::Contains("at least one run"), Error);
}
