// Direct Preference Optimization on a few numbers per pair: plain host code, which returns the loss and the upstream
// gradients that seed the network's backward.
//
//     r = log pi(y|x) - log ref(y|x)       log-ratio of one completion: a sum over its tokens, end token included
//     m = r_chosen - r_rejected            with reward = beta * r and margin = beta * m
//
//     sigmoid   softplus(-beta m)                                                   Rafailov et al. 2023, equation 7
//     cdpo      (1-e) softplus(-beta m) + e softplus(beta m)                        Mitchell 2023
//     robust    ((1-e) softplus(-beta m) - e softplus(beta m)) / (1-2e)             Chowdhury et al. 2024
//     ipo       (r_chosen/T_chosen - r_rejected/T_rejected - 1/(2 beta))^2          Azar et al. 2023
//     each      + nll * (-log pi(y_chosen|x) / T_chosen)                            Pang et al. 2024 (IRPO)
//
// cdpo expects a share e of flipped labels, robust is unbiased under them. Sums for DPO and means per token for IPO are
// different losses, and both are what their authors use.
#pragma once

#include <cstdint>

namespace thinker {

enum class DpoLoss { sigmoid, ipo, cdpo, robust };

struct DpoOptions {
  DpoLoss loss = DpoLoss::sigmoid;
  double beta = 0.1;
  double label_smoothing = 0.0;  // e, for cdpo and robust: in [0, 0.5)
  double nll = 0.0;
};

/// Throws Error when a value is out of range, or when label smoothing is set for a loss that does not have it.
void check_options(const DpoOptions& options);

/// What the networks say about one pair: sums of log-probs over completion tokens, and the numbers of those tokens.
struct PairLogps {
  double policy_chosen, policy_rejected;
  double reference_chosen, reference_rejected;
  int64_t tokens_chosen, tokens_rejected;
};

struct PairLoss {
  double loss;               // this pair's own loss, not divided by the batch
  double d_policy_chosen;    // d (batch loss) / d policy_chosen: already divided by the batch's pairs, so that
  double d_policy_rejected;  // micro-batches of any size add up to the same gradient
  double reward_chosen, reward_rejected;  // beta * r
  double accuracy;                        // 1, 0, or one half when both rewards are equal
};

/// Loss and gradients of one pair in an optimizer batch of batch_pairs pairs, whose loss is the mean over them.
/// Throws Error when a log-prob is not finite or a completion has no tokens.
PairLoss dpo_pair(const PairLogps& pair, const DpoOptions& options, int64_t batch_pairs);

/// The means that a step's log line reports, over the pairs of one optimizer batch.
class DpoMeter {
 public:
  void add(const PairLogps& pair, const PairLoss& result);

  double loss() const { return loss_ / count(); }
  double reward_chosen() const { return reward_chosen_ / count(); }
  double reward_rejected() const { return reward_rejected_ / count(); }
  double margin() const { return margin_ / count(); }  // of reward_chosen - reward_rejected
  double logp_chosen() const { return logp_chosen_ / count(); }
  double logp_rejected() const { return logp_rejected_ / count(); }
  double accuracy() const { return accuracy_ / count(); }

  /// (reference - policy) summed over all completions, per token: an estimate of KL(reference || policy), unbiased when
  /// the completions are samples of the reference, as with reference "previous". It may come out negative.
  double kl() const { return log_ratio_ / static_cast<double>(tokens_); }

 private:
  double count() const;

  int64_t pairs_ = 0, tokens_ = 0;
  double loss_ = 0, reward_chosen_ = 0, reward_rejected_ = 0, margin_ = 0;
  double logp_chosen_ = 0, logp_rejected_ = 0, accuracy_ = 0, log_ratio_ = 0;
};

}  // namespace thinker
