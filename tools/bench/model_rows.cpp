#include "tools/bench/model_rows.h"

#include <algorithm>
#include <numeric>

#include "nn/generate.h"
#include "nn/lora.h"
#include "nn/optimizer.h"
#include "tpo/training.h"

namespace thinker {

namespace {

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

/// Operations of a training step's products: the head runs again in backward, and weights that adapters leave frozen
/// need no gradients of their own. (Attention and the adapters are not counted.)
double training_operations(const Transformer& net, double body_rows, double head_rows) {
  const Cost cost(net);
  const double passes = net.lora() ? 2.0 : 3.0;
  return 2.0 * (passes * cost.body * body_rows + (passes + 1.0) * cost.head * head_rows);
}

/// Bytes of the weights that a token's forward reads: all matrices but the rows of a table that is no head.
double read_bytes(const Transformer& net) {
  double bytes = 0.0;
  net.visit([&](const std::string& name, const Tensor& w) {
    const bool only_table = name == "model.embed_tokens.weight" && !net.config().tied_head;
    if (w.shape().rank() == 2 && !only_table) bytes += static_cast<double>(w.bytes());
  });
  return bytes;
}

}  // namespace

void bench_generate(const Transformer& net, const Sampling& work, int64_t repeat, Machine& machine) {
  const double speed =
      static_cast<double>(work.prompts * work.samples * work.new_tokens) / sampling_seconds(net, work, repeat);
  const Cost cost(net);
  const double gflops = speed * 2e-9 * (cost.body + cost.head),
               gigabytes = speed / static_cast<double>(work.rows) * read_bytes(net) * 1e-9;
  if (work.rows == 1)
    machine.row_of_bandwidth(work.what, speed, "tokens/s", gigabytes);
  else if (is_gpu(net.device()))
    machine.row_of_limit(work.what, speed, "tokens/s", gflops, gigabytes);
  else  // packed weights have other sizes than those counted here
    machine.row_of_products(work.what, speed, "tokens/s", gflops);
}

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

void bench_score(const Transformer& net, const std::string& what, int64_t prompt, int64_t completions, int64_t length,
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

void bench_sft(Transformer& net, const std::string& what, const std::vector<int64_t>& lengths, int64_t micro_tokens,
               int64_t repeat, Machine& machine) {
  const double seconds = sft_step_seconds(net, lengths, micro_tokens, repeat);
  const auto tokens = static_cast<double>(std::accumulate(lengths.begin(), lengths.end(), int64_t{0}));
  machine.row_of_products(what, tokens / seconds, "tokens/s",
                          training_operations(net, tokens, tokens) * 1e-9 / seconds);
}

void bench_dpo(Transformer& net, const Preferences& work, int64_t micro_tokens, int64_t repeat, Machine& machine) {
  Rng rng(7, Purpose::generate_data, 2);
  const int64_t vocab = net.config().vocab, last = std::max<int64_t>(work.pairs - 1, 1);
  std::vector<IdPair> pairs;
  double body_rows = 0, head_rows = 0;
  for (int64_t i = 0; i < work.pairs; ++i) {
    const int64_t range = work.longest - work.shortest, chosen = work.shortest + range * i / last,
                  rejected = work.shortest + range * (last - i) / last;
    pairs.push_back(
        {random_ids(rng, work.prompt, vocab), random_ids(rng, chosen, vocab), random_ids(rng, rejected, vocab)});
    body_rows += static_cast<double>(work.prompt + chosen - 1 + rejected - 1);
    head_rows += static_cast<double>(chosen + rejected);
  }
  TrainOptions options;
  options.lr = 0.0;  // the weights stay as they are
  options.batch = work.pairs;
  options.epochs = repeat + 1;
  options.schedule = ScheduleKind::constant;
  options.micro_tokens = micro_tokens;
  const std::vector<ReferenceLogps> reference =
      net.lora() ? reference_logps_of_start(net, pairs, options) : reference_logps(net, pairs, options);
  double best = 1e30;
  TrainHooks hooks;
  hooks.on_step = [&](const StepLog& step) {
    if (step.step > 1) best = std::min(best, step.seconds);
  };
  {  // gone before the machine is measured: its matrices are not to count in the peak of memory
    AdamW optimizer(net, options.adamw);
    train_dpo(net, optimizer, pairs, reference, ReferenceIs::start, {}, options, hooks);
  }
  machine.row_of_products(work.what, static_cast<double>(work.pairs) / best, "pairs/s",
                          training_operations(net, body_rows, head_rows) * 1e-9 / best);
}

}  // namespace thinker
