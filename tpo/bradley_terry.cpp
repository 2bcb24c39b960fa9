#include "tpo/bradley_terry.h"

#include <cmath>

#include "tensor/check.h"
#include "tpo/logistic.h"

namespace thinker {

namespace {

class Fit {
 public:
  Fit(std::span<const double> wins, int64_t k, double lambda) : wins_(wins), k_(k), lambda_(lambda) {}

  std::vector<double> run() const {
    std::vector<double> e(k_, 0.0);
    for (int step = 0; step < 200; ++step) {
      const std::vector<double> g = gradient(e), direction = newton_direction(e, g);
      double slope = 0.0;
      for (int64_t m = 0; m < k_; ++m) slope += g[m] * direction[m];
      if (!(slope > 1e-24)) break;
      double size = 1.0;
      // Far from the maximum a step is halved until it brings a little of what the slope promises. Near it a full step
      // is right (|step|² <= slope / lambda), and the gain would be lost in the objective's rounding.
      if (slope > 1e-6) {
        const double value = objective(e);
        while (size > 1e-9 && !(objective(moved(e, direction, size)) >= value + 1e-4 * size * slope)) size /= 2;
      }
      e = moved(e, direction, size);
    }
    // Players with equal records have equal scores; rounding must not tell them apart.
    for (double& x : e) x = std::round(x * 1e9) / 1e9 + 0.0;
    return e;
  }

 private:
  double b(int64_t m, int64_t n) const { return wins_[m * k_ + n]; }

  std::vector<double> moved(std::vector<double> e, const std::vector<double>& direction, double size) const {
    for (int64_t m = 0; m < k_; ++m) e[m] += size * direction[m];
    return e;
  }

  double objective(const std::vector<double>& e) const {
    double sum = 0.0;
    for (int64_t m = 0; m < k_; ++m) {
      sum -= lambda_ / 2 * e[m] * e[m];
      for (int64_t n = 0; n < k_; ++n)
        if (m != n && b(m, n) > 0) sum += b(m, n) * log_sigmoid(e[m] - e[n]);
    }
    return sum;
  }

  std::vector<double> gradient(const std::vector<double>& e) const {
    std::vector<double> g(k_);
    for (int64_t m = 0; m < k_; ++m) {
      g[m] = -lambda_ * e[m];
      for (int64_t n = 0; n < k_; ++n)
        if (m != n) g[m] += b(m, n) * sigmoid(e[n] - e[m]) - b(n, m) * sigmoid(e[m] - e[n]);
    }
    return g;
  }

  /// Solves H d = g, with H minus the second derivative: positive definite thanks to lambda. H = L Lᵀ (Cholesky).
  std::vector<double> newton_direction(const std::vector<double>& e, const std::vector<double>& g) const {
    std::vector<double> h(k_ * k_, 0.0);
    for (int64_t m = 0; m < k_; ++m) {
      h[m * k_ + m] += lambda_;
      for (int64_t n = 0; n < m; ++n) {
        const double w = (b(m, n) + b(n, m)) * sigmoid(e[m] - e[n]) * sigmoid(e[n] - e[m]);
        h[m * k_ + n] -= w;
        h[m * k_ + m] += w;
        h[n * k_ + n] += w;
      }
    }
    for (int64_t i = 0; i < k_; ++i) {
      for (int64_t j = 0; j <= i; ++j) {
        double sum = h[i * k_ + j];
        for (int64_t t = 0; t < j; ++t) sum -= h[i * k_ + t] * h[j * k_ + t];
        h[i * k_ + j] = i == j ? std::sqrt(sum) : sum / h[j * k_ + j];
      }
    }
    std::vector<double> d = g;
    for (int64_t i = 0; i < k_; ++i) {
      for (int64_t t = 0; t < i; ++t) d[i] -= h[i * k_ + t] * d[t];
      d[i] /= h[i * k_ + i];
    }
    for (int64_t i = k_ - 1; i >= 0; --i) {
      for (int64_t t = i + 1; t < k_; ++t) d[i] -= h[t * k_ + i] * d[t];
      d[i] /= h[i * k_ + i];
    }
    return d;
  }

  std::span<const double> wins_;
  int64_t k_;
  double lambda_;
};

}  // namespace

std::vector<double> bradley_terry(std::span<const double> wins, int64_t k, double lambda) {
  ENSURE(static_cast<int64_t>(wins.size()) == k * k, wins.size(), " counts of wins for ", k, " players");
  ENSURE(lambda > 0, "Bradley-Terry without regularisation: undefeated players would have infinite scores");
  for (double w : wins) ENSURE(std::isfinite(w) && w >= 0, "a count of wins of ", w);
  return Fit(wins, k, lambda).run();
}

}  // namespace thinker
