// thinker judge: scores, or games of two, for the responses of samples.jsonl.
#include "tpo/stages/judge.h"

#include <algorithm>
#include <filesystem>
#include <iostream>

#include "tensor/file.h"
#include "tools/common.h"
#include "tpo/judges/pairwise.h"
#include "tpo/recipe.h"
#include "tpo/stages/outputs.h"
#include "tpo/text.h"

namespace thinker {

namespace {

Json judge_in_file(const std::string& path) {
  const Json file = parse_settings(path);
  const bool recipe = file.is_object() && file.contains("prompts");  // without "judge" it has the default one
  if (!recipe && !(file.is_object() && file.contains("judge"))) return file;
  return file.value("judge", Recipe{}.judge);
}

}  // namespace

Json judge_recipe(const std::string& recipe_or_kind) {
  const bool meant_as_file = recipe_or_kind.find('/') != std::string::npos || recipe_or_kind.ends_with(".json");
  if (!meant_as_file && !std::filesystem::exists(recipe_or_kind)) {
    if (std::ranges::find(judge_kinds(), recipe_or_kind) == judge_kinds().end())
      fail("--judge: \"", excerpt(recipe_or_kind), "\" is neither a kind of judge (rule, answer; the others want a ",
           "file) nor a file");
    const Json judge{{"kind", recipe_or_kind}};
    check_judge(judge);
    return judge;
  }
  const Json judge = judge_in_file(recipe_or_kind);
  try {
    check_judge(judge);
  } catch (const Error& e) {
    fail(recipe_or_kind, ": ", e.what());
  }
  return judge;
}

std::string folder_of(const std::string& path) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  return folder.empty() ? "." : folder;
}

std::string prompts_beside(const std::string& prompts, const std::string& samples) {
  if (!prompts.empty()) return prompts;
  // Else a misspelt name of the samples would be told as that of prompts which nobody named.
  if (!std::filesystem::exists(samples)) fail(samples, ": cannot be opened: no such file");
  if (std::filesystem::is_directory(samples)) fail(samples, ": is a folder; name the samples.jsonl itself");
  return (std::filesystem::path(samples).parent_path() / "prompts.jsonl").string();
}

namespace {

struct Options {
  std::string samples, prompts, judge, out;
  ProgressOptions progress;
};

std::string percent(double share) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f %%", 100 * share);
  return text;
}

void scores(const Options& options, const Json& recipe, const std::vector<Prompt>& prompts,
            const std::vector<SampleRecord>& samples) {
  const auto display = options.progress.show("the same command begins anew");
  const auto judgments = judge_samples(*make_judge(recipe), prompts, samples, display->progress());
  const auto errors = std::ranges::count_if(judgments, [](const JudgmentRecord& j) { return !j.judged.score; });
  write_jsonl(options.out, judgments, judgment_to_json);
  std::cerr << judgments.size() << " judgments, " << errors << " errors\n";
}

void games(const Options& options, const Json& recipe, const std::vector<Prompt>& prompts,
           const std::vector<SampleRecord>& samples) {
  const auto judge = make_pair_judge(recipe, folder_of(options.out));
  const auto display = options.progress.show("the same command goes on from there");
  const std::vector<GameRecord> played = play_games(*judge, prompts, samples, display->progress());
  const GameSummary s = summarise_games(played);
  const auto share = [](const std::optional<double>& x) { return x ? percent(*x) : "-"; };
  write_jsonl(options.out, played, game_to_json);
  const auto failed = std::ranges::find_if(played, [](const GameRecord& g) { return !g.judged.verdict; });
  if (failed != played.end()) std::cerr << "a game without a verdict: " << excerpt(failed->judged.error, 200) << "\n";
  std::cerr << s.games << " games, " << s.errors << " without a verdict (ties), " << s.ties
            << " ties; the two orders agree in " << s.consistent << " of " << s.pairs << " pairs ("
            << share(s.consistency()) << "); the response shown first won " << s.first_wins << " of "
            << s.first_wins + s.second_wins << " (" << share(s.first_rate()) << ")\n";
}

void run(const Options& options) {
  check_output_file(options.out);
  const Json recipe = judge_recipe(options.judge);
  const std::string prompts_file = prompts_beside(options.prompts, options.samples);
  check_not_overwritten({{"--out", options.out}},
                        {{"--samples", options.samples}, {"--prompts", prompts_file}, {"--judge", options.judge}});
  const std::vector<Prompt> prompts = read_prompts(prompts_file);
  // A JSON list is AlpacaEval's; the samples of our own files are many to a prompt.
  const std::vector<SampleRecord> samples = options.samples.ends_with(".json")
                                                ? outputs_of(read_outputs(options.samples, prompts).records)
                                                : read_samples(options.samples);
  (is_pairwise(recipe) ? games : scores)(options, recipe, prompts, samples);
  const ifeval::Accuracy accuracy = ifeval_accuracy(prompts, samples);
  if (!accuracy.groups.empty()) std::cerr << ifeval::describe(accuracy) << "\n";
}

}  // namespace

void add_judge(Command& program) {
  auto options = std::make_shared<Options>();
  Command command = program.add_subcommand("judge", "judge the responses of sampled outputs");
  command.add_option("--samples", options->samples, "samples.jsonl, or AlpacaEval's model_outputs.json").required();
  command.add_option("--prompts", options->prompts, "prompts.jsonl (default: the one beside the samples)");
  command.add_option("--judge", options->judge, "rule, answer, or a recipe or judge file (JSON)").required();
  command.add_option("--out", options->out, "judgments.jsonl to write").required();
  options->progress.add_to(command);
  command.callback([options] { run(*options); });
}

}  // namespace thinker
