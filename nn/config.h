// The shape of a decoder-only transformer of the Llama family (Llama 2 and 3, SmolLM2, Qwen2/2.5, Qwen3).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace thinker {

/// Llama-3.1's stretch of the rotary frequencies to longer contexts (arXiv 2407.21783; transformers' rope_type
/// "llama3"); see inverse_frequencies.
struct RopeScaling {
  double factor = 8.0;                                             // slow frequencies are divided by it
  double low_frequency_factor = 1.0, high_frequency_factor = 4.0;  // turns within original_context: slow, fast
  int64_t original_context = 8192;  // positions (tokens) that it was trained for at first
};

struct Config {
  std::string model_type = "llama";  // "llama", "qwen2" or "qwen3": the names and the defaults of a checkpoint
  int64_t vocab = 0;                 // V
  int64_t width = 0;                 // C
  int64_t layers = 0;
  int64_t heads = 0;       // H
  int64_t kv_heads = 0;    // Hkv
  int64_t head_dim = 0;    // D
  int64_t ffn = 0;         // F
  int64_t context = 2048;  // positions the model was made for
  double rope_theta = 10000.0;
  double norm_eps = 1e-5;
  bool tied_head = false;       // the head is the embedding table; a reward model's body, which has none, sets it too
  bool attention_bias = false;  // biases on the query, key and value products (Qwen2)
  bool head_norms = false;      // an RMS norm over each head of the queries and of the keys, before they turn (Qwen3)
  std::optional<RopeScaling> rope_scaling;

  /// Throws Error naming the first size that is missing, out of range or does not fit the others.
  void validate(const std::string& where) const;
};

/// The rotary frequencies in radians a position, (D/2): 1 / theta^(2j/D) (Su et al., arXiv 2104.09864). With
/// rope_scaling, those that make at most low_frequency_factor turns within the original context are divided by the
/// factor, those that make at least high_frequency_factor are kept, and between the two they are blended linearly.
std::vector<double> inverse_frequencies(const Config& config);

}  // namespace thinker
