// The loss of a reward model on a pair, and what its rewards are worth on held-out pairs: plain host code, as
// tpo/dpo.h.
//
//     d = r_chosen - r_rejected
//     loss = softplus(-(d - margin)) + center * (r_chosen + r_rejected)^2
//
// The first part is -log sigmoid(d - margin): under the model of Bradley and Terry (1952), the chosen response wins
// with probability sigmoid(d). It leaves the sum of the two rewards free; the second part holds it near 0 (Eisenstein
// et al., "Helping or Herding?", arXiv 2312.09244, section 2), so that rewards of different prompts can be compared.
#pragma once

#include <cstdint>
#include <vector>

namespace thinker {

struct RewardPairLoss {
  double loss;      // this pair's own, not divided by the batch
  double d_chosen;  // d (batch loss) / d r_chosen: already divided by the batch's pairs
  double d_rejected;
};

/// Loss and gradients of one pair in an optimizer batch of batch_pairs pairs, whose loss is the mean over them.
/// Throws Error when a reward is not finite.
RewardPairLoss reward_pair(double chosen, double rejected, double margin, double center, int64_t batch_pairs);

/// The rewards of one pair's two responses.
struct PairRewards {
  double chosen = 0, rejected = 0;

  /// 1, 0, or one half when both are equal.
  double accuracy() const { return chosen > rejected ? 1.0 : chosen < rejected ? 0.0 : 0.5; }
};

/// The means that a step's log line reports, over the pairs of one optimizer batch.
class RewardMeter {
 public:
  void add(const PairRewards& pair, const RewardPairLoss& result);

  double loss() const { return loss_ / count(); }
  double reward_chosen() const { return chosen_ / count(); }
  double reward_rejected() const { return rejected_ / count(); }
  double margin() const { return (chosen_ - rejected_) / count(); }
  double accuracy() const { return accuracy_ / count(); }

 private:
  double count() const;

  int64_t pairs_ = 0;
  double loss_ = 0, chosen_ = 0, rejected_ = 0, accuracy_ = 0;
};

/// Pairs of similar confidence max(p, 1-p), p = sigmoid(r_chosen - r_rejected): how sure the model was of the response
/// that it ranked first, and how often that was the chosen one.
struct CalibrationBin {
  double low, high;  // of the confidence: [low, high), the last one including 1
  int64_t pairs = 0;
  double confidence = 0, accuracy = 0;  // means; 0 without pairs
};

struct Calibration {
  std::vector<CalibrationBin> bins;  // of equal width from 0.5 to 1
  double error = 0;  // expected calibration error (Guo et al., arXiv 1706.04599): mean over the pairs of their bin's
                     // |accuracy - confidence|
};

Calibration calibrate(const std::vector<PairRewards>& pairs, int64_t bins = 10);

}  // namespace thinker
