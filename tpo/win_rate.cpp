#include "tpo/win_rate.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tensor/check.h"
#include "tpo/logistic.h"

namespace thinker {

namespace {

constexpr double kLambda = 0.01;
constexpr int kMaxSteps = 200;

/// Games of equal outcome and length difference count as one with a weight. Answers have few lengths, so there are
/// few kinds of game, and a resample of the bootstrap is a count of each.
struct Kinds {
  std::vector<double> wins, differences;
  std::vector<size_t> of_game;

  Kinds(std::span<const double> won, std::span<const double> length_differences) {
    std::map<std::pair<double, double>, size_t> known;
    for (size_t i = 0; i < won.size(); ++i) {
      const auto [kind, is_new] = known.try_emplace({won[i], length_differences[i]}, wins.size());
      of_game.push_back(kind->second);
      if (!is_new) continue;
      wins.push_back(won[i]);
      differences.push_back(length_differences[i]);
    }
  }
};

/// tanh(d / sd(d)), sd being that of all games: zeros where all differences are equal, since length then cannot be told
/// from the model.
std::vector<double> length_terms(std::span<const double> differences, std::span<const double> counts) {
  double games = 0, sum = 0, squares = 0, low = INFINITY, high = -INFINITY;
  for (size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] == 0) continue;
    games += counts[i];
    sum += counts[i] * differences[i];
    low = std::min(low, differences[i]);
    high = std::max(high, differences[i]);
  }
  std::vector<double> terms(differences.size());
  if (!(low < high)) return terms;
  for (size_t i = 0; i < counts.size(); ++i) squares += counts[i] * std::pow(differences[i] - sum / games, 2);
  const double sd = std::sqrt(squares / (games - 1));
  for (size_t i = 0; i < terms.size(); ++i) terms[i] = std::tanh(differences[i] / sd);
  return terms;
}

/// The objective, and its first and second derivatives by theta (0) and phi (1).
struct Objective {
  double value = 0, d0 = 0, d1 = 0, h00 = 0, h01 = 0, h11 = 0;

  Objective(const LengthFit& at, std::span<const double> wins, std::span<const double> terms,
            std::span<const double> counts) {
    for (size_t i = 0; i < wins.size(); ++i) {
      const double t = terms[i], logit = at.theta + at.phi * t, p = sigmoid(logit), weight = counts[i] * p * (1 - p);
      const double excess = counts[i] * (p - wins[i]);
      value += counts[i] * (softplus(logit) - wins[i] * logit);
      d0 += excess;
      d1 += excess * t;
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

/// Newton's method on games of `kinds`, each as often as counts says.
LengthFit fit(const Kinds& kinds, std::span<const double> counts) {
  const std::vector<double>& wins = kinds.wins;
  const std::vector<double> terms = length_terms(kinds.differences, counts);
  LengthFit fit;
  Objective now(fit, wins, terms, counts);
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
      const Objective then(next, wins, terms, counts);
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

std::vector<double> counts_of(const Kinds& kinds, std::span<const int64_t> games) {
  std::vector<double> counts(kinds.wins.size());
  for (int64_t i : games) ++counts[kinds.of_game[i]];
  return counts;
}

}  // namespace

double LengthFit::win_rate() const {
  return sigmoid(theta);
}

LengthFit fit_length(std::span<const double> wins, std::span<const double> length_differences) {
  ENSURE(wins.size() == length_differences.size(), wins.size(), " wins but ", length_differences.size(), " lengths");
  for (size_t i = 0; i < wins.size(); ++i)
    ENSURE(wins[i] >= 0 && wins[i] <= 1 && std::isfinite(length_differences[i]), "a win of ", wins[i]);
  const Kinds kinds(wins, length_differences);
  std::vector<int64_t> once(wins.size());
  std::iota(once.begin(), once.end(), 0);
  return fit(kinds, counts_of(kinds, once));
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
  const Kinds kinds(wins, differences);
  s.length_interval = bootstrap_interval(
      s.games, [&](std::span<const int64_t> drawn) { return fit(kinds, counts_of(kinds, drawn)).win_rate(); }, seed);
  for (const auto& [category, list] : by_category)
    s.categories[category] = {static_cast<int64_t>(list.size()), mean(list), bootstrap_interval(list, seed)};
  return s;
}

}  // namespace thinker
