// thinker bench: what this machine can do, and what share of it the work of a real model reaches. Each figure is the
// best of a few repetitions in this one process, and what the machine can do is measured beside each: on a shared host
// it doubles and halves within a minute, by what the neighbours do.
#include <sys/resource.h>

#include <cstdio>
#include <filesystem>
#include <iostream>
#include <utility>

#include "nn/generate.h"
#include "nn/optimizer.h"
#include "tools/bench_work.h"
#include "tools/common.h"
#include "tools/plan.h"
#include "tpo/training.h"

namespace thinker {

namespace {

struct Options {
  std::string model, config, only;
  DeviceOptions device;
  int64_t repeat = 3;
  bool scaling = false, memory = false;

  bool wants(std::string_view what) const { return what.find(only) != what.npos; }
};

void row(const char* what, double value, const char* unit, double share = -1.0, const char* of = "") {
  if (share >= 0.0)
    std::printf("%-58s %9.2f %-9s %5.1f %% of %s\n", what, value, unit, 100.0 * share, of);
  else
    std::printf("%-58s %9.2f %s\n", what, value, unit);
  std::fflush(stdout);
}

/// The measure of all shares: what the device can do at the moment. A share is of the faster of two measurements, the
/// last one before the work and one right after it.
class Machine {
 public:
  /// Measures, with a row for each.
  Machine(Device& device, DType t, int64_t repeat) : device_(device), t_(t), repeat_(repeat) {
    const auto product = [&](int64_t m, int64_t n, int64_t k) {
      const double speed = product_speed(device_, t_, m, n, k, repeat_);
      row(concat("product ", m, " x ", n, " x ", k).c_str(), speed, "GFLOP/s");
      return speed;
    };
    const int64_t side = side_of_large_product(device_);
    products_ = product(side, side, side);
    products_ = std::max(products_, product(512, 1536, 576));
    product(512, 49152, 576);
    product(32, 1536, 576);
    product(4096, 384, 128);
    reading_ = reading();
    row("reading memory", reading_, "GB/s");
  }

  /// A row of work that has just been done at `gflops` GFLOP/s.
  void row_of_products(const std::string& what, double value, const char* unit, double gflops) {
    ++works_;
    const double before = std::exchange(products_, best_product_speed(device_, t_, repeat_));
    row(what.c_str(), value, unit, gflops / std::max(before, products_), "products");
  }
  /// A row of work that has just been done, which read `gigabytes` GB/s.
  void row_of_bandwidth(const std::string& what, double value, const char* unit, double gigabytes) {
    ++works_;
    const double before = std::exchange(reading_, reading());
    row(what.c_str(), value, unit, gigabytes / std::max(before, reading_), "memory bandwidth");
  }
  /// Rows of work so far.
  int64_t works() const { return works_; }

 private:
  /// GB/s of reading memory far larger than any cache: a product with one row.
  double reading() const {
    constexpr int64_t kRows = 65536, kColumns = 2048;
    return 0.5 * static_cast<double>(size_of(t_)) * product_speed(device_, t_, 1, kRows, kColumns, repeat_);
  }

  Device& device_;
  DType t_;
  int64_t repeat_;
  double products_ = 0.0, reading_ = 0.0;
  int64_t works_ = 0;
};

/// What the model costs: weights in products (each once a token) and in the head.
struct Cost {
  double body, head;  // multiply-adds a token
  explicit Cost(const Transformer& net) {
    const Config& c = net.config();
    head = static_cast<double>(c.vocab * c.width);
    body = static_cast<double>(
        c.layers * (2 * c.width * c.heads * c.head_dim + 2 * c.width * c.kv_heads * c.head_dim + 3 * c.width * c.ffn));
  }
};

void bench_generate(const Transformer& net, const Sampling& work, int64_t repeat, Machine& machine) {
  const double speed =
      static_cast<double>(work.prompts * work.samples * work.new_tokens) / sampling_seconds(net, work, repeat);
  const Cost cost(net);
  double weights = 0.0;  // bytes read for a token: all matrices but the rows of a table that is no head
  net.visit([&](const std::string& name, const Tensor& w) {
    const bool only_table = name == "model.embed_tokens.weight" && !net.config().tied_head;
    if (w.shape().rank() == 2 && !only_table) weights += static_cast<double>(w.bytes());
  });
  if (work.rows == 1)
    machine.row_of_bandwidth(work.what, speed, "tokens/s", speed * weights * 1e-9);
  else
    machine.row_of_products(work.what, speed, "tokens/s", speed * 2e-9 * (cost.body + cost.head));
}

/// A prompt's keys and values, up to the first token that is drawn.
void bench_prompt(const Transformer& net, const std::string& what, int64_t repeat, Machine& machine) {
  constexpr int64_t kTokens = 512;
  Rng rng(7, Purpose::generate_data, 4);
  const std::vector<GenerateRequest> request{{random_ids(rng, kTokens, net.config().vocab), 0, 1, 0}};
  GenerateOptions options;
  options.max_new = 1;
  const double seconds = best_seconds(repeat, [&] { generate(net, request, options); });
  const Cost cost(net);
  const double flops = 2.0 * (cost.body * kTokens + cost.head);
  machine.row_of_products(what, kTokens / seconds, "tokens/s", flops * 1e-9 / seconds);
}

/// A conversation's two parts, for each way to keep the weights: reading a prompt and writing one row.
void bench_weights(Device& device, const Options& options, DType t, Machine& machine) {
  if (device.backend().kind() != "cpu") return;
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

/// Log-probs of completions on one prompt, in one forward.
void bench_score(const Transformer& net, const char* what, int64_t prompt, int64_t completions, int64_t length,
                 int64_t repeat, Machine& machine) {
  Rng rng(7, Purpose::generate_data, 1);
  Batch batch;
  const auto prefix = batch.add_prompt(random_ids(rng, prompt, net.config().vocab));
  for (int64_t i = 0; i < completions; ++i) batch.add_completion(prefix, random_ids(rng, length, net.config().vocab));
  const double seconds = best_seconds(repeat, [&] {
    Tape tape(net.device(), Tape::Mode::no_grad);
    net.logprobs(tape, batch).to_host<float>();
  });
  const Cost cost(net);
  const double flops =
      2.0 * (cost.body * static_cast<double>(batch.size()) + cost.head * static_cast<double>(batch.rows.size()));
  machine.row_of_products(what, static_cast<double>(prompt + completions * length) / seconds, "tokens/s",
                          flops * 1e-9 / seconds);
}

/// A supervised step.
void bench_sft(Transformer& net, const char* what, const std::vector<int64_t>& lengths, int64_t repeat,
               Machine& machine) {
  const double seconds = sft_step_seconds(net, lengths, repeat);
  double tokens = 0;
  for (int64_t length : lengths) tokens += static_cast<double>(length);
  const Cost cost(net);
  const double flops = 2.0 * tokens * (3.0 * cost.body + 4.0 * cost.head);  // the head runs again in backward
  machine.row_of_products(what, tokens / seconds, "tokens/s", flops * 1e-9 / seconds);
}

/// A model of the demo's shape (tools/world): a training step of its seed, and sampling.
void bench_demo(Device& device, const Options& options, Machine& machine) {
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
  Transformer net(device, shape, DType::F32);
  net.initialise(1);
  std::vector<int64_t> lengths;
  for (int64_t i = 0; i < 64; ++i) lengths.push_back(24 + 48 * i / 63);
  if (options.wants(train)) bench_sft(net, train.c_str(), lengths, 20 * options.repeat, machine);
  if (options.wants(sample)) bench_generate(net, {sample, 256, 32, 8, 40}, options.repeat, machine);
}

/// A DPO step: batch 4, prompts of 128, completions of 96 to 224 tokens.
void bench_dpo(Transformer& net, const char* what, int64_t repeat, Machine& machine) {
  Rng rng(7, Purpose::generate_data, 2);
  std::vector<IdPair> pairs;
  double body_rows = 0, head_rows = 0;
  for (int64_t i = 0; i < 4; ++i) {
    const int64_t chosen = 96 + 128 * i / 3, rejected = 96 + 128 * (3 - i) / 3;
    pairs.push_back({random_ids(rng, 128, net.config().vocab),
                     random_ids(rng, chosen, net.config().vocab),
                     random_ids(rng, rejected, net.config().vocab),
                     {},
                     {}});
    body_rows += static_cast<double>(128 + chosen - 1 + rejected - 1);
    head_rows += static_cast<double>(chosen + rejected);
  }
  TrainOptions options;
  options.lr = 0.0;  // the weights stay as they are
  options.batch = 4;
  options.epochs = repeat + 1;
  options.schedule = ScheduleKind::constant;
  const std::vector<ReferenceLogps> reference = reference_logps(net, pairs, options);
  double best = 1e30;
  TrainHooks hooks;
  hooks.on_step = [&](const StepLog& step) {
    if (step.step > 1) best = std::min(best, step.seconds);
  };
  {  // gone before the machine is measured: its matrices are not to count in the peak of memory
    AdamW optimizer(net, options.adamw);
    train_dpo(net, optimizer, pairs, reference, ReferenceIs::start, {}, options, hooks);
  }
  const Cost cost(net);
  const double flops =
      2.0 * (3.0 * cost.body * body_rows + 4.0 * cost.head * head_rows);  // the head runs again in backward
  machine.row_of_products(what, 4.0 / best, "pairs/s", flops * 1e-9 / best);
}

/// The shape of --config; nothing without it.
std::optional<Config> shape_of(const Options& options) {
  if (options.config.empty()) return std::nullopt;
  const bool folder = std::filesystem::is_directory(options.config);
  return folder ? read_config(options.config) : read_config_file(options.config);
}

/// MODEL, or a model of the shape with random weights.
void bench_model(Device& device, const Options& options, DType t, const std::optional<Config>& shape,
                 Machine& machine) {
  if (!options.model.empty()) bench_weights(device, options, t, machine);
  Transformer net = shape ? model_of_shape(device, *shape, t) : open_model(device, options.model, t).net;
  const Sampling sampling[] = {{"generate, 8 rows, K = 8 of 2 prompts, 64 new tokens", 8, 2, 8, 64},
                               {"generate, 32 rows, K = 8 of 8 prompts, 64 new tokens", 32, 8, 8, 64},
                               {"generate, 64 rows, K = 8 of 8 prompts, 128 new tokens", 64, 8, 8, 128}};
  for (const Sampling& work : sampling)
    if (options.wants(work.what)) bench_generate(net, work, options.repeat, machine);
  const auto if_wanted = [&](const char* what, const auto& work) {
    if (options.wants(what)) work(what);
  };
  if_wanted("score a sequence of 512 tokens",
            [&](const char* what) { bench_score(net, what, 1, 1, 511, options.repeat, machine); });
  if_wanted("score 64 completions of 32 tokens on a prompt of 512",
            [&](const char* what) { bench_score(net, what, 512, 64, 32, options.repeat, machine); });
  if_wanted("SFT step, 8 x 512 tokens",
            [&](const char* what) { bench_sft(net, what, std::vector<int64_t>(8, 512), options.repeat, machine); });
  if_wanted("DPO step, batch 4, prompts 128, completions 96-224",
            [&](const char* what) { bench_dpo(net, what, options.repeat, machine); });
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  row("peak memory of this process", static_cast<double>(usage.ru_maxrss) / 1e6, "GB");
  row("high water of activations", static_cast<double>(device.arena().high_water()) / 1e9, "GB");
}

void run(const Options& options) {
  if (options.memory && !(options.model.empty() && options.config.empty()))
    throw UsageError("--memory is of four models of its own; `thinker train RECIPE --plan` is of one's own");
  if (options.scaling && !(options.model.empty() && options.config.empty()))
    throw UsageError("--scaling is of models of its own: it takes neither MODEL nor --config");
  if (options.memory) return print_memory_table(std::cout);
  const auto [device, t] = options.device.open();
  if (options.scaling) return print_scaling(*device, t, options.repeat);
  // A wrong name is told before the measurements.
  if (!options.model.empty()) open_tokenizer(options.model);
  const std::optional<Config> shape = shape_of(options);
  const std::string& products = options.device.dtype;
  std::printf("%s, products in %s\n", device->backend().description().c_str(),
              products == "auto" ? name(t) : products.c_str());
  Machine machine(*device, t, options.repeat);
  bench_demo(*device, options, machine);
  if (!options.model.empty() || shape) bench_model(*device, options, t, shape, machine);
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
  command.add_option("--only", options->only, "only the work whose name holds this text");
  const Argument scaling = command.add_flag("--scaling", options->scaling,
                                            "how time and memory grow with length, batch and width: JSON lines");
  command.add_flag("--memory", options->memory, "what fits on GPUs of 24, 80 and 139 GiB, predicted: a table")
      .excludes(scaling);
  options->device.add_to(command);
  command.callback([options] { run(*options); });
}

}  // namespace thinker
