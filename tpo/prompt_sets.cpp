// Opening the prompts that a recipe names: files or the built-in generator, with no prompt in two sets.
#include <algorithm>
#include <map>

#include "tensor/check.h"
#include "tpo/constraints.h"
#include "tpo/run.h"
#include "tpo/samples.h"
#include "tpo/text.h"

namespace thinker {

namespace {

std::vector<Prompt> open_source(const PromptSource& source, uint64_t seed, DataSplit split) {
  if (!source.given()) return {};
  if (!source.file.empty()) return read_prompts(source.file);
  return constraint_prompts(seed, split, 0, source.count);
}

/// A held-out prompt that is also trained on would make the score meaningless (and has, in other projects).
void check_disjoint(const std::vector<std::pair<std::string, const std::vector<Prompt>*>>& sets) {
  std::map<std::string, std::string> where;
  for (const auto& [name, prompts] : sets) {
    for (const Prompt& p : *prompts) {
      const auto [it, fresh] = where.emplace(messages_to_json(p.messages).dump(), name);
      if (fresh || it->second == name) continue;
      fail("prompts: \"", p.messages.back().content.substr(0, 60), "\" is in both ", it->second, " and ", name,
           "; the sets must not overlap");
    }
  }
}

/// Every iteration takes the next prompts of the list, so one that stands there twice would come again as a fresh one.
void check_fresh(const std::vector<Prompt>& train) {
  std::map<std::string, size_t> where;
  const auto place = [&](size_t i) { return train[i].place.empty() ? concat("prompt ", i + 1) : train[i].place; };
  for (size_t i = 0; i < train.size(); ++i) {
    const auto [first, fresh] = where.emplace(messages_to_json(train[i].messages).dump(), i);
    if (fresh) continue;
    fail("prompts.train: ", place(i), " repeats the prompt of ", place(first->second), " (\"",
         excerpt(train[i].messages.back().content), "\"); iterations take fresh prompts: remove one of the two");
  }
}

}  // namespace

PromptSets open_prompts(const Recipe& recipe) {
  const auto train =
      std::make_shared<std::vector<Prompt>>(open_source(recipe.prompts.train, recipe.seed, DataSplit::train));
  PromptSets sets;
  sets.select = open_source(recipe.prompts.select, recipe.seed, DataSplit::select);
  sets.test = open_source(recipe.prompts.test, recipe.seed, DataSplit::test);
  check_disjoint({{"prompts.train", train.get()}, {"prompts.select", &sets.select}, {"prompts.test", &sets.test}});
  check_fresh(*train);
  const int64_t needed = recipe.iterations * recipe.prompts_per_iteration;
  if (static_cast<int64_t>(train->size()) < needed) {
    fail("prompts.train has ", train->size(), " prompts; ", recipe.iterations, " iterations of ",
         recipe.prompts_per_iteration, " fresh ones need ", needed);
  }
  sets.train = [train](int64_t first, int64_t count) {
    const auto size = static_cast<int64_t>(train->size());
    ENSURE(first >= 0 && first < size, "training prompts from ", first, " of ", size);
    return std::vector<Prompt>(train->begin() + first, train->begin() + std::min(size, first + count));
  };
  return sets;
}

}  // namespace thinker
