// thinker score: {"messages","completion"} -> log-probs of the completion's tokens, end token included.
#include <map>

#include "tools/common.h"

namespace thinker {

namespace {

struct Options {
  std::string model, input;
  DeviceOptions device;
};

/// One packed forward for a chunk of lines; equal prompts are computed once.
void score_chunk(const Model& model, std::vector<JsonLine>& lines) {
  Batch batch;
  std::map<std::vector<int32_t>, Batch::Prefix> prompts;
  std::vector<std::vector<int32_t>> completions;
  for (const JsonLine& line : lines) {
    const std::vector<int32_t> prompt = model.text.prompt_ids(line.messages());
    auto it = prompts.find(prompt);
    if (it == prompts.end()) it = prompts.emplace(prompt, batch.add_prompt(prompt)).first;
    completions.push_back(model.text.completion_ids(line.string("completion")));
    batch.add_completion(it->second, completions.back());
  }
  Tape tape(model.net.device(), Tape::Mode::no_grad);
  const std::vector<float> logprobs = model.net.logprobs(tape, batch).to_host<float>();
  for (size_t b = 0; b < lines.size(); ++b) {
    const std::vector<float> own(logprobs.begin() + batch.offsets[b], logprobs.begin() + batch.offsets[b + 1]);
    double sum = 0.0;
    for (float x : own) sum += x;
    Json out = with_id(lines[b]);
    out["ids"] = completions[b];
    out["logprobs"] = own;
    out["sum_logprob"] = sum;
    print_line(out);
  }
}

}  // namespace

void add_score(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("score", "log-probabilities of given completions");
  command->add_option("MODEL", options->model, "folder or .gguf file")->required();
  command->add_option("--input", options->input, "JSONL file (default: standard input)");
  options->device.add_to(*command);
  command->callback([options] {
    const auto device = options->device.open();
    const Model model = open_model(*device, options->model, options->device.dtype_on(*device));
    for_each_chunk(options->input, 16, [&](std::vector<JsonLine>& lines) { score_chunk(model, lines); });
  });
}

}  // namespace thinker
