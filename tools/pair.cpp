// thinker pair: best against worst, from samples and judgments.
#include "tpo/stages/pair.h"

#include <iostream>

#include "tools/common.h"

namespace thinker {

namespace {

/// The pairs' messages repeat the thought prompt, so it has to be the one of the samples.
void check_style(const std::vector<SampleRecord>& samples, const std::string& thought, const ThoughtStyle& style) {
  for (const SampleRecord& s : samples) {
    if (!s.valid() || s.split.thought.has_value() == style.thinks()) continue;
    fail("--thought ", thought, ": sample ", s.sample, " of ", s.id.dump(), " was drawn ",
         style.thinks() ? "without" : "with", " a thought prompt; name the one that was used");
  }
}

/// Which rho was used, and whether it keeps responses from growing.
std::string describe_length(const PairResult& result, bool auto_rho) {
  if (result.pairs.empty()) return "no pairs: no prompt has a better and a worse output";
  char lengths[100];
  std::snprintf(lengths, sizeof lengths, ": mean length of chosen responses %.1f, of rejected %.1f ",
                result.mean_chosen_length, result.mean_rejected_length);
  const char* balance = result.balanced() ? "; balanced"
                        : auto_rho        ? "; not balanced, even with this (trials leave out pairs for the format)"
                                          : "; not balanced";
  return concat("rho ", result.rho, auto_rho ? " (auto)" : "", lengths, name(result.length), balance);
}

}  // namespace

void add_pair(Command& program) {
  struct Options {
    std::string samples, judgments, prompts, out, rho = "0", thought = "none", model;
    PairStage stage;
    ScoreRule rule;
  };
  auto options = std::make_shared<Options>();
  Command command = program.add_subcommand("pair", "build preference pairs from judged samples");
  command.add_option("--samples", options->samples, "samples.jsonl").required();
  command.add_option("--judgments", options->judgments, "judgments.jsonl").required();
  command.add_option("--prompts", options->prompts, "prompts.jsonl (default: the one beside the samples)");
  command.add_option("--out", options->out, "pairs.jsonl to write").required();
  command.add_option("--rho", options->rho, "length control: 0 to 0.5, or auto");
  command.add_option("--thought", options->thought, "the thought prompt that the samples were drawn with");
  const std::vector<std::pair<std::string, Failures>> failures{{"drop", Failures::drop}, {"reject", Failures::reject}};
  command.add_choice("--parse-failures", options->stage.options.parse_failures, failures, "drop or reject");
  command.add_choice("--truncated", options->stage.options.truncated, failures, "drop or reject");
  command.add_choice<LengthUnit>("--length", options->stage.length,
                                 {{"chars", LengthUnit::chars}, {"tokens", LengthUnit::tokens}}, "chars or tokens");
  command.add_choice<GameScores>("--scores", options->rule.scores, {{"bt", GameScores::bt}, {"wins", GameScores::wins}},
                                 "of a pairwise judge's games: bt (Bradley-Terry) or wins (mean of wins)");
  command.add_choice<Inconsistent>("--inconsistent", options->rule.inconsistent,
                                   {{"keep", Inconsistent::keep}, {"tie", Inconsistent::tie}},
                                   "games whose two orders disagree: keep both, or tie");
  command.add_option("--model", options->model, "MODEL whose tokenizer counts, for --length tokens");
  command.callback([options] {
    PairStage& stage = options->stage;
    stage.auto_rho = options->rho == "auto";
    if (!stage.auto_rho) {
      const std::optional<double> rho = number_of(options->rho);
      if (!rho || *rho < 0.0 || *rho > 0.5)
        throw UsageError("--rho " + options->rho + ": is neither a number from 0 to 0.5 nor auto");
      stage.options.rho = *rho;
    }
    if (stage.length == LengthUnit::tokens && options->model.empty()) throw UsageError("--length tokens needs --model");
    check_output_file(options->out);
    check_not_overwritten({{"--out", options->out}}, {{"--samples", options->samples},
                                                      {"--judgments", options->judgments},
                                                      {"--prompts", prompts_beside(options->prompts, options->samples)},
                                                      {"--thought", options->thought},
                                                      {"--model", options->model}});
    stage.style = thought_style(options->thought);
    const std::vector<Prompt> prompts = read_prompts(prompts_beside(options->prompts, options->samples));
    std::unique_ptr<ChatTokenizer> tokenizer;
    if (!options->model.empty()) tokenizer = std::make_unique<ChatTokenizer>(open_tokenizer(options->model));
    const std::vector<SampleRecord> samples = read_samples(options->samples);
    check_style(samples, options->thought, stage.style);
    const PairResult result = pair_samples(prompts, samples, read_judgments(options->judgments, options->rule), stage,
                                           tokenizer.get(), {options->samples, options->judgments});
    write_jsonl(options->out, result.pairs, pair_to_json);
    std::cerr << dump_json(counts_to_json(result)) << "\n" << describe_length(result, stage.auto_rho) << "\n";
  });
}

}  // namespace thinker
