// thinker bench --memory: the table of docs/gpu.md, by the same prediction that a plan uses.
#include <cstdio>
#include <ostream>

#include "tools/plan.h"

namespace thinker {

namespace {

struct TableModel {
  const char* name;
  Config config;
};

Config llama3(int64_t width, int64_t layers, int64_t heads, int64_t kv_heads, int64_t head_dim, int64_t ffn) {
  Config c;
  c.vocab = 128256;
  c.width = width;
  c.layers = layers;
  c.heads = heads;
  c.kv_heads = kv_heads;
  c.head_dim = head_dim;
  c.ffn = ffn;
  c.tied_head = true;
  return c;
}

/// SmolLM2-135M; Llama-3.2-1B and -3B; Llama-3-8B.
std::vector<TableModel> shapes() {
  Config small = llama3(576, 30, 9, 3, 64, 1536), large = llama3(4096, 32, 32, 8, 128, 14336);
  small.vocab = 49152;
  large.tied_head = false;
  return {{"0.135 B", small},
          {"1 B", llama3(2048, 16, 32, 8, 64, 8192)},
          {"3 B", llama3(3072, 28, 24, 8, 128, 8192)},
          {"8 B", large}};
}

/// BF16; a pair of 2,048 tokens a side, of which 1,024 are the prompt; 64 samples at a time.
RunShape table_shape() {
  RunShape shape;
  shape.training.dtype = shape.sampling.dtype = DType::BF16;
  shape.sampling.prompts = 10;
  shape.sampling.prompt_length = 1024;
  shape.sampling.max_new = 1024;
  return shape;
}

void print_row(std::ostream& out, const TableModel& model, const char* trained, const RunShape& plain) {
  RunShape again = plain;
  again.training.recompute = Recompute::blocks;
  const int64_t kept = predict_run(model.config, plain, nullptr).peak,
                recomputed = predict_run(model.config, again, nullptr).peak;
  const double gib = static_cast<double>(int64_t{1} << 30);
  char text[200];
  std::snprintf(text, sizeof text, "| %s | %s | %.1f | %.1f |", model.name, trained, static_cast<double>(kept) / gib,
                static_cast<double>(recomputed) / gib);
  out << text;
  for (const int64_t size : {24, 80, 139}) {
    const int64_t bytes = size << 30;
    out << (kept <= bytes ? " yes |" : recomputed <= bytes ? " recomputing |" : " no |");
  }
  out << "\n";
}

}  // namespace

void print_memory_table(std::ostream& out) {
  out << "| weights | trained | GiB | with `checkpoint_blocks` | 24 GiB | 80 GiB | 139 GiB |\n"
         "|---|---|---|---|---|---|---|\n";
  for (const TableModel& model : shapes()) {
    RunShape shape = table_shape();
    print_row(out, model, "all, f32 state", shape);
    shape.training.state = OptimizerState::eight_bit;
    print_row(out, model, "all, 8bit state", shape);
    shape.training.state = OptimizerState::f32;
    shape.training.lora = LoraOptions{.rank = 16};
    print_row(out, model, "adapters of rank 16", shape);
  }
}

}  // namespace thinker
