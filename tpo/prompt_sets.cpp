// Opening the prompts that a recipe names: files or the built-in generator, with no prompt in two sets.
#include <algorithm>
#include <map>

#include "tensor/check.h"
#include "tpo/constraints.h"
#include "tpo/run.h"
#include "tpo/samples.h"
#include "tpo/text.h"
#include "tpo/thought.h"

namespace thinker {

namespace {

std::vector<Prompt> open_source(const PromptSource& source, uint64_t seed, DataSplit split) {
  if (!source.given()) return {};
  if (source.file.empty()) return constraint_prompts(seed, split, 0, source.count);
  std::vector<Prompt> prompts = read_prompts(source.file);
  if (prompts.empty()) fail(source.file, ": holds no prompt");
  return prompts;
}

/// Where an error says that a prompt stands.
std::string place_of(const std::vector<Prompt>& prompts, size_t i) {
  return prompts[i].place.empty() ? concat("prompt ", i + 1) : prompts[i].place;
}

/// A held-out prompt that is also trained on would make the score meaningless (and has, in other projects).
void check_disjoint(const std::vector<std::pair<std::string, const std::vector<Prompt>*>>& sets) {
  std::map<std::string, std::pair<size_t, size_t>> where;  // the set and the number in it
  for (size_t s = 0; s < sets.size(); ++s) {
    const auto& [name, prompts] = sets[s];
    for (size_t i = 0; i < prompts->size(); ++i) {
      const Messages& messages = (*prompts)[i].messages;
      const auto [it, fresh] = where.emplace(messages_to_json(messages).dump(), std::pair(s, i));
      const auto [first_set, first] = it->second;
      if (fresh || first_set == s) continue;
      const auto& [first_name, first_prompts] = sets[first_set];
      fail(name, ": ", place_of(*prompts, i), " repeats ", place_of(*first_prompts, first), " of ", first_name, " (\"",
           excerpt(messages.back().content), "\"); the sets must not overlap");
    }
  }
}

/// Every iteration takes the next prompts of the list, so one that stands there twice would come again as a fresh one.
void check_fresh(const std::vector<Prompt>& train) {
  std::map<std::string, size_t> where;
  for (size_t i = 0; i < train.size(); ++i) {
    const auto [first, fresh] = where.emplace(messages_to_json(train[i].messages).dump(), i);
    if (fresh) continue;
    fail("prompts.train: ", place_of(train, i), " repeats the prompt of ", place_of(train, first->second), " (\"",
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
  if (recipe.warmup.samples > 0 && thought_style(recipe.thought).thinks() &&
      static_cast<int64_t>(train->size()) < kLeastWarmUp) {
    fail("prompts.train has ", train->size(), " prompts; the warm-up needs ", kLeastWarmUp,
         ": give more, or set warmup to null");
  }
  sets.train = [train](int64_t first, int64_t count) {
    const auto size = static_cast<int64_t>(train->size());
    ENSURE(first >= 0 && first < size, "training prompts from ", first, " of ", size);
    return std::vector<Prompt>(train->begin() + first, train->begin() + std::min(size, first + count));
  };
  return sets;
}

}  // namespace thinker
