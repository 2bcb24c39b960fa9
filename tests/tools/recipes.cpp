// The recipes that come with the program.
#include <doctest/doctest.h>

#include <filesystem>

#include "tpo/recipe.h"
#include "tpo/run.h"

using namespace thinker;

TEST_CASE("recipes: all of them can be read, and their prompts opened") {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("tools/recipes")) {
    INFO(entry.path().string());
    const Recipe recipe = load_recipe(entry.path().string());
    CHECK(recipe.name == entry.path().stem().string());
    const PromptSets prompts = open_prompts(recipe);
    CHECK(static_cast<int64_t>(prompts.test.size()) == recipe.prompts.test.count);
    ++count;
  }
  CHECK(count >= 4);
}

TEST_CASE("recipes: a direct arm differs from its thinking arm in the thought alone") {
  for (const std::string name : {"smollm2-cpu", "smollm2-gpu"}) {
    Json thinking = recipe_to_json(load_recipe("tools/recipes/" + name + ".json")),
         direct = recipe_to_json(load_recipe("tools/recipes/" + name + "-direct.json"));
    CHECK(thinking["thought"] == "generic");
    CHECK(direct["thought"] == "none");
    for (Json* recipe : {&thinking, &direct})
      for (const char* key : {"name", "thought", "thought_budget", "warmup"}) recipe->erase(key);
    CHECK(thinking == direct);
  }
}
