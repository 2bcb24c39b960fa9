// Scores from games: the Bradley-Terry model says that m beats n with probability sigma(e_m - e_n). The scores are
//
//     argmax_e  sum over m, n of B_mn log sigma(e_m - e_n)  -  lambda/2 |e|²
//
// with B_mn the number of games that m won against n (Bradley and Terry 1952; the paper's section on pairwise judges
// has it without the second term). Without that term the score of a sample that never lost is infinite, and so it is
// for any group of samples that never lost to the rest; with it the objective is strictly concave, its maximum unique
// and finite. Summed over m, the gradient is -lambda sum e, so at the maximum the scores sum to 0.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace thinker {

/// The scores of k players; wins is (k, k) row-major, wins[m*k + n] = B_mn, each finite and not negative. lambda > 0.
/// Newton's method with a line search; deterministic; rounded to multiples of 1e-9.
std::vector<double> bradley_terry(std::span<const double> wins, int64_t k, double lambda = 0.01);

}  // namespace thinker
