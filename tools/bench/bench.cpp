// thinker bench: what this machine can do, and what share of it the work of a real model reaches. Each figure is the
// best of a few repetitions in this one process, and what the machine can do is measured beside each.
#include <sys/resource.h>

#include <filesystem>
#include <iostream>
#include <utility>

#include "nn/lora.h"
#include "tools/bench/model_rows.h"
#include "tools/common.h"
#include "tools/plan.h"
#include "tools/train_options.h"

namespace thinker {

namespace {

struct Options {
  std::string model, config, only;
  DeviceOptions device;
  LoraFlags lora;
  int64_t repeat = 3;
  std::optional<int64_t> micro_tokens;
  bool scaling = false, memory = false;

  bool wants(std::string_view what) const { return what.find(only) != what.npos; }
  /// Rows of one forward in training. A GPU needs more of them to be busy.
  int64_t rows(Device& device) const { return micro_tokens.value_or(is_gpu(device) ? 8192 : 2048); }
};

/// A model of the demo's shape (tools/world): a training step of its seed, and sampling.
void bench_demo(Device& device, const Options& options, DType t, Machine& machine) {
  Config shape;
  shape.vocab = 64;
  shape.width = 128;
  shape.layers = 3;
  shape.heads = shape.kv_heads = 4;
  shape.head_dim = 32;
  shape.ffn = 320;
  shape.tied_head = true;
  const std::string model = concat("demo (", shape.layers, " layers, width ", shape.width, "): "),
                    train = model + "seed training, batch 64", sample = model + "K = 8 of 32 prompts";
  Transformer net(device, shape, t);
  net.initialise(1);
  std::vector<int64_t> lengths;
  for (int64_t i = 0; i < 64; ++i) lengths.push_back(24 + 48 * i / 63);
  if (options.wants(train)) bench_sft(net, train, lengths, options.rows(device), 20 * options.repeat, machine);
  if (options.wants(sample)) bench_generate(net, {sample, 256, 32, 8, 40}, options.repeat, machine);
}

/// A conversation's two parts, for each way to keep the weights: reading a prompt and writing one row.
void bench_weights(Device& device, const Options& options, DType t, Machine& machine) {
  if (is_gpu(device)) return;
  const bool gguf = options.model.ends_with(".gguf");
  for (const auto& [name, storage] : {std::pair{"full", WeightStorage::full},
                                      {"bf16", WeightStorage::bf16},
                                      {"q8", WeightStorage::q8},
                                      {"file", WeightStorage::file}}) {
    if (storage == WeightStorage::file && !gguf) continue;
    const std::string title = std::string("weights ") + name, prompt = title + ": a prompt of 512 tokens",
                      write = title + ": 1 row, 256 new tokens";
    if (!options.wants(prompt) && !options.wants(write)) continue;
    const Model model = open_model(device, options.model, t, storage);
    if (options.wants(prompt)) bench_prompt(model.net, prompt, options.repeat, machine);
    if (options.wants(write)) bench_generate(model.net, {write, 1, 1, 1, 256}, options.repeat, machine);
  }
}

/// The shape of --config; nothing without it.
std::optional<Config> shape_of(const Options& options) {
  if (options.config.empty()) return std::nullopt;
  const bool folder = std::filesystem::is_directory(options.config);
  return folder ? read_config(options.config) : read_config_file(options.config);
}

/// Work, and whether it is of a size for GPUs: a CPU does that only where --only asks for it.
template <class Work>
struct Sized {
  Work work;
  bool large = false;
};

/// MODEL, or a model of the shape with random weights.
void bench_model(Device& device, const Options& options, DType t, const std::optional<Config>& shape,
                 Machine& machine) {
  if (!options.model.empty()) bench_weights(device, options, t, machine);
  Transformer net = shape ? model_of_shape(device, *shape, t) : open_model(device, options.model, t).net;
  const auto wants = [&](const std::string& what, bool large) {
    return options.wants(what) && (!large || is_gpu(device) || !options.only.empty());
  };
  const Sized<Sampling> sampling[] = {{{"generate, 8 rows, K = 8 of 2 prompts, 64 new tokens", 8, 2, 8, 64}},
                                      {{"generate, 32 rows, K = 8 of 8 prompts, 64 new tokens", 32, 8, 8, 64}},
                                      {{"generate, 64 rows, K = 8 of 8 prompts, 128 new tokens", 64, 8, 8, 128}},
                                      {{"generate, 64 rows, K = 8 of 8 prompts, 256 new tokens", 64, 8, 8, 256}, true},
                                      {{"generate, 256 rows, K = 8 of 32 prompts, 256 new", 256, 32, 8, 256}, true}};
  for (const auto& [work, large] : sampling)
    if (wants(work.what, large)) bench_generate(net, work, options.repeat, machine);
  const std::string sequence = "score a sequence of 512 tokens",
                    completions = "score 64 completions of 32 tokens on a prompt of 512";
  if (options.wants(sequence)) bench_score(net, sequence, 1, 1, 511, options.repeat, machine);
  if (options.wants(completions)) bench_score(net, completions, 512, 64, 32, options.repeat, machine);
  const int64_t rows = options.rows(device);
  if (const std::optional<LoraOptions> lora = options.lora.resolve()) add_lora(net, *lora, 1, 0);
  for (const auto& [what, sequences, length, large] :
       {std::tuple{"SFT step, 8 x 512 tokens", 8, 512, false}, {"SFT step, 4 x 2048 tokens", 4, 2048, true}})
    if (wants(what, large))
      bench_sft(net, what, std::vector<int64_t>(sequences, length), rows, options.repeat, machine);
  const Sized<Preferences> preferences[] = {
      {{"DPO step, batch 4, prompts 128, completions 96-224", 4, 128, 96, 224}},
      {{"DPO step, batch 64, prompts 128, completions 96-224", 64, 128, 96, 224}, true},
      {{"DPO step, batch 2, prompts 1024, completions 1024", 2, 1024, 1024, 1024}, true}};
  for (const auto& [work, large] : preferences)
    if (wants(work.what, large)) bench_dpo(net, work, rows, options.repeat, machine);
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  if (!is_gpu(device)) print_row("peak memory of this process", static_cast<double>(usage.ru_maxrss) / 1e6, "GB");
  print_row("high water of activations", static_cast<double>(device.arena().high_water()) / 1e9, "GB");
}

void run(const Options& options) {
  const bool has_model = !options.model.empty() || !options.config.empty();
  if (options.memory && has_model)
    throw UsageError("--memory is of four models of its own; `thinker train RECIPE --plan` is of one's own");
  if (options.scaling && has_model)
    throw UsageError("--scaling is of models of its own: it takes neither MODEL nor --config");
  if (options.lora.resolve() && !has_model) throw UsageError("--lora-rank is for a MODEL or --config");
  if (options.memory) return print_memory_table(std::cout);
  const auto [device, t] = options.device.open();
  if (options.scaling) return print_scaling(*device, t, options.repeat);
  // A wrong name is told before the measurements.
  if (!options.model.empty()) open_tokenizer(options.model);
  const std::optional<Config> shape = shape_of(options);
  const std::string& products = options.device.dtype;
  std::cout << device->backend().description() << ", products in " << (products == "auto" ? name(t) : products)
            << std::endl;
  Machine machine(*device, t, options.repeat);
  bench_demo(*device, options, t, machine);
  if (has_model) bench_model(*device, options, t, shape, machine);
  if (machine.works() == 0) fail("--only ", options.only, ": no work has a name that holds this");
}

}  // namespace

void add_bench(Command& program) {
  auto options = std::make_shared<Options>();
  Command command = program.add_subcommand("bench", "speed of this machine, and of a model on it");
  const Argument model = command.add_option("MODEL", options->model, "folder or .gguf file");
  command.add_option("--config", options->config, "in place of MODEL: a config.json, or its folder; weights are random")
      .excludes(model);
  command.add_option("--repeat", options->repeat, "repetitions; the best counts").check(whole(1, 1000));
  command.add_option("--only", options->only,
                     "only the work whose name holds this text; on a CPU also what is of a size for GPUs");
  options->lora.add_to(command);
  command
      .add_option("--micro-tokens", options->micro_tokens,
                  "tokens of one forward in training (default: 2048, on a GPU 8192); bounds memory")
      .check(whole(1));
  const Argument scaling = command.add_flag("--scaling", options->scaling,
                                            "how time and memory grow with length, batch and width: JSON lines");
  command.add_flag("--memory", options->memory, "what fits on GPUs of 24, 80 and 139 GiB, predicted: a table")
      .excludes(scaling);
  options->device.add_to(command);
  command.callback([options] { run(*options); });
}

}  // namespace thinker
