// The top of the page: what was run, what is missing, and what was claimed.
#include <algorithm>

#include "tensor/check.h"
#include "tpo/report/sections.h"
#include "tpo/text.h"

namespace thinker::report {

namespace {

/// A hash in a path is told by its first digits; recipe.json, below, has all of them.
std::string with_short_hashes(std::string_view words) {
  constexpr size_t kHash = 64, kKept = 8;
  std::string out;
  while (!words.empty()) {
    const size_t digits = std::min(words.find_first_not_of("0123456789abcdef"), words.size());
    if (digits == kHash)
      out += concat(words.substr(0, kKept), "\u2026");
    else
      out += words.substr(0, std::max<size_t>(digits, 1));
    words.remove_prefix(std::max<size_t>(digits, 1));
  }
  return out;
}

/// A value of the recipe as the page shows it; "-" where the recipe has none.
std::string value(const Json& recipe, const char* pointer) {
  const Json::json_pointer at(pointer);
  if (!recipe.contains(at)) return "-";
  const Json& found = recipe.at(at);
  if (found.is_null()) return "none";
  return excerpt(with_short_hashes(found.is_string() ? found.get<std::string>() : dump_json(found)), 100);
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
     "clip {/dpo/clip}, weight decay {/dpo/weight_decay}"},
    {"trained", "adapters: {/lora}; AdamW's moments in {/dpo/optimizer_state}"},
    {"checkpoint kept", "{/select}"},
    {"evaluation", "temperature {/eval/temperature}, top-p {/eval/top_p}, up to {/eval/resample} more attempts"},
    {"device", "{/device}, {/dtype}"},
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

/// How long an iteration trains: dpo.epochs holds only where dpo.steps is 0.
std::string training_length(const Json& recipe) {
  const Json::json_pointer steps("/dpo/steps");
  const bool fixed = recipe.contains(steps) && recipe.at(steps) != 0;
  return fill_in(recipe, fixed ? "{/dpo/steps} steps, whatever the number of pairs" : "{/dpo/epochs} epochs");
}

/// A row of the table: a fact of every arm, from the arm's first run.
struct FactRow {
  std::string label;
  std::vector<std::string> values;

  bool same() const {
    return std::all_of(values.begin(), values.end(), [&](const std::string& v) { return v == values.front(); });
  }
};

std::vector<FactRow> facts_of(const std::vector<Arm>& arms) {
  std::vector<FactRow> rows;
  for (const Fact& fact : kFacts) {
    FactRow row{fact.label, {}};
    for (const Arm& arm : arms) row.values.push_back(fill_in(arm.runs.front()->recipe, fact.words));
    rows.push_back(std::move(row));
  }
  FactRow length{"an iteration trains for", {}};
  for (const Arm& arm : arms) length.values.push_back(training_length(arm.runs.front()->recipe));
  rows.push_back(std::move(length));
  return rows;
}

/// An arm a row: its runs, and what sets its recipe apart.
Html arms_table(const std::vector<Arm>& arms, const std::vector<FactRow>& facts) {
  std::vector<std::string> headers{"arm", "seeds", "folder"};
  for (const FactRow& fact : facts)
    if (!fact.same()) headers.push_back(fact.label);
  Table table(headers, headers.size());
  for (size_t a = 0; a < arms.size(); ++a) {
    std::string seeds, folders;
    for (const RunData* run : arms[a].runs) {
      seeds += (seeds.empty() ? "" : ", ") + std::to_string(run->seed);
      folders += (folders.empty() ? "" : ", ") + run->folder;
    }
    std::vector<std::string> cells{arms[a].label, seeds, folders};
    for (const FactRow& fact : facts)
      if (!fact.same()) cells.push_back(fact.values[a]);
    table.row(std::move(cells));
  }
  const bool seeds = std::any_of(arms.begin(), arms.end(), [](const Arm& arm) { return arm.runs.size() > 1; });
  if (seeds) table.hide(2);  // many, and each recipe below has its folder
  if (arms.size() == 1 && !seeds) table.hide(0);
  return table.html();
}

Html folded(const std::string& label, const Html& inner) {
  return element("details", element("summary", text(label)) + inner);
}

/// Any object as rows: nested ones by their path.
void add_rows(Table& table, const Json& object, const std::string& prefix) {
  for (const auto& [key, value] : object.items()) {
    if (value.is_object())
      add_rows(table, value, prefix + key + ".");
    else
      table.row({prefix + key, value.is_string() ? value.get<std::string>() : value.dump()});
  }
}

Html missing_list(const Runs& runs) {
  Html gaps;
  for (const RunData& run : runs)
    for (const std::string& what : run.missing)
      gaps += element("li", text((runs.size() > 1 ? run.name + ": " : "") + what));
  if (gaps.empty()) return {};
  return "<p>What is not there:</p>"_html + element("ul", {{"class", "missing"}}, gaps);
}

/// "with thoughts: 0.463 [..] before, 0.968 [..] after 4 iterations."
Html results(const std::vector<Arm>& arms, int decimals) {
  Html items;
  for (const Arm& arm : arms) {
    const std::string who = arms.size() > 1 ? arm.label + ": " : "";
    const auto after = last_trained(arm, score_of);
    if (!after) {
      items += element("li", text(who + "no trained model has been evaluated yet."));
      continue;
    }
    std::string line = concat(who, "mean score ", with_interval(after->all, decimals), " after ", after->name);
    for (const ArmPoint& p : curve_of(arm, score_of))
      if (p.stage == Stage::seed || p.stage == Stage::seed_direct)
        line += concat(", ", fixed(p.all.mean, decimals), " before (", p.name, ")");
    items += element("li", text(concat(line, "; ", after->all.count, " held-out outputs.")));
  }
  const size_t base = baseline_of(arms);
  for (size_t a = 0; a < arms.size(); ++a) {
    if (a == base) continue;
    if (const std::string why = why_not_compared(arms[a], arms[base]); !why.empty())
      items += element("li", text(concat(arms[a].label, " and ", arms[base].label, " are not compared: ", why, ".")));
    if (const auto d = difference_of(arms[a], arms[base], at_end))
      items += element("li",
                       text(concat("At the end ", arms[a].label, " minus ", arms[base].label, " is ",
                                   signed_interval(d->all, decimals), " on the same prompts: ", verdict(d->all), ".")));
  }
  return element("ul", items);
}

}  // namespace

Html introduction_section(const Experiment& experiment, const Runs& runs) {
  const std::vector<Arm> arms = arms_of(runs);
  const std::vector<FactRow> facts = facts_of(arms);
  Html inner;
  for (const std::string& words : experiment.introduction) inner += paragraph(words);
  inner +=
      results(arms, score_decimals(runs)) + missing_list(runs) + "<h3>What was run</h3>"_html + arms_table(arms, facts);
  if (experiment.seed_recipe.is_object()) {
    Table table({"", "seed model"}, 2);
    add_rows(table, experiment.seed_recipe, "");
    inner += folded("How the seed model was made", table.html());
  }
  Table shared({"", "value"}, 2);
  for (const FactRow& fact : facts)
    if (fact.same()) shared.row({fact.label, fact.values.front()});
  inner += folded(arms.size() > 1 ? "The recipe, where all arms agree" : "The recipe", shared.html());
  Html files;
  for (const Arm& arm : arms) {
    const RunData& first = *arm.runs.front();
    files += folded(concat("recipe.json of ", first.name, ", in ", first.folder),
                    element("pre", text(first.recipe.dump(2, ' ', false, Json::error_handler_t::replace))));
  }
  inner += arms.size() > 1 ? folded("Each arm's recipe.json", files) : files;
  return section("In short", inner);
}

Html claims_section(const Experiment& experiment) {
  if (experiment.claims.empty()) return {};
  Html items;
  for (const Claim& claim : experiment.claims) {
    Html line = text("(" + claim.id + ") ");
    line += claim.held ? "<span class=\"badge good\">\u2713 held</span> "_html
                       : "<span class=\"badge bad\">\u2717 not held</span> "_html;
    if (claim.kind == Claim::Kind::set_up) line += "<span class=\"badge\">set-up</span> "_html;
    items += element("li", line + text(claim.text)) + "\n"_html;
  }
  return section("Claims",
                 paragraph("Checked by the experiment itself. \"Set-up\" follows from how the seed model was made "
                           "and is no finding.") +
                     element("ul", {{"class", "claims"}}, items));
}

Html exhibits_section(const Experiment& experiment) {
  Html all;
  for (const Exhibit& e : experiment.exhibits) {
    Table table(e.headers);
    for (const auto& row : e.rows) table.row(row);
    LineChart chart{e.title, "iteration (0: the model as it comes)", e.y_title, {}, {}, {}};
    size_t longest = 0;
    for (const Exhibit::Line& line : e.lines) {
      Series series{line.name, {{}}, {}};
      for (size_t t = 0; t < line.values.size(); ++t)
        series.pieces[0].push_back({static_cast<double>(t), line.values[t], std::nullopt,
                                    concat(line.name, ", iteration ", t, ": ", fixed(line.values[t], 1))});
      longest = std::max(longest, line.values.size());
      chart.series.push_back(std::move(series));
    }
    for (size_t t = 0; t < longest; ++t) chart.x_ticks.push_back({static_cast<double>(t), std::to_string(t)});
    const Html drawn =
        chart.series.empty() ? table.html() : figures(figure(e.title, line_chart(chart), {})) + table.html();
    all += element("section", element("h2", text(e.title)) + paragraph(e.words) + drawn) + "\n"_html;
  }
  return all;
}

}  // namespace thinker::report
