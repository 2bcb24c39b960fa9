// thinker judge: scores for the responses of samples.jsonl.
#include "tpo/stages/judge.h"

#include <filesystem>
#include <iostream>

#include "tensor/file.h"
#include "tools/common.h"
#include "tpo/recipe.h"

namespace thinker {

std::unique_ptr<Judge> open_judge(const std::string& recipe_or_kind) {
  const bool meant_as_file = recipe_or_kind.find('/') != std::string::npos || recipe_or_kind.ends_with(".json");
  if (!meant_as_file && !std::filesystem::exists(recipe_or_kind)) return make_judge({{"kind", recipe_or_kind}});
  const Json file = parse_json(read_text_file(recipe_or_kind), recipe_or_kind);
  const bool recipe = file.is_object() && file.contains("prompts");  // without "judge" it has the default one
  if (!recipe && !(file.is_object() && file.contains("judge"))) return make_judge(file);
  return make_judge(file.value("judge", Recipe{}.judge));
}

std::string prompts_beside(const std::string& prompts, const std::string& samples) {
  if (!prompts.empty()) return prompts;
  return (std::filesystem::path(samples).parent_path() / "prompts.jsonl").string();
}

void add_judge(CLI::App& app) {
  struct Options {
    std::string samples, prompts, judge, out;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("judge", "score the responses of sampled outputs");
  command->add_option("--samples", options->samples, "samples.jsonl")->required();
  command->add_option("--prompts", options->prompts, "prompts.jsonl (default: the one beside the samples)");
  command->add_option("--judge", options->judge, "rule, or a recipe or judge file (JSON)")->required();
  command->add_option("--out", options->out, "judgments.jsonl to write")->required();
  command->callback([options] {
    check_output_file(options->out);
    const auto judge = open_judge(options->judge);
    const std::vector<Prompt> prompts = read_prompts(prompts_beside(options->prompts, options->samples));
    const std::vector<SampleRecord> samples = read_samples(options->samples);
    std::vector<Json> lines;
    int64_t errors = 0;
    for (const JudgmentRecord& j : judge_samples(*judge, prompts, samples)) {
      errors += !j.judged.score;
      lines.push_back(judgment_to_json(j));
    }
    write_jsonl(options->out, lines);
    std::cerr << lines.size() << " judgments, " << errors << " errors\n";
    const ifeval::Accuracy accuracy = ifeval_accuracy(prompts, samples);
    if (!accuracy.groups.empty()) std::cerr << ifeval::describe(accuracy) << "\n";
  });
}

}  // namespace thinker
