// thinker score: {"messages","completion"} -> log-probs of the completion's tokens, end token included.
#include <cmath>
#include <map>

#include "tools/common.h"

namespace thinker {

namespace {

struct Options {
  std::string model, input;
  DeviceOptions device;
};

struct Item {
  Json head;  // the output's beginning
  std::vector<int32_t> prompt, completion;
};

Item parse_item(const JsonLine& line, const Model& model) {
  Item item{with_id(line), model.text.prompt_ids(line.messages()),
            model.text.completion_ids(line.string("completion"))};
  if (item.prompt.empty()) line.error("the prompt has no tokens");
  check_context(model, item.prompt.size() + item.completion.size());
  return item;
}

/// One packed forward for a chunk of lines; equal prompts are computed once.
void score_chunk(const Model& model, const std::vector<Item>& items) {
  Batch batch;
  std::map<std::vector<int32_t>, Batch::Prefix> prompts;
  for (const Item& item : items) {
    auto it = prompts.find(item.prompt);
    if (it == prompts.end()) it = prompts.emplace(item.prompt, batch.add_prompt(item.prompt)).first;
    batch.add_completion(it->second, item.completion);
  }
  Tape tape(model.net.device(), Tape::Mode::no_grad);
  const std::vector<float> logprobs = model.net.logprobs(tape, batch).to_host<float>();
  for (size_t b = 0; b < items.size(); ++b) {
    const std::vector<float> own(logprobs.begin() + batch.offsets[b], logprobs.begin() + batch.offsets[b + 1]);
    double sum = 0.0;
    for (float x : own) sum += x;
    if (!std::isfinite(sum)) fail("the model's logits are not finite: its weights are damaged or training diverged");
    Json out = items[b].head;
    out["ids"] = items[b].completion;
    out["logprobs"] = own;
    out["sum_logprob"] = sum;
    print_line(out);
  }
}

}  // namespace

void add_score(Command& program) {
  auto options = std::make_shared<Options>();
  Command command = program.add_subcommand("score", "log-probabilities of given completions");
  command.add_option("MODEL", options->model, "folder or .gguf file").required();
  command.add_option("--input", options->input, "JSONL file (default: standard input)");
  options->device.add_to(command);
  command.callback([options] {
    const auto [device, dtype] = options->device.open();
    const Model model = open_model(*device, options->model, dtype);
    for_each_chunk(
        options->input, 16, [&](const JsonLine& line) { return parse_item(line, model); },
        [&](const std::vector<Item>& items) { score_chunk(model, items); });
  });
}

}  // namespace thinker
