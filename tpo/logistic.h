// The logistic function and its logarithms, which never overflow and lose no digits at either end. Each is one formula
// in exp(-|x|), which is at most 1. log(sigmoid(x)) is -softplus(-x): never write it as log(sigmoid(x) + something
// small).
#pragma once

#include <algorithm>
#include <cmath>

namespace thinker {

/// 1 / (1 + exp(-x)).
inline double sigmoid(double x) {
  const double e = std::exp(-std::abs(x));
  return (x >= 0 ? 1 : e) / (1 + e);
}

/// log(1 + exp(x)), accurate where exp(x) is tiny.
inline double softplus(double x) {
  return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x)));
}

/// log(sigmoid(x)).
inline double log_sigmoid(double x) {
  return -softplus(-x);
}

}  // namespace thinker
