// thinker generate: outputs for prompts, as JSON lines or, with --prompt, as plain text.
#include <unistd.h>

#include <iostream>

#include "tools/common.h"
#include "tools/stream_printer.h"

namespace thinker {

namespace {

struct Options {
  std::string model, input;
  std::optional<std::string> prompt;
  bool json = false, show_thought = false;
  DeviceOptions device;
  WeightOptions weights{"full"};
  DrawOptions draw;
};

/// A sample in the words of `generate`: as in samples.jsonl, without the prompt's ids; "id" only where the input had
/// one.
Json to_output(const SampleRecord& sample) {
  Json out = sample_to_json(sample);
  out.erase("prompt_ids");
  if (sample.id.is_null()) out.erase("id");
  return out;
}

void answer_prompt(const Model& model, const Options& options, SampleStage stage) {
  const SamplePrompt prompt{Json(nullptr), {{"user", *options.prompt}}, 0, "--prompt"};
  if (stage.k > 1 || options.json) {
    for (const SampleRecord& s : sample_prompts(model, {prompt}, stage)) print_line(to_output(s));
    return;
  }
  StreamPrinter printer(model.text, stage.style, options.show_thought ? ShowThought::yes : ShowThought::no, std::cout,
                        isatty(STDOUT_FILENO) != 0, std::cerr, isatty(STDERR_FILENO) != 0);
  stage.on_token = [&](const GeneratedSample& sample) { printer.on_token(sample); };
  const std::vector<SampleRecord> samples = sample_prompts(model, {prompt}, stage);
  printer.finish(samples.front().stop);
}

void run(const Options& options) {
  if (options.draw.stage.sampling.greedy && options.draw.stage.k > 1)
    throw UsageError("--greedy with --n above 1 would write the same answer n times");
  const SampleStage stage = options.draw.resolve();
  const auto [device, dtype] = options.device.open();
  const Model model = open_model(*device, options.model, dtype, options.weights.storage(*device, options.model));
  check_room(model, stage);
  if (options.prompt) {
    answer_prompt(model, options, stage);
    return;
  }
  int64_t key = 0;
  const auto parse = [&](const JsonLine& line) {
    SamplePrompt prompt{line.id().value_or(Json(nullptr)), line.messages(), key++, line.place()};
    check_prompts(model, {prompt}, stage.style);
    return prompt;
  };
  for_each_chunk(options.input, 64, parse, [&](const std::vector<SamplePrompt>& prompts) {
    for (const SampleRecord& s : sample_prompts(model, prompts, stage)) print_line(to_output(s));
  });
}

}  // namespace

void add_generate(Command& program) {
  auto options = std::make_shared<Options>();
  Command command = program.add_subcommand("generate", "sample outputs for prompts");
  command.add_option("MODEL", options->model, "folder or .gguf file").required();
  const Argument input = command.add_option("--input", options->input,
                                            "JSONL file of {\"messages\"} or {\"prompt\"} (default: standard input)");
  command.add_option("--n", options->draw.stage.k, "samples a prompt").check(whole(1, 1'000'000));
  command.add_flag("--greedy", options->draw.stage.sampling.greedy, "always the most probable token");
  command.add_option("--prompt", options->prompt, "answer this one prompt as plain text")
      .excludes(input)
      .check(utf8_text());
  command.add_flag("--show-thought", options->show_thought, "with --prompt: print the thought too, on stderr");
  command.add_flag("--json", options->json, "with --prompt: print the JSON line instead");
  options->draw.stage.k = 1;
  options->draw.add_to(command);
  options->device.add_to(command);
  options->weights.add_to(command);
  command.callback([options] { run(*options); });
}

}  // namespace thinker
