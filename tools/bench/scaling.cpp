// thinker bench --scaling: time per token and memory against the length of a sequence, tokens a second against rows
// decoded together, time of a training step against the model's width. Weights are random: they do not change speed.
#include <iostream>

#include "tools/bench/work.h"
#include "tools/common.h"

namespace thinker {

namespace {

/// Of SmolLM2-135M's proportions.
Config shape(int64_t layers, int64_t width, int64_t vocab) {
  Config c;
  c.vocab = vocab;
  c.layers = layers;
  c.width = width;
  c.head_dim = 64;
  c.heads = c.kv_heads = width / c.head_dim;
  c.ffn = width * 8 / 3 / 64 * 64;
  c.tied_head = true;
  return c;
}

/// A device of its own for each measurement, so that its high-water marks are those of this work alone.
struct Bench {
  std::unique_ptr<Device> device;
  Transformer net;

  Bench(const std::string& kind, const Config& config, DType t) : device(open_device(kind)), net(*device, config, t) {
    net.initialise(1);
  }
  /// Bytes of activations and of their gradients at their most. Weights are not among them.
  int64_t bytes() const { return device->arena().high_water() + device->gradients().high_water(); }
};

void sequence_length(const std::string& kind, DType t, int64_t length, int64_t repeat) {
  const Config config = shape(10, 576, 8192);
  Bench scoring(kind, config, t), training(kind, config, t);
  Rng rng(7, Purpose::generate_data, 1);
  Batch batch;
  batch.add_completion(batch.add_prompt(random_ids(rng, 1, config.vocab)), random_ids(rng, length - 1, config.vocab));
  const double score = best_seconds(repeat, [&] {
    Tape tape(*scoring.device, Tape::Mode::no_grad);
    scoring.net.logprobs(tape, batch).to_host<float>();
  });
  const double train = sft_step_seconds(training.net, {length}, length, repeat);
  const auto tokens = static_cast<double>(length);
  print_line({{"plot", "length"},
              {"tokens", length},
              {"score_us_per_token", 1e6 * score / tokens},
              {"train_us_per_token", 1e6 * train / tokens},
              {"score_bytes", scoring.bytes()},
              {"train_bytes", training.bytes()}});
}

void rows(const Transformer& net, int64_t rows, int64_t repeat) {
  const Sampling work{"", rows, rows, 1, 32};
  print_line({{"plot", "batch"},
              {"rows", rows},
              {"tokens_per_s", static_cast<double>(rows * work.new_tokens) / sampling_seconds(net, work, repeat)}});
}

void width(const std::string& kind, DType t, int64_t width, int64_t repeat) {
  Bench bench(kind, shape(8, width, 8192), t);
  const std::vector<int64_t> lengths(8, 256);
  print_line({{"plot", "width"},
              {"width", width},
              {"weights", bench.net.parameters()},
              {"step_s", sft_step_seconds(bench.net, lengths, 2048, repeat)}});
}

}  // namespace

void print_scaling(Device& device, DType t, int64_t repeat) {
  const std::string kind = device.backend().kind();
  print_line({{"plot", "machine"}, {"device", device.backend().description()}});
  for (int64_t length = 128; length <= 4096; length *= 2) sequence_length(kind, t, length, repeat);
  Config smollm2 = shape(30, 576, 49152);
  smollm2.kv_heads = 3;
  const Bench decoding(kind, smollm2, t);
  for (int64_t n = 1; n <= 64; n *= 2) rows(decoding.net, n, repeat);
  for (int64_t c : {128, 256, 384, 512, 768, 1024}) width(kind, t, c, repeat);
}

}  // namespace thinker
