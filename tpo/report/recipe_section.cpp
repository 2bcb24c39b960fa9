// What was run: the recipes' key facts side by side, and each recipe in full.
#include <algorithm>

#include "tensor/check.h"
#include "tpo/report/sections.h"
#include "tpo/text.h"

namespace thinker::report {

namespace {

/// A value of the recipe as the page shows it; "-" where the recipe has none.
std::string value(const Json& recipe, const char* pointer) {
  const Json::json_pointer at(pointer);
  if (!recipe.contains(at)) return "-";
  const Json& found = recipe.at(at);
  if (found.is_null()) return "none";
  return excerpt(found.is_string() ? found.get<std::string>() : dump_json(found), 100);
}

/// A row: words with {pointers} in them, filled in for each run.
struct Fact {
  const char* label;
  const char* words;
};

constexpr Fact kFacts[] = {
    {"model", "{/model}"},
    {"thought prompt", "{/thought}, format {/format}"},
    {"warm-up", "{/warmup/samples} samples, {/warmup/epochs} epochs, learning rate {/warmup/lr}"},
    {"iterations", "{/iterations}, each with {/prompts_per_iteration} fresh prompts"},
    {"training prompts", "{/prompts/train}"},
    {"held-out prompts", "{/prompts/test}"},
    {"sampling",
     "K = {/sampling/k}, temperature {/sampling/temperature}, top-p {/sampling/top_p}, at most {/sampling/max_new} "
     "tokens"},
    {"judge", "{/judge/kind}"},
    {"pairs",
     "rho {/pairs/rho}, lengths in {/pairs/length}, parse failures: {/pairs/parse_failures}, truncated: "
     "{/pairs/truncated}"},
    {"loss",
     "{/dpo/loss}, beta {/dpo/beta}, NLL weight {/dpo/nll}, label smoothing {/dpo/label_smoothing}, reference: "
     "{/dpo/reference} model"},
    {"training",
     "learning rate {/dpo/lr}, {/dpo/schedule}, {/dpo/warmup} warm-up steps, batches of {/dpo/batch} pairs, "
     "{/dpo/epochs} epochs, "
     "clip {/dpo/clip}, weight decay {/dpo/weight_decay}"},
    {"checkpoint kept", "{/select}"},
    {"evaluation", "temperature {/eval/temperature}, top-p {/eval/top_p}, up to {/eval/resample} more attempts"},
    {"device", "{/device}, {/dtype}"},
    {"seed", "{/seed}"},
};

std::string fill_in(const Json& recipe, std::string_view words) {
  std::string out;
  while (true) {
    const size_t open = words.find('{'), close = words.find('}');
    if (open == words.npos) return out + std::string(words);
    out += words.substr(0, open);
    out += value(recipe, std::string(words.substr(open + 1, close - open - 1)).c_str());
    words.remove_prefix(close + 1);
  }
}

}  // namespace

Html recipe_section(const Runs& runs) {
  std::vector<std::string> headers{""};
  for (const RunData& run : runs) headers.push_back(run.name);
  Table table(headers, headers.size());
  std::vector<std::string> folders{"folder"};
  for (const RunData& run : runs) folders.push_back(run.folder);
  table.row(folders);
  for (const Fact& fact : kFacts) {
    std::vector<std::string> cells{fact.label};
    for (const RunData& run : runs) cells.push_back(fill_in(run.recipe, fact.words));
    const bool differ =
        std::any_of(cells.begin() + 1, cells.end(), [&](const std::string& cell) { return cell != cells[1]; });
    if (differ) cells[0] += " (differs)";
    table.row(std::move(cells));
  }
  Html inner = table.html();
  for (const RunData& run : runs) {
    inner += element("details", element("summary", text("The whole recipe of " + run.name)) +
                                    element("pre", text(run.recipe.dump(2))));
  }
  return section("What was run", inner);
}

}  // namespace thinker::report
