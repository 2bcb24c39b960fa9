#include "tpo/reward_loss.h"

#include <algorithm>
#include <cmath>

#include "tensor/check.h"
#include "tpo/logistic.h"

namespace thinker {

RewardPairLoss reward_pair(double chosen, double rejected, double margin, double center, int64_t batch_pairs) {
  ENSURE(batch_pairs > 0, "an optimizer batch of ", batch_pairs, " pairs");
  if (!std::isfinite(chosen) || !std::isfinite(rejected))
    fail("a reward is not finite; lower the learning rate or check the model");
  const double lead = chosen - rejected - margin, sum = chosen + rejected;
  const double d_lead = -sigmoid(-lead), d_sum = 2 * center * sum;
  const auto batch = static_cast<double>(batch_pairs);
  return {softplus(-lead) + center * sum * sum, (d_lead + d_sum) / batch, (-d_lead + d_sum) / batch};
}

void RewardMeter::add(const PairRewards& pair, const RewardPairLoss& result) {
  ++pairs_;
  loss_ += result.loss;
  chosen_ += pair.chosen;
  rejected_ += pair.rejected;
  accuracy_ += pair.accuracy();
}

double RewardMeter::count() const {
  ENSURE(pairs_ > 0, "the means of an empty batch");
  return static_cast<double>(pairs_);
}

Calibration calibrate(const std::vector<PairRewards>& pairs, int64_t bins) {
  ENSURE(bins > 0, "calibration in ", bins, " bins");
  Calibration result;
  const auto count = static_cast<double>(bins);
  for (int64_t b = 0; b < bins; ++b) {
    const auto at = static_cast<double>(b);
    result.bins.push_back({.low = 0.5 + 0.5 * at / count, .high = 0.5 + 0.5 * (at + 1) / count});
  }
  for (const PairRewards& pair : pairs) {
    const double confidence = sigmoid(std::fabs(pair.chosen - pair.rejected));
    const auto b = static_cast<int64_t>((confidence - 0.5) * 2 * count);
    CalibrationBin& bin = result.bins[std::min(b, bins - 1)];
    ++bin.pairs;
    bin.confidence += confidence;
    bin.accuracy += pair.accuracy();
  }
  for (CalibrationBin& bin : result.bins) {
    if (bin.pairs == 0) continue;
    result.error += std::fabs(bin.accuracy - bin.confidence) / static_cast<double>(pairs.size());
    bin.confidence /= static_cast<double>(bin.pairs);
    bin.accuracy /= static_cast<double>(bin.pairs);
  }
  return result;
}

}  // namespace thinker
