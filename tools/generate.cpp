// thinker generate: outputs for prompts, as JSON lines or, with --prompt, as plain text.
#include <unistd.h>

#include <iostream>

#include "tools/common.h"
#include "tools/stream_printer.h"

namespace thinker {

namespace {

struct Options {
  std::string model, input, prompt;
  bool json = false, show_thought = false;
  DeviceOptions device;
  DrawOptions draw;
};

/// A sample in the words of `generate`: as in samples.jsonl, without the prompt's ids, after the line's own id.
Json to_output(Json out, const SampleRecord& sample) {
  const Json fields = sample_to_json(sample);
  for (const auto& [key, value] : fields.items()) {
    if (key != "id" && key != "prompt_ids") out[key] = value;
  }
  return out;
}

void answer_prompt(const Model& model, const Options& options, SampleStage stage) {
  const SamplePrompt prompt{Json(nullptr), {{"user", options.prompt}}, 0};
  if (stage.k > 1 || options.json) {
    for (const SampleRecord& s : sample_prompts(model, {prompt}, stage)) print_line(to_output(Json::object(), s));
    return;
  }
  StreamPrinter printer(model.text, stage.style, options.show_thought ? ShowThought::yes : ShowThought::no, std::cout,
                        std::cerr, isatty(STDERR_FILENO) != 0);
  stage.on_token = [&](const GeneratedSample& sample) { printer.on_token(sample); };
  const std::vector<SampleRecord> samples = sample_prompts(model, {prompt}, stage);
  printer.finish(samples.front().stop);
}

void run(const Options& options) {
  if (options.draw.stage.sampling.greedy && options.draw.stage.k > 1) throw UsageError("--greedy with --n above 1 would write the same answer n times");
  const SampleStage stage = options.draw.resolve();
  const auto device = options.device.open();
  const Model model = open_model(*device, options.model, options.device.dtype_on(*device));
  if (!options.prompt.empty()) {
    answer_prompt(model, options, stage);
    return;
  }
  int64_t key = 0;
  for_each_chunk(options.input, 64, [&](std::vector<JsonLine>& lines) {
    std::vector<SamplePrompt> prompts;
    for (const JsonLine& line : lines) prompts.push_back({Json(nullptr), line.messages(), key++});
    const std::vector<SampleRecord> samples = sample_prompts(model, prompts, stage);
    for (size_t i = 0; i < samples.size(); ++i) print_line(to_output(with_id(lines[i / stage.k]), samples[i]));
  });
}

}  // namespace

void add_generate(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("generate", "sample outputs for prompts");
  command->add_option("MODEL", options->model, "folder or .gguf file")->required();
  command->add_option("--input", options->input, "JSONL file of {\"messages\"} or {\"prompt\"} (default: standard input)");
  command->add_option("--n", options->draw.stage.k, "samples a prompt")->check(CLI::PositiveNumber);
  command->add_flag("--greedy", options->draw.stage.sampling.greedy, "always the most probable token");
  command->add_option("--prompt", options->prompt, "answer this one prompt as plain text");
  command->add_flag("--show-thought", options->show_thought, "with --prompt: print the thought too, on stderr");
  command->add_flag("--json", options->json, "with --prompt: print the JSON line instead");
  options->draw.stage.k = 1;
  options->draw.add_to(*command);
  options->device.add_to(*command);
  command->callback([options] { run(*options); });
}

}  // namespace thinker
