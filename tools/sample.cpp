// thinker sample: K outputs a prompt into samples.jsonl.
#include "tools/common.h"

namespace thinker {

void add_sample(Command& program) {
  struct Options {
    std::string model, prompts, out;
    DeviceOptions device;
    DrawOptions draw;
    ProgressOptions progress;
  };
  auto options = std::make_shared<Options>();
  options->draw.stage.k = 8;
  Command command = program.add_subcommand("sample", "sample K outputs for each prompt of a file");
  command.add_option("MODEL", options->model, "folder or .gguf file").required();
  command.add_option("--prompts", options->prompts, "prompts.jsonl").required();
  command.add_option("--out", options->out, "samples.jsonl to write; an interrupted one is continued").required();
  command.add_option("--k", options->draw.stage.k, "samples a prompt").check(whole(1, 1024));
  options->draw.add_to(command);
  options->device.add_to(command);
  options->progress.add_to(command);
  command.callback([options] {
    SampleStage stage = options->draw.resolve();
    check_output_file(options->out);
    check_not_overwritten(
        {{"--out", options->out}},
        {{"MODEL", options->model}, {"--prompts", options->prompts}, {"--thought", options->draw.thought}});
    const auto [device, dtype] = options->device.open();
    const Model model = open_model(*device, options->model, dtype);
    check_room(model, stage);
    const std::vector<Prompt> prompts = read_prompts(options->prompts);
    const auto display = options->progress.show("the same command goes on from there");
    stage.on_token = [&](const GeneratedSample& sample) { display->token(sample); };
    sample_to_file(model, sample_prompts_of(prompts), stage, options->out, display->progress());
  });
}

}  // namespace thinker
