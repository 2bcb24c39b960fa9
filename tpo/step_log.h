// A training step as a line of a log.
#pragma once

#include "tpo/jsonl.h"
#include "tpo/training.h"

namespace thinker {

/// step, epoch, loss, margin, reward_chosen, reward_rejected, logp_chosen, logp_rejected, accuracy, grad_norm, lr, kl,
/// tokens_per_s, seconds: all from before the step's update.
Json dpo_step_to_json(const StepLog& step);

/// step, epoch, loss, margin, reward_chosen, reward_rejected, accuracy, grad_norm, lr, tokens_per_s, seconds.
Json reward_step_to_json(const StepLog& step);

/// step, epoch, loss, grad_norm, lr, tokens_per_s, seconds.
Json sft_step_to_json(const StepLog& step);

}  // namespace thinker
