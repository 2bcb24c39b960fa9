// thinker chat: a conversation on the terminal. Thoughts stay hidden unless asked for, and never enter the history.
#include <unistd.h>

#include <iostream>

#include "tools/common.h"
#include "tools/stream_printer.h"

namespace thinker {

namespace {

struct Options {
  std::string model, system;
  bool show_thought = false, greedy = false;
  DeviceOptions device;
  DrawOptions draw;
};

/// One answer; the user's message is dropped from the history when it got none.
void answer(const Model& model, const Options& options, SampleStage& stage, Messages& history, int64_t turn) {
  const bool terminal = isatty(STDERR_FILENO) != 0;
  StreamPrinter printer(model.text, stage.style, options.show_thought ? ShowThought::yes : ShowThought::no, std::cout,
                        std::cerr, terminal);
  stage.on_token = [&](const GeneratedSample& sample) { printer.on_token(sample); };
  const SamplePrompt prompt{Json(nullptr), history, turn};
  const SampleRecord sample = std::move(sample_prompts(model, {prompt}, stage).front());
  const SplitOutput output = printer.finish(sample.stop);
  if (output.response) history.push_back({"assistant", *output.response});
  else history.pop_back();
}

void run(const Options& options) {
  SampleStage stage = options.draw.resolve();
  stage.k = 1;
  stage.sampling.greedy = options.greedy;
  const auto device = options.device.open();
  const Model model = open_model(*device, options.model, options.device.dtype_on(*device));
  const bool terminal = isatty(STDIN_FILENO) != 0;
  Messages history;
  const auto start_over = [&] {
    history.clear();
    if (!options.system.empty()) history.push_back({"system", options.system});
  };
  start_over();
  if (terminal) std::cerr << "Type a message; /new starts over, /quit or Ctrl-D ends.\n";
  std::string line;
  for (int64_t turn = 0; (terminal && std::cerr << "> " << std::flush, std::getline(std::cin, line)); ++turn) {
    if (line == "/quit") break;
    if (line == "/new") {
      start_over();
      continue;
    }
    if (line.empty()) continue;
    history.push_back({"user", line});
    answer(model, options, stage, history, turn);
  }
}

}  // namespace

void add_chat(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("chat", "talk to a model; its thoughts stay hidden");
  command->add_option("MODEL", options->model, "folder or .gguf file")->required();
  command->add_option("--system", options->system, "a system message");
  command->add_flag("--show-thought", options->show_thought, "print thoughts too");
  command->add_flag("--greedy", options->greedy, "always the most probable token");
  options->draw.stage.max_new = 512;
  options->draw.add_to(*command);
  options->device.add_to(*command);
  command->callback([options] { run(*options); });
}

}  // namespace thinker
