// Length control: judges like long answers, and without a counterweight every iteration makes responses longer.
//
//     s_i = z(score_i) - rho * z(length_i),   z(x_i) = (x_i - mean) / sd   over one prompt's valid samples
//
// Source: the paper's section on length control; the length is the *response's*, the thought is free. rho is in [0,
// 0.5].
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace thinker {

/// z-scores with the population standard deviation. A constant vector (compared exactly: its computed deviation may be
/// a rounding error above 0, which would blow up) and a vector of one give zeros.
std::vector<double> z_scores(std::span<const double> values);

/// s_i of one prompt. rho = 0 leaves z(score).
std::vector<double> length_controlled(std::span<const double> scores, std::span<const int64_t> lengths, double rho);

}  // namespace thinker
