// The trainers: supervised fine-tuning, Direct Preference Optimization and reward models. All walk the data in
// optimizer batches; an optimizer batch is cut into micro-batches by a budget of tokens, which changes memory and speed
// but neither loss nor gradients: every weight in a loss is formed from the whole optimizer batch before its first
// micro-batch runs.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "nn/optimizer.h"
#include "nn/reward_model.h"
#include "nn/schedule.h"
#include "nn/transformer.h"
#include "tpo/dpo.h"
#include "tpo/reward_loss.h"

namespace thinker {

enum class Order { shuffled, as_given };

struct TrainOptions {
  double lr = 5e-7;
  ScheduleKind schedule = ScheduleKind::linear;
  int64_t warmup = 0;  // steps
  int64_t batch = 32;  // examples an optimizer step
  int64_t epochs = 1;
  int64_t steps = 0;            // of the whole training, in as many epochs as they take; 0: `epochs` decides
  int64_t micro_tokens = 2048;  // rows of one forward, as far as a single example is not larger
  Order order = Order::shuffled;
  uint64_t seed = 0;
  uint32_t iteration = 0;  // part of the shuffle's random stream
  AdamWOptions adamw = {};
};

/// One optimizer step, as it was before its update.
struct StepLog {
  int64_t step = 0, epoch = 0;  // both from 1
  double loss = 0, grad_norm = 0, lr = 0, tokens_per_s = 0, seconds = 0;
  int64_t tokens = 0;  // trained tokens of the step
  DpoMeter dpo;        // empty but for preference training
  RewardMeter reward;  // empty but for reward models
};

struct TrainHooks {
  std::function<void(const StepLog&)> on_step = {};
  std::function<void(int64_t epoch)> on_epoch = {};  // after each epoch, from 1
};

/// A sequence and which of its tokens are trained (never the first).
struct SftExample {
  std::vector<int32_t> ids;
  std::vector<uint8_t> trained;
};

/// Loss = -(sum of the optimizer batch's trained log-probs) / (their number). Throws Error when there are no examples,
/// when one of them has no token to train on, or when a loss or a gradient is not finite.
void train_sft(Transformer& model, const std::vector<SftExample>& examples, const TrainOptions& options,
               const TrainHooks& hooks);

/// Token ids of a preference pair. Both completions end with the end token, or where the sampler stopped.
struct IdPair {
  std::vector<int32_t> prompt, chosen, rejected;
  // Runs [begin, end) of tokens that were written for the model, not sampled from it: they count in no sum.
  std::vector<std::pair<int64_t, int64_t>> chosen_forced = {}, rejected_forced = {};
};

/// Tokens of a completion that the model drew: all but those that were written for it.
int64_t drawn_tokens(const std::vector<int32_t>& ids, const std::vector<std::pair<int64_t, int64_t>>& forced);

/// The reference's sums of log-probs for one pair.
struct ReferenceLogps {
  double chosen = 0, rejected = 0;
};

/// One pass of the reference over all pairs, in the packing of training's first epoch: with the policy's own weights as
/// reference, the first step's margins are then exactly 0.
std::vector<ReferenceLogps> reference_logps(const Transformer& reference, const std::vector<IdPair>& pairs,
                                            const TrainOptions& options);

/// The same with the policy itself as the reference, as it was before any training of its adapters: these are off.
std::vector<ReferenceLogps> reference_logps_of_start(Transformer& policy, const std::vector<IdPair>& pairs,
                                                     const TrainOptions& options);

/// Whether the reference is the policy at the start of training, so that the first margins must be 0.
enum class ReferenceIs { start, other };

/// Trains `policy` on the pairs; loss = mean over the pairs of an optimizer batch (tpo/dpo.h). `optimizer` continues
/// where it stands: with optimizer.steps() at a whole number of epochs, the remaining steps are run. With
/// ReferenceIs::start, throws Error when the first micro-batch does not reproduce the reference (exactly on the CPU;
/// 1e-3 a sum elsewhere). Throws Error also when there are no pairs, when `reference` has not one entry a pair, when a
/// run of forced tokens lies outside its completion, when a log-prob or a gradient is not finite, or when `optimizer`
/// stands within an epoch.
void train_dpo(Transformer& policy, AdamW& optimizer, const std::vector<IdPair>& pairs,
               const std::vector<ReferenceLogps>& reference, ReferenceIs reference_is, const DpoOptions& loss,
               const TrainOptions& options, const TrainHooks& hooks);

/// A pair for a reward model. Nothing in it was written for the model: all its tokens count.
struct RewardPair {
  std::vector<int32_t> prompt, chosen, rejected;
  double margin = 0.0;  // by how much the chosen's reward is to lead
};

/// Trains on the pairs; loss = mean over the pairs of an optimizer batch (tpo/reward_loss.h). `optimizer` continues
/// where it stands, as in train_dpo. Throws Error when there are no pairs, when a reward or a gradient is not finite,
/// or when `optimizer` stands within an epoch.
void train_reward(RewardModel& model, AdamW& optimizer, const std::vector<RewardPair>& pairs, double center,
                  const TrainOptions& options, const TrainHooks& hooks);

/// The rewards of all pairs, in their order.
std::vector<PairRewards> pair_rewards(const RewardModel& model, const std::vector<RewardPair>& pairs,
                                      const TrainOptions& options);

/// Tokens of the longest sequence in an example: of a pair's two, the prompt with the longer completion.
int64_t longest(const SftExample& example);
int64_t longest(const IdPair& pair);
int64_t longest(const RewardPair& pair);

/// Removes the examples that are longer than the model's context, in tokens, and returns how many that were. Nothing is
/// cut: a completion without its end would be trained as if it ended there.
template <class Example>
int64_t drop_longer_than(int64_t context, std::vector<Example>& examples) {
  return static_cast<int64_t>(std::erase_if(examples, [&](const Example& e) { return longest(e) > context; }));
}

/// Optimizer steps of an epoch; the last partial batch counts.
int64_t steps_per_epoch(int64_t examples, const TrainOptions& options);

/// Optimizer steps of the whole training.
int64_t total_steps(int64_t examples, const TrainOptions& options);

/// Epochs of the whole training; with `steps` given, the last one may end early.
int64_t total_epochs(int64_t examples, const TrainOptions& options);

}  // namespace thinker
