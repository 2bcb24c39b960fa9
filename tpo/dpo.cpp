#include "tpo/dpo.h"

#include <cmath>

#include "tensor/check.h"
#include "tpo/logistic.h"

namespace thinker {

namespace {

/// A preference loss and its derivatives with respect to r_chosen and r_rejected.
struct Preference {
  double loss, d_chosen, d_rejected;
};

/// sigmoid, cdpo and robust are one formula: a * softplus(-beta m) + b * softplus(beta m).
Preference logistic(double m, double beta, double a, double b) {
  const double loss = a * softplus(-beta * m) + b * softplus(beta * m);
  const double d_m = beta * (b * sigmoid(beta * m) - a * sigmoid(-beta * m));
  return {loss, d_m, -d_m};
}

Preference ipo(double r_chosen, double r_rejected, const PairLogps& pair, double beta) {
  const auto t_chosen = static_cast<double>(pair.tokens_chosen), t_rejected = static_cast<double>(pair.tokens_rejected);
  const double distance = r_chosen / t_chosen - r_rejected / t_rejected - 1 / (2 * beta);
  return {distance * distance, 2 * distance / t_chosen, -2 * distance / t_rejected};
}

Preference preference(double r_chosen, double r_rejected, const PairLogps& pair, const DpoOptions& o) {
  const double m = r_chosen - r_rejected, e = o.label_smoothing;
  switch (o.loss) {
    case DpoLoss::sigmoid: return logistic(m, o.beta, 1, 0);
    case DpoLoss::cdpo: return logistic(m, o.beta, 1 - e, e);
    case DpoLoss::robust: return logistic(m, o.beta, (1 - e) / (1 - 2 * e), -e / (1 - 2 * e));
    case DpoLoss::ipo: return ipo(r_chosen, r_rejected, pair, o.beta);
  }
  ENSURE(false, "a loss without a formula");
}

}  // namespace

void check_options(const DpoOptions& o) {
  if (!(std::isfinite(o.beta) && o.beta > 0)) fail("dpo.beta is ", o.beta, "; it must be above 0");
  if (!(o.label_smoothing >= 0 && o.label_smoothing < 0.5))
    fail("dpo.label_smoothing is ", o.label_smoothing, "; it must be at least 0 and below 0.5");
  if (!(std::isfinite(o.nll) && o.nll >= 0)) fail("dpo.nll is ", o.nll, "; it must be at least 0");
  if (o.label_smoothing > 0 && o.loss != DpoLoss::cdpo && o.loss != DpoLoss::robust)
    fail("dpo.label_smoothing is ", o.label_smoothing,
         ", but the loss does not use it; choose cdpo or robust, or set it to 0");
}

PairLoss dpo_pair(const PairLogps& pair, const DpoOptions& options, int64_t batch_pairs) {
  ENSURE(batch_pairs > 0, "an optimizer batch of ", batch_pairs, " pairs");
  ENSURE(pair.tokens_chosen > 0 && pair.tokens_rejected > 0, "a completion without tokens");
  for (double logp : {pair.policy_chosen, pair.policy_rejected, pair.reference_chosen, pair.reference_rejected})
    if (!std::isfinite(logp))
      fail("a log-prob in a preference pair is not finite; lower the learning rate or check the model");

  const double r_chosen = pair.policy_chosen - pair.reference_chosen;
  const double r_rejected = pair.policy_rejected - pair.reference_rejected;
  Preference p = preference(r_chosen, r_rejected, pair, options);
  if (options.nll > 0) {
    const double weight = options.nll / static_cast<double>(pair.tokens_chosen);
    p.loss -= weight * pair.policy_chosen;
    p.d_chosen -= weight;
  }
  const auto batch = static_cast<double>(batch_pairs);
  return {.loss = p.loss,
          .d_policy_chosen = p.d_chosen / batch,
          .d_policy_rejected = p.d_rejected / batch,
          .reward_chosen = options.beta * r_chosen,
          .reward_rejected = options.beta * r_rejected,
          .accuracy = r_chosen > r_rejected   ? 1.0
                      : r_chosen < r_rejected ? 0.0
                                              : 0.5};
}

void DpoMeter::add(const PairLogps& pair, const PairLoss& result) {
  ++pairs_;
  tokens_ += pair.tokens_chosen + pair.tokens_rejected;
  loss_ += result.loss;
  reward_chosen_ += result.reward_chosen;
  reward_rejected_ += result.reward_rejected;
  margin_ += result.reward_chosen - result.reward_rejected;
  logp_chosen_ += pair.policy_chosen;
  logp_rejected_ += pair.policy_rejected;
  accuracy_ += result.accuracy;
  log_ratio_ += pair.reference_chosen - pair.policy_chosen + pair.reference_rejected - pair.policy_rejected;
}

double DpoMeter::count() const {
  ENSURE(pairs_ > 0, "the means of an empty batch");
  return static_cast<double>(pairs_);
}

}  // namespace thinker
