#include "nn/reward_model.h"

namespace thinker {

RewardModel::RewardModel(Transformer body) : body_(std::move(body)) {
  ENSURE(body_.config().tied_head, "a reward model's body has no output head of its own");
  score_ = Tensor::parameter(body_.device(), {1, body_.config().width}, accumulator_of(body_.dtype()));
}

Tensor RewardModel::rewards(Tape& tape, const Batch& batch) const {
  return linear(tape, widen(tape, body_.last_rows(tape, batch)), score_);
}

void RewardModel::zero_grad() const {
  body_.zero_grad();
  score_.zero_grad();
}

}  // namespace thinker
