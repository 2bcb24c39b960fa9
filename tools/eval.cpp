// thinker eval: a model's held-out score, alone or against another model or stored outputs; and its outputs in the
// formats of other tools.
#include <chrono>
#include <filesystem>

#include "tensor/file.h"
#include "tools/common.h"
#include "tpo/judges/opponent.h"
#include "tpo/judges/pairwise.h"
#include "tpo/stages/compare.h"
#include "tpo/stages/judge.h"
#include "tpo/stages/outputs.h"

namespace thinker {

namespace {

struct Options {
  std::string model, prompts, against, against_thought = "none", judge, out, export_file, generator;
  ExportFormat export_format = ExportFormat::none;
  int64_t resample = 2;
  DeviceOptions device;
  DrawOptions draw;
  ProgressOptions progress;
};

/// The outputs that eval scores, and those that it scores them against.
struct Sides {
  std::vector<EvalRecord> ours, theirs;
  int64_t unmatched = 0;  // stored outputs of either side that belong to none of the prompts
};

std::vector<EvalRecord> stored(const std::string& path, const std::vector<Prompt>& prompts, Sides* sides) {
  StoredOutputs outputs = read_outputs(path, prompts);
  sides->unmatched += outputs.unmatched;
  return std::move(outputs.records);
}

std::vector<EvalRecord> sampled(const Options& options, const std::string& model_name, const OpenDevice& on,
                                const std::vector<Prompt>& prompts, const SampleStage& stage, Display& display) {
  const Model model = open_model(*on.device, model_name, on.dtype);
  check_room(model, stage);
  return sample_outputs(model, prompts, stage, options.resample, display.progress());
}

Sides collect(const Options& options, const std::vector<Prompt>& prompts, const SampleStage& stage, Display& display) {
  Sides sides;
  // What can be wrong with files and names is seen before the long work.
  const bool ours_stored = is_outputs_file(options.model), theirs_stored = is_outputs_file(options.against);
  if (ours_stored) sides.ours = stored(options.model, prompts, &sides);
  if (theirs_stored) sides.theirs = stored(options.against, prompts, &sides);
  const bool theirs_sampled = !options.against.empty() && !theirs_stored;
  if (theirs_sampled) open_tokenizer(options.against);
  if (ours_stored && !theirs_sampled) return sides;
  const OpenDevice device = options.device.open();
  if (!ours_stored) sides.ours = sampled(options, options.model, device, prompts, stage, display);
  if (theirs_sampled) {
    SampleStage other = stage;
    other.style = thought_style(options.against_thought);
    if (!other.style.thinks()) other.format = Format::free;
    sides.theirs = sampled(options, options.against, device, prompts, other, display);
  }
  return sides;
}

/// The name that other tools' tables show: the option, or the model's file or folder.
std::string generator_of(const Options& options) {
  if (!options.generator.empty()) return options.generator;
  std::filesystem::path path(options.model);
  if (!path.has_filename()) path = path.parent_path();
  return path.extension() == ".gguf" || is_outputs_file(options.model) ? path.stem().string()
                                                                       : path.filename().string();
}

void write_export(const Options& options, const std::vector<Prompt>& prompts, const std::vector<EvalRecord>& records) {
  if (options.export_format == ExportFormat::none) return;
  const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
  write_file_atomically(options.export_file,
                        export_outputs(options.export_format, prompts, records, generator_of(options), now.count()));
}

void check(const Options& options, bool pairwise) {
  if (pairwise && options.against.empty())
    throw UsageError("a pairwise judge compares: name an opponent with --against");
  if ((options.export_format == ExportFormat::none) != options.export_file.empty())
    throw UsageError("--export FORMAT and --export-file F go together");
  check_output_file(options.out);
  if (!options.export_file.empty()) check_output_file(options.export_file);
  check_not_overwritten({{"--out", options.out}, {"--export-file", options.export_file}},
                        {{"MODEL", options.model},
                         {"--prompts", options.prompts},
                         {"--against", options.against},
                         {"--judge", options.judge},
                         {"--thought", options.draw.thought},
                         {"--against-thought", options.against_thought}});
}

void run(const Options& options) {
  SampleStage stage = options.draw.resolve();
  const Json recipe = judge_recipe(options.judge);
  const bool pairwise = is_pairwise(recipe);
  check(options, pairwise);
  const auto pair_judge = pairwise ? make_pair_judge(recipe, folder_of(options.out)) : nullptr;
  const auto judge = pairwise ? nullptr : make_judge(recipe);
  const std::vector<Prompt> prompts = read_prompts(options.prompts);
  check_export(options.export_format, prompts);
  const auto display = options.progress.show(pairwise ? "the same command begins anew, but for the judge's cache"
                                                      : "the same command begins anew");
  stage.on_token = [&](const GeneratedSample& sample) { display->token(sample); };
  Sides sides = collect(options, prompts, stage, *display);
  write_export(options, prompts, sides.ours);  // a judge that fails leaves the outputs
  if (pairwise) {
    OpponentJudge games(*pair_judge);
    games.add(prompts, outputs_of(sides.theirs));
    judge_records(sides.ours, games, prompts, 0.0, display->progress());
  } else {
    judge_records(sides.theirs, *judge, prompts, 0.0, display->progress());
    judge_records(sides.ours, *judge, prompts, lowest_score(sides.theirs), display->progress());
  }
  write_jsonl(options.out, sides.ours, eval_to_json);
  Json summary = summary_to_json(summarise(sides.ours, stage.seed));
  const ifeval::Accuracy accuracy = ifeval_accuracy(prompts, outputs_of(sides.ours));
  if (!accuracy.groups.empty()) summary["ifeval"] = accuracy_to_json(accuracy);
  if (!options.against.empty()) {
    const WinBy by = pairwise ? WinBy::share_of_games : WinBy::higher_score;
    const WinSummary wins = summarise_wins(contests_of(sides.ours, sides.theirs, by), stage.seed);
    if (wins.games == 0) fail("--against: the judge failed on every prompt, on one side or the other");
    summary["against"] = win_summary_to_json(wins);
    summary["against"]["parse_rate"] = summarise(sides.theirs, stage.seed).parse_rate;
  }
  if (sides.unmatched > 0) summary["unmatched"] = sides.unmatched;
  print_line(summary);
}

}  // namespace

void add_eval(Command& program) {
  auto options = std::make_shared<Options>();
  Command command = program.add_subcommand("eval", "held-out score of a model, alone or against another");
  const std::string outputs = "stored outputs: an eval.jsonl, a samples.jsonl, AlpacaEval's or Arena-Hard's answers";
  command.add_option("MODEL", options->model, "folder or .gguf file, or " + outputs).required();
  command.add_option("--prompts", options->prompts, "prompts.jsonl, or AlpacaEval's .json").required();
  const Argument against = command.add_option("--against", options->against, "another MODEL, or " + outputs);
  command.add_option("--against-thought", options->against_thought, "the opponent's thought prompt").needs(against);
  command.add_option("--judge", options->judge, "rule, answer, or a recipe or judge file (JSON)").required();
  command.add_option("--resample", options->resample, "attempts more for an output that does not parse")
      .check(whole(0, 100));
  command.add_option("--out", options->out, "eval.jsonl to write").required();
  const Argument exports = command.add_choice<ExportFormat>(
      "--export", options->export_format,
      {{"alpaca-eval", ExportFormat::alpaca_eval}, {"arena-hard", ExportFormat::arena_hard}},
      "write the responses for another tool: alpaca-eval or arena-hard");
  command.add_option("--export-file", options->export_file, "where to, with --export");
  command.add_option("--generator", options->generator, "the model's name there (default: MODEL's own)").needs(exports);
  options->draw.add_to(command);
  options->device.add_to(command);
  options->progress.add_to(command);
  command.callback([options] { run(*options); });
}

}  // namespace thinker
