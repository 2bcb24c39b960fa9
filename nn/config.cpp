#include "nn/config.h"

#include <cmath>
#include <numbers>

#include "tensor/check.h"

namespace thinker {

void Config::validate(const std::string& where) const {
  constexpr int64_t kMost = int64_t{1} << 24;  // far above any real model: a bound against lying files
  auto positive = [&](const char* what, int64_t value) {
    if (value < 1 || value > kMost) fail(where, ": ", what, " = ", value, " is not a usable size");
  };
  positive("vocabulary size", vocab);
  positive("width", width);
  positive("number of layers", layers);
  positive("number of heads", heads);
  positive("number of key/value heads", kv_heads);
  positive("head size", head_dim);
  positive("number of heads times their size", heads * head_dim);
  positive("feed-forward width", ffn);
  if (context < 1) fail(where, ": a context of ", context, " positions is not usable");
  if (layers > 1024) fail(where, ": ", layers, " layers are not believable");
  if (heads % kv_heads != 0) fail(where, ": ", heads, " heads cannot share ", kv_heads, " key/value heads");
  if (head_dim % 2 != 0) fail(where, ": head size ", head_dim, " is odd; rotary embeddings need an even one");
  if (!(rope_theta > 1.0 && std::isfinite(rope_theta))) fail(where, ": rope_theta ", rope_theta, " is not usable");
  if (!(norm_eps >= 0.0 && norm_eps < 1.0)) fail(where, ": RMS-norm epsilon ", norm_eps, " is not usable");
  if (rope_scaling) {
    const RopeScaling& s = *rope_scaling;
    const bool usable = s.factor >= 1.0 && s.low_frequency_factor > 0.0 && std::isfinite(s.factor) &&
                        s.high_frequency_factor > s.low_frequency_factor && std::isfinite(s.high_frequency_factor) &&
                        s.original_context > 0;
    if (!usable) {
      fail(where, ": rope scaling by ", s.factor, " with frequency factors ", s.low_frequency_factor, " and ",
           s.high_frequency_factor, " from a context of ", s.original_context, " is not usable");
    }
  }
}

std::vector<double> inverse_frequencies(const Config& config) {
  std::vector<double> f(config.head_dim / 2);
  for (size_t j = 0; j < f.size(); ++j) {
    f[j] = std::pow(config.rope_theta, -2.0 * static_cast<double>(j) / static_cast<double>(config.head_dim));
    if (!config.rope_scaling) continue;
    const RopeScaling& s = *config.rope_scaling;
    const double wavelength = 2.0 * std::numbers::pi / f[j];
    const double turns = static_cast<double>(s.original_context) / wavelength;
    const double blend = (turns - s.low_frequency_factor) / (s.high_frequency_factor - s.low_frequency_factor);
    const double kept = std::fmin(std::fmax(blend, 0.0), 1.0);
    f[j] = kept * f[j] + (1.0 - kept) * f[j] / s.factor;
  }
  return f;
}

}  // namespace thinker
