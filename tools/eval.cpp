// thinker eval: a model's held-out score, alone or against another model or stored outputs.
#include <filesystem>
#include <iostream>
#include <set>

#include "tools/common.h"
#include "tpo/judges/opponent.h"
#include "tpo/judges/pairwise.h"
#include "tpo/stages/evaluate.h"
#include "tpo/stages/judge.h"

namespace thinker {

namespace {

struct Options {
  std::string model, prompts, against, against_thought = "none", judge, out;
  int64_t resample = 2;
  DeviceOptions device;
  DrawOptions draw;
};

/// Stored outputs: lines of eval.jsonl with the scores that they had, or of samples.jsonl, of which each prompt's first
/// one is judged now, where the judge is pointwise. What did not parse loses.
std::vector<EvalRecord> stored_outputs(const std::string& path, Judge* judge, const std::vector<Prompt>& prompts) {
  if (auto first = JsonlReader(path).next(); first && first->has("attempts")) return read_evals(path);
  std::vector<EvalRecord> records;
  std::set<std::string> seen;
  for (SampleRecord& s : read_samples(path)) {
    if (!seen.insert(s.id.dump()).second) continue;
    EvalRecord record;
    record.first_parse = s.split.parse;
    record.sample = std::move(s);
    records.push_back(std::move(record));
  }
  if (judge) judge_records(records, *judge, prompts);
  return records;
}

bool is_stored(const std::string& against) {
  return against.ends_with(".jsonl");
}

/// The outputs of a MODEL that --against names, on the same prompts.
std::vector<EvalRecord> opponent(const Options& options, Device& device, const std::vector<Prompt>& prompts,
                                 SampleStage stage) {
  stage.style = thought_style(options.against_thought);
  if (!stage.style.thinks()) stage.format = Format::free;
  const Model model = open_model(device, options.against, options.device.dtype_on(device));
  return sample_outputs(model, prompts, stage, options.resample, make_progress());
}

Json compare(const std::vector<EvalRecord>& ours, const std::vector<EvalRecord>& theirs, uint64_t seed) {
  std::map<std::string, double> their_scores;
  for (const EvalRecord& r : theirs) {
    if (r.judged.score) their_scores[r.sample.id.dump()] = *r.judged.score;
  }
  WinCounts counts;
  std::vector<double> games;
  for (const EvalRecord& r : ours) {
    const auto other = their_scores.find(r.sample.id.dump());
    if (!r.judged.score || other == their_scores.end()) continue;
    counts.add(*r.judged.score, other->second);
    games.push_back(*r.judged.score > other->second ? 1.0 : *r.judged.score < other->second ? 0.0 : 0.5);
  }
  if (games.empty()) fail("--against: no prompt has a score on both sides; are the ids the same?");
  const Interval interval = bootstrap_interval(games, seed);
  return {{"games", games.size()},     {"wins", counts.wins}, {"ties", counts.ties},  {"losses", counts.losses},
          {"win_rate", counts.rate()}, {"low", interval.low}, {"high", interval.high}};
}

/// The same when our scores are win rates against them.
Json compare_games(const std::vector<EvalRecord>& ours, uint64_t seed) {
  WinCounts counts;
  std::vector<double> rates;
  for (const EvalRecord& r : ours) {
    if (!r.judged.score) continue;
    counts.add(*r.judged.score, 0.5);
    rates.push_back(*r.judged.score);
  }
  const Interval interval = bootstrap_interval(rates, seed);
  return {{"games", rates.size()},   {"wins", counts.wins}, {"ties", counts.ties},  {"losses", counts.losses},
          {"win_rate", mean(rates)}, {"low", interval.low}, {"high", interval.high}};
}

void run(const Options& options) {
  SampleStage stage = options.draw.resolve();
  check_output_file(options.out);
  const Json recipe = judge_recipe(options.judge);
  const bool pairwise = is_pairwise(recipe);
  if (pairwise && options.against.empty())
    throw UsageError("a pairwise judge compares: name an opponent with --against");
  const auto pair_judge = pairwise ? make_pair_judge(recipe, folder_of(options.out)) : nullptr;
  const auto judge = pairwise ? nullptr : make_judge(recipe);
  const std::vector<Prompt> prompts = read_prompts(options.prompts);
  // What can be wrong with the opponent is seen before the long work.
  std::vector<EvalRecord> theirs;
  if (is_stored(options.against))
    theirs = stored_outputs(options.against, judge.get(), prompts);
  else if (!options.against.empty())
    open_tokenizer(options.against);
  const auto device = options.device.open();
  std::vector<EvalRecord> records;
  {
    const Model model = open_model(*device, options.model, options.device.dtype_on(*device));
    records = sample_outputs(model, prompts, stage, options.resample, make_progress());
  }
  if (!options.against.empty() && !is_stored(options.against)) {
    theirs = opponent(options, *device, prompts, stage);
    if (judge) judge_records(theirs, *judge, prompts);
  }
  if (pairwise) {
    OpponentJudge games(*pair_judge);
    games.add(prompts, outputs_of(theirs));
    judge_records(records, games, prompts);
  } else {
    judge_records(records, *judge, prompts);
  }
  std::vector<Json> lines;
  for (const EvalRecord& r : records) lines.push_back(eval_to_json(r));
  write_jsonl(options.out, lines);
  Json summary = summary_to_json(summarise(records, stage.seed));
  const ifeval::Accuracy accuracy = ifeval_accuracy(prompts, outputs_of(records));
  if (!accuracy.groups.empty()) summary["ifeval"] = accuracy_to_json(accuracy);
  if (pairwise)
    summary["against"] = compare_games(records, stage.seed);
  else if (!options.against.empty())
    summary["against"] = compare(records, theirs, stage.seed);
  print_line(summary);
}

}  // namespace

void add_eval(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("eval", "held-out score of a model, alone or against another");
  command->add_option("MODEL", options->model, "folder or .gguf file")->required();
  command->add_option("--prompts", options->prompts, "prompts.jsonl")->required();
  command->add_option("--against", options->against,
                      "another MODEL, or stored outputs: an eval.jsonl or samples.jsonl");
  command->add_option("--against-thought", options->against_thought, "the opponent's thought prompt");
  command->add_option("--judge", options->judge, "rule, or a recipe or judge file (JSON)")->required();
  command->add_option("--resample", options->resample, "attempts more for an output that does not parse")
      ->check(whole(0, 100));
  command->add_option("--out", options->out, "eval.jsonl to write")->required();
  options->draw.add_to(*command);
  options->device.add_to(*command);
  command->callback([options] { run(*options); });
}

}  // namespace thinker
