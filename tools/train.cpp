// thinker train: the whole loop of a recipe.
#include <filesystem>
#include <iostream>

#include "tools/common.h"
#include "tools/plan.h"
#include "tools/table.h"
#include "tpo/report/report.h"
#include "tpo/run.h"

namespace thinker {

namespace {

struct Options {
  std::string recipe, out = "runs", device;
  std::vector<std::string> set;
  bool resume = false, plan = false;
  ProgressOptions progress;
};

/// What a person wants to read of a log line while it runs; empty for the rest.
std::string headline(const Json& line) {
  const std::string stage = line.at("stage");
  const std::string at = "[" + std::to_string(line.at("iteration").get<int64_t>()) + "] ";
  if (line.contains("label")) {
    char text[120];
    std::snprintf(text, sizeof text, ": score %.3f, parsed %.0f %%", line.at("score").get<double>(),
                  100 * line.at("parse_rate").get<double>());
    const int64_t unjudged = line.at("unjudged");
    return at + line.at("label").get<std::string>() + text +
           (unjudged > 0 ? concat(", ", unjudged, " not judged") : "");
  }
  if (stage == "train" && line.contains("step")) return "";
  if (stage == "warmup" && line.contains("step")) return "";
  Json rest = line;
  rest.erase("iteration");
  rest.erase("stage");
  return at + stage + " " + dump_json(rest);
}

/// A word as a shell takes it.
std::string quoted(const std::string& word) {
  constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./,:@%";
  if (!word.empty() && word.find_first_not_of(kPlain) == word.npos) return word;
  std::string text = "'";
  for (char c : word) text += c == '\'' ? "'\\''" : std::string(1, c);
  return text + "'";
}

std::string resuming_command(const Options& options) {
  std::string command = "thinker train " + quoted(options.recipe);
  for (const std::string& assignment : options.set) command += " --set " + quoted(assignment);
  if (options.out != Options().out) command += " --out " + quoted(options.out);
  if (!options.device.empty()) command += " --device " + options.device;
  return command + " --resume";
}

/// The recipe's, unless the command line names another device.
DeviceOptions device_options(const Options& options, const Recipe& recipe) {
  return {options.device.empty() ? name(recipe.device) : options.device, name(recipe.dtype)};
}

void run(const Options& options) {
  const Recipe recipe = load_recipe(options.recipe, options.set);
  const PromptSets prompts = open_prompts(recipe);
  const auto [device, dtype] = device_options(options, recipe).open();
  Model model = open_model(*device, recipe.model, dtype);
  if (options.plan) {
    const int64_t longest_prompt = check_run_prompts(recipe, model, prompts);
    std::cout << recipe_to_json(recipe).dump(2) << "\n";
    print_plan(std::cerr, recipe, model, longest_prompt);
    return;
  }
  prepare_folder(options.out);
  RunOptions run_options;
  run_options.folder = options.out + "/" + recipe.name;
  run_options.resume = options.resume ? Resume::yes : Resume::no;
  if (options.resume && !std::filesystem::exists(run_options.folder + "/recipe.json"))
    std::cerr << run_options.folder << ": holds no run to resume; a new one begins\n";
  const auto display = options.progress.show("go on with: " + resuming_command(options));
  display->attach(&run_options);
  run_options.on_log = [&](const Json& line) {
    display->log(line);
    if (const std::string text = headline(line); !text.empty()) display->say(text);
  };
  const RunResult result = run_loop(recipe, model, prompts, run_options);
  print_rows(std::cout, result.rows);
  print_pairs(std::cout, run_options.folder);
  const std::string page = run_options.folder + "/report.html";
  write_report({run_options.folder}, recipe.name, page);
  std::cout << "checkpoint: " << result.checkpoint << "\nreport: " << page << "\n";
}

}  // namespace

void add_train(Command& program) {
  auto options = std::make_shared<Options>();
  Command command = program.add_subcommand("train", "Thought Preference Optimization by a recipe");
  command.add_option("RECIPE", options->recipe, "recipe (JSON)").required();
  command.add_option("--set", options->set, "override a key: dpo.beta=0.05 (may be repeated)").repeatable();
  command.add_option("--out", options->out, "folder of runs");
  command.add_option("--device", options->device, "auto, cpu or cuda (default: the recipe's)")
      .check(one_of({"auto", "cpu", "cuda"}));
  command.add_flag("--resume", options->resume, "continue an interrupted run");
  command.add_flag("--plan", options->plan, "print the resolved recipe, and on stderr what it will take");
  options->progress.add_to(command);
  command.callback([options] { run(*options); });
}

}  // namespace thinker
