// thinker chat: a conversation on the terminal. Thoughts stay hidden unless asked for, and never enter the history.
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <iostream>

#include "tools/common.h"
#include "tools/stream_printer.h"
#include "tpo/text.h"

namespace thinker {

namespace {

struct Options {
  std::string model, system;
  bool show_thought = false, greedy = false;
  DeviceOptions device;
  WeightOptions weights{"auto"};
  DrawOptions draw;
};

/// A slash and one word: a command, right or mistyped; "/etc/hosts is what?" is a message.
bool looks_like_command(std::string_view line) {
  return line.starts_with("/") && std::none_of(line.begin(), line.end(), [](char c) { return c == ' ' || c == '\t'; });
}

/// Whether the model can be asked this at all; if not, says why. Leaves the answer the room that the context has.
bool fits(const Model& model, const Messages& history, SampleStage& stage) {
  const int64_t context = model.net.config().context;
  try {
    const auto tokens = static_cast<int64_t>(model.text.prompt_ids(apply_thought(history, stage.style)).size());
    if (tokens == 0) fail("the message has no tokens");
    if (tokens >= context)
      fail("the conversation is longer than the model's context of ", context, " tokens; /new starts over");
    stage.max_new = std::min(stage.max_new, context - tokens);
    return true;
  } catch (const std::runtime_error& e) {
    std::cerr << "[" << e.what() << "]\n";
    return false;
  }
}

/// One answer; the user's message is dropped from the history when it got none.
void answer(const Model& model, const Options& options, SampleStage stage, Messages& history, int64_t turn) {
  if (!fits(model, history, stage)) {
    history.pop_back();
    return;
  }
  const bool terminal = isatty(STDERR_FILENO) != 0;
  StreamPrinter printer(model.text, stage.style, options.show_thought ? ShowThought::yes : ShowThought::no, std::cout,
                        isatty(STDOUT_FILENO) != 0, std::cerr, terminal);
  stage.on_token = [&](const GeneratedSample& sample) { printer.on_token(sample); };
  const SamplePrompt prompt{Json(nullptr), history, turn};
  const SampleRecord sample = std::move(sample_prompts(model, {prompt}, stage).front());
  const SplitOutput output = printer.finish(sample.stop);
  if (output.response)
    history.push_back({"assistant", *output.response});
  else
    history.pop_back();
}

void run(const Options& options) {
  SampleStage stage = options.draw.resolve();
  stage.k = 1;
  stage.sampling.greedy = options.greedy;
  const auto [device, dtype] = options.device.open();
  const Model model = open_model(*device, options.model, dtype, options.weights.storage(*device, options.model));
  check_room(model, stage);
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
    if (line.ends_with('\r')) line.pop_back();
    const std::string_view word = trim(line);
    if (word == "/quit") break;
    if (word == "/new") {
      start_over();
    } else if (first_invalid_utf8(line) >= 0) {
      std::cerr << "[the line is not UTF-8 and was left out]\n";
    } else if (looks_like_command(word)) {
      std::cerr << "[" << excerpt(word) << " is no command; /new starts over, /quit ends]\n";
    } else if (!word.empty()) {
      history.push_back({"user", line});
      answer(model, options, stage, history, turn);
    }
  }
  if (std::ferror(stdin)) fail("<stdin>: cannot be read: ", std::strerror(errno));  // to std::cin it is the end
}

}  // namespace

void add_chat(Command& program) {
  auto options = std::make_shared<Options>();
  Command command = program.add_subcommand("chat", "talk to a model; its thoughts stay hidden");
  command.add_option("MODEL", options->model, "folder or .gguf file").required();
  command.add_option("--system", options->system, "a system message").check(utf8_text());
  command.add_flag("--show-thought", options->show_thought, "print thoughts too");
  command.add_flag("--greedy", options->greedy, "always the most probable token");
  options->draw.stage.max_new = 512;
  options->draw.add_to(command);
  options->device.add_to(command);
  options->weights.add_to(command);
  command.callback([options] { run(*options); });
}

}  // namespace thinker
