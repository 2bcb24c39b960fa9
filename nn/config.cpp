#include "nn/config.h"

#include <cmath>

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
  positive("feed-forward width", ffn);
  if (layers > 1024) fail(where, ": ", layers, " layers are not believable");
  if (heads % kv_heads != 0) fail(where, ": ", heads, " heads cannot share ", kv_heads, " key/value heads");
  if (head_dim % 2 != 0) fail(where, ": head size ", head_dim, " is odd; rotary embeddings need an even one");
  if (!(rope_theta > 1.0 && std::isfinite(rope_theta))) fail(where, ": rope_theta ", rope_theta, " is not usable");
  if (!(norm_eps >= 0.0 && norm_eps < 1.0)) fail(where, ": RMS-norm epsilon ", norm_eps, " is not usable");
}

}  // namespace thinker
