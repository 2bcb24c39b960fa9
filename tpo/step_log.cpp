#include "tpo/step_log.h"

namespace thinker {

Json dpo_step_to_json(const StepLog& s) {
  return {{"step", s.step},
          {"epoch", s.epoch},
          {"loss", s.loss},
          {"margin", s.dpo.margin()},
          {"reward_chosen", s.dpo.reward_chosen()},
          {"reward_rejected", s.dpo.reward_rejected()},
          {"logp_chosen", s.dpo.logp_chosen()},
          {"logp_rejected", s.dpo.logp_rejected()},
          {"accuracy", s.dpo.accuracy()},
          {"grad_norm", s.grad_norm},
          {"lr", s.lr},
          {"kl", s.dpo.kl()},
          {"tokens_per_s", s.tokens_per_s},
          {"seconds", s.seconds}};
}

Json reward_step_to_json(const StepLog& s) {
  return {{"step", s.step},
          {"epoch", s.epoch},
          {"loss", s.loss},
          {"margin", s.reward.margin()},
          {"reward_chosen", s.reward.reward_chosen()},
          {"reward_rejected", s.reward.reward_rejected()},
          {"accuracy", s.reward.accuracy()},
          {"grad_norm", s.grad_norm},
          {"lr", s.lr},
          {"tokens_per_s", s.tokens_per_s},
          {"seconds", s.seconds}};
}

Json sft_step_to_json(const StepLog& s) {
  return {{"step", s.step},           {"epoch", s.epoch}, {"loss", s.loss},
          {"grad_norm", s.grad_norm}, {"lr", s.lr},       {"tokens_per_s", s.tokens_per_s},
          {"seconds", s.seconds}};
}

}  // namespace thinker
