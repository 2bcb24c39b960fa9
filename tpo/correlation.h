// How alike two lists of numbers or of verdicts are. Where a measure is undefined (a correlation with a constant list,
// agreement beyond chance where chance explains all, fewer than two items), nothing is returned: never NaN, or a
// made-up 0. All throw Error when the two lists differ in length.
#pragma once

#include <optional>
#include <span>
#include <vector>

namespace thinker {

/// Pearson's linear correlation.
std::optional<double> pearson(std::span<const double> x, std::span<const double> y);

/// Ranks from 1; equal values share the mean of their ranks.
std::vector<double> ranks(std::span<const double> values);

/// Spearman's rank correlation (Spearman 1904): the linear correlation of the ranks.
std::optional<double> spearman(std::span<const double> x, std::span<const double> y);

/// Kendall's tau-b (Kendall, "The treatment of ties in ranking problems", 1945): (concordant - discordant) / sqrt(pairs
/// not tied in x · pairs not tied in y).
std::optional<double> kendall_tau(std::span<const double> x, std::span<const double> y);

/// Cohen's kappa of labels (Cohen, "A coefficient of agreement for nominal scales", 1960): (agreement - chance) / (1 -
/// chance), chance from each side's shares of labels.
std::optional<double> cohen_kappa(std::span<const int> x, std::span<const int> y);

}  // namespace thinker
