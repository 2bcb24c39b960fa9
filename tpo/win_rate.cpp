#include "tpo/win_rate.h"

#include <algorithm>
#include <cmath>

#include "tensor/check.h"
#include "tpo/logistic.h"

namespace thinker {

namespace {

constexpr double kLambda = 0.01;
constexpr int kMaxSteps = 200;

/// tanh(d / sd(d)): zeros where all differences are equal, since length then cannot be told from the model.
std::vector<double> length_terms(std::span<const double> differences) {
  std::vector<double> terms(differences.begin(), differences.end());
  const auto [low, high] = std::minmax_element(terms.begin(), terms.end());
  const double sd = sample_sd(differences);
  const bool equal = terms.empty() || *low == *high;
  for (double& t : terms) t = equal ? 0 : std::tanh(t / sd);
  return terms;
}

/// The objective, and its first and second derivatives by theta (0) and phi (1).
struct Objective {
  double value = 0, d0 = 0, d1 = 0, h00 = 0, h01 = 0, h11 = 0;

  Objective(const LengthFit& at, std::span<const double> wins, std::span<const double> terms) {
    for (size_t i = 0; i < wins.size(); ++i) {
      const double t = terms[i], logit = at.theta + at.phi * t, p = sigmoid(logit), weight = p * (1 - p);
      value += softplus(logit) - wins[i] * logit;
      d0 += p - wins[i];
      d1 += (p - wins[i]) * t;
      h00 += weight;
      h01 += weight * t;
      h11 += weight * t * t;
    }
    value += kLambda / 2 * (at.theta * at.theta + at.phi * at.phi);
    d0 += kLambda * at.theta;
    d1 += kLambda * at.phi;
    h00 += kLambda;
    h11 += kLambda;
  }
};

}  // namespace

double LengthFit::win_rate() const {
  return sigmoid(theta);
}

LengthFit fit_length(std::span<const double> wins, std::span<const double> length_differences) {
  ENSURE(wins.size() == length_differences.size(), wins.size(), " wins but ", length_differences.size(), " lengths");
  for (size_t i = 0; i < wins.size(); ++i)
    ENSURE(wins[i] >= 0 && wins[i] <= 1 && std::isfinite(length_differences[i]), "a win of ", wins[i]);
  const std::vector<double> terms = length_terms(length_differences);
  LengthFit fit;
  Objective now(fit, wins, terms);
  for (int step = 0; step < kMaxSteps; ++step) {
    const double determinant = now.h00 * now.h11 - now.h01 * now.h01;
    const double theta = (now.h11 * now.d0 - now.h01 * now.d1) / determinant;
    const double phi = (now.h00 * now.d1 - now.h01 * now.d0) / determinant;
    // A whole step may overshoot where the sigmoid is flat: it is halved until the objective falls. Close to the
    // minimum a whole step is right, and what it gains would be lost in the objective's rounding.
    const bool close = std::abs(theta) + std::abs(phi) < 1e-4;
    double share = 1;
    LengthFit next;
    for (;; share /= 2) {
      next = {fit.theta - share * theta, fit.phi - share * phi};
      const Objective then(next, wins, terms);
      if (close || !(then.value > now.value) || share < 1e-10) {
        now = then;
        break;
      }
    }
    fit = next;
    if (share * (std::abs(theta) + std::abs(phi)) < 1e-12) break;
  }
  return fit;
}

WinSummary summarise_wins(std::span<const Contest> contests, uint64_t seed) {
  WinSummary s;
  std::vector<double> wins, differences;
  std::map<std::string, std::vector<double>> by_category;
  for (const Contest& c : contests) {
    if (!c.win) {
      ++s.unjudged;
      continue;
    }
    s.counts.add(*c.win, 0.5);
    wins.push_back(*c.win);
    differences.push_back(c.length_difference);
    by_category[c.category].push_back(*c.win);
  }
  s.games = static_cast<int64_t>(wins.size());
  if (wins.empty()) return s;
  s.rate = mean(wins);
  s.interval = bootstrap_interval(wins, seed);
  s.length = fit_length(wins, differences);
  s.length_interval = bootstrap_interval(
      s.games,
      [&](std::span<const int64_t> drawn) {
        std::vector<double> w, d;
        for (int64_t i : drawn) {
          w.push_back(wins[i]);
          d.push_back(differences[i]);
        }
        return fit_length(w, d).win_rate();
      },
      seed);
  for (const auto& [category, list] : by_category)
    s.categories[category] = {static_cast<int64_t>(list.size()), mean(list), bootstrap_interval(list, seed)};
  return s;
}

}  // namespace thinker
