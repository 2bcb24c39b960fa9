#include "tpo/training.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "tpo/batching.h"

namespace thinker {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Weighted sums of log-probs by sequence, (B).
Tensor sequence_sums(Tape& tape, const Tensor& logprobs, const Batch& batch, const std::vector<float>& weights) {
  if (logprobs.dtype() == DType::F64) {
    const Tensor wide = tape.from(std::vector<double>(weights.begin(), weights.end()));
    return masked_sum(tape, logprobs, wide, tape.from(batch.offsets));
  }
  return masked_sum(tape, logprobs, tape.from(weights), tape.from(batch.offsets));
}

std::vector<float> ones(const Batch& batch) {
  return std::vector<float>(batch.rows.size(), 1.0f);
}

std::vector<double> to_doubles(const Tensor& x) {
  if (x.dtype() == DType::F64) return x.to_host<double>();
  const std::vector<float> narrow = x.to_host<float>();
  return {narrow.begin(), narrow.end()};
}

void backward_doubles(Tape& tape, const Tensor& output, const std::vector<double>& upstream) {
  if (output.dtype() == DType::F64) {
    tape.backward<double>(output, upstream);
    return;
  }
  const std::vector<float> narrow(upstream.begin(), upstream.end());
  tape.backward<float>(output, narrow);
}

/// Chosen and rejected of each pair share their prompt's rows: sequences 2i and 2i+1 of the batch.
Batch pack_pairs(const std::vector<IdPair>& pairs, const MicroBatch& micro) {
  Batch batch;
  for (int64_t i : micro) {
    const Batch::Prefix prompt = batch.add_prompt(pairs[i].prompt);
    batch.add_completion(prompt, pairs[i].chosen);
    batch.add_completion(prompt, pairs[i].rejected);
  }
  return batch;
}

/// 1 for the tokens that the model drew, 0 for those that were written for it.
std::vector<float> drawn_mask(const Batch& batch, const std::vector<IdPair>& pairs, const MicroBatch& micro) {
  std::vector<float> weights = ones(batch);
  for (size_t j = 0; j < micro.size(); ++j) {
    const IdPair& pair = pairs[micro[j]];
    for (const auto& [side, runs] : {std::pair(0, &pair.chosen_forced), std::pair(1, &pair.rejected_forced)}) {
      const int64_t first = batch.offsets[2 * j + side], length = batch.offsets[2 * j + side + 1] - first;
      for (const auto& [begin, end] : *runs) {
        ENSURE(0 <= begin && begin <= end && end <= length, "forced tokens ", begin, " to ", end, " of ", length);
        std::fill(weights.begin() + first + begin, weights.begin() + first + end, 0.0f);
      }
    }
  }
  return weights;
}

/// The same for a reward model, which reads one row of each response.
Batch pack_pairs(const std::vector<RewardPair>& pairs, const MicroBatch& micro) {
  Batch batch;
  for (int64_t i : micro) {
    const Batch::Prefix prompt = batch.add_prompt(pairs[i].prompt);
    batch.add_response(prompt, pairs[i].chosen);
    batch.add_response(prompt, pairs[i].rejected);
  }
  return batch;
}

template <class Pair>
std::vector<int64_t> rows_of(const std::vector<Pair>& pairs) {
  std::vector<int64_t> rows;
  for (const Pair& p : pairs)
    rows.push_back(static_cast<int64_t>(p.prompt.size() + p.chosen.size() + p.rejected.size()));
  return rows;
}

template <class Pair>
int64_t longest_of(const Pair& pair) {
  return static_cast<int64_t>(pair.prompt.size() + std::max(pair.chosen.size(), pair.rejected.size()));
}

void check_reference(const std::vector<double>& sums, const MicroBatch& micro,
                     const std::vector<ReferenceLogps>& reference, const Transformer& policy) {
  const double tolerance = policy.device().backend().kind() == "cpu" ? 0.0 : 1e-3;
  for (size_t j = 0; j < micro.size(); ++j) {
    const ReferenceLogps& r = reference[micro[j]];
    const double off = std::fmax(std::fabs(sums[2 * j] - r.chosen), std::fabs(sums[2 * j + 1] - r.rejected));
    if (!(off <= tolerance)) {
      fail("self-check: the policy's log-probs differ from its own reference by ", off, " before the first step; the ",
           "reference values are not those of this model");
    }
  }
}

/// The walk that all trainers share. run_batch accumulates the gradients of an optimizer batch and fills the log's
/// loss.
void walk(const std::vector<int64_t>& rows, AdamW& optimizer, const TrainOptions& options, const TrainHooks& hooks,
          const std::function<void(const OptimizerBatch&, StepLog&)>& run_batch) {
  const auto examples = static_cast<int64_t>(rows.size());
  const int64_t per_epoch = steps_per_epoch(examples, options), steps = total_steps(examples, options);
  const Schedule schedule{options.schedule, options.lr, options.warmup, steps};
  ENSURE(optimizer.steps() % per_epoch == 0 || optimizer.steps() == steps,
         "training resumes at an epoch's beginning only");
  for (int64_t epoch = optimizer.steps() / per_epoch + 1; optimizer.steps() < steps; ++epoch) {
    for (const OptimizerBatch& batch : plan_epoch(rows, options, epoch)) {
      if (optimizer.steps() == steps) break;
      const Clock::time_point start = Clock::now();
      StepLog log;
      log.step = optimizer.steps() + 1;
      log.epoch = epoch;
      run_batch(batch, log);
      log.lr = schedule.at(log.step);
      log.grad_norm = optimizer.step(log.lr);
      log.seconds = seconds_since(start);
      log.tokens_per_s = static_cast<double>(log.tokens) / log.seconds;
      if (hooks.on_step) hooks.on_step(log);
    }
    if (hooks.on_epoch) hooks.on_epoch(epoch);
  }
}

}  // namespace

int64_t drawn_tokens(const std::vector<int32_t>& ids, const std::vector<std::pair<int64_t, int64_t>>& forced) {
  auto n = static_cast<int64_t>(ids.size());
  for (const auto& [begin, end] : forced) n -= end - begin;
  return n;
}

int64_t longest(const SftExample& example) {
  return static_cast<int64_t>(example.ids.size());
}
int64_t longest(const IdPair& pair) {
  return longest_of(pair);
}
int64_t longest(const RewardPair& pair) {
  return longest_of(pair);
}

int64_t steps_per_epoch(int64_t examples, const TrainOptions& options) {
  return (examples + options.batch - 1) / options.batch;
}

int64_t total_steps(int64_t examples, const TrainOptions& options) {
  return options.steps > 0 ? options.steps : steps_per_epoch(examples, options) * options.epochs;
}

int64_t total_epochs(int64_t examples, const TrainOptions& options) {
  const int64_t per_epoch = steps_per_epoch(examples, options);
  return (total_steps(examples, options) + per_epoch - 1) / per_epoch;
}

void train_sft(Transformer& model, const std::vector<SftExample>& examples, const TrainOptions& options,
               const TrainHooks& hooks) {
  if (examples.empty()) fail("supervised training has no examples");
  std::vector<int64_t> rows, trained;
  for (const SftExample& e : examples) {
    rows.push_back(static_cast<int64_t>(e.ids.size()) - 1);
    int64_t n = 0;
    for (size_t i = 1; i < e.trained.size(); ++i) n += e.trained[i] != 0;
    if (n == 0) fail("example ", rows.size(), " of the supervised data has no token to train on");
    trained.push_back(n);
  }
  AdamW optimizer(model, options.adamw);
  model.zero_grad();
  walk(rows, optimizer, options, hooks, [&](const OptimizerBatch& batch, StepLog& log) {
    for (const MicroBatch& micro : batch) {
      for (int64_t i : micro) log.tokens += trained[i];
    }
    for (const MicroBatch& micro : batch) {
      Batch packed;
      for (int64_t i : micro) packed.add_sequence(examples[i].ids, examples[i].trained);
      Tape tape(model.device(), Tape::Mode::record);
      const Tensor sums = sequence_sums(tape, model.logprobs(tape, packed), packed, ones(packed));  // (B)
      const double weight = -1.0 / static_cast<double>(log.tokens);
      for (double s : to_doubles(sums)) log.loss += weight * s;
      backward_doubles(tape, sums, std::vector<double>(micro.size(), weight));
    }
    if (!std::isfinite(log.loss)) fail("the loss is not finite at step ", log.step, ": lower the learning rate");
  });
}

std::vector<ReferenceLogps> reference_logps(const Transformer& reference, const std::vector<IdPair>& pairs,
                                            const TrainOptions& options) {
  std::vector<ReferenceLogps> logps(pairs.size());
  for (const OptimizerBatch& batch : plan_epoch(rows_of(pairs), options, 1)) {
    for (const MicroBatch& micro : batch) {
      const Batch packed = pack_pairs(pairs, micro);
      Tape tape(reference.device(), Tape::Mode::no_grad);
      const std::vector<double> sums =
          to_doubles(sequence_sums(tape, reference.logprobs(tape, packed), packed, drawn_mask(packed, pairs, micro)));
      for (size_t j = 0; j < micro.size(); ++j) logps[micro[j]] = {sums[2 * j], sums[2 * j + 1]};
    }
  }
  return logps;
}

std::vector<ReferenceLogps> reference_logps_of_start(Transformer& policy, const std::vector<IdPair>& pairs,
                                                     const TrainOptions& options) {
  policy.set_adapters(Adapters::off);
  std::vector<ReferenceLogps> logps = reference_logps(policy, pairs, options);
  policy.set_adapters(Adapters::on);
  return logps;
}

void train_dpo(Transformer& policy, AdamW& optimizer, const std::vector<IdPair>& pairs,
               const std::vector<ReferenceLogps>& reference, ReferenceIs reference_is, const DpoOptions& loss,
               const TrainOptions& options, const TrainHooks& hooks) {
  if (pairs.empty()) fail("preference training has no pairs");
  ENSURE(reference.size() == pairs.size(), "one reference value a pair");
  policy.zero_grad();
  walk(rows_of(pairs), optimizer, options, hooks, [&](const OptimizerBatch& batch, StepLog& log) {
    int64_t batch_pairs = 0;
    for (const MicroBatch& micro : batch) batch_pairs += static_cast<int64_t>(micro.size());
    for (const MicroBatch& micro : batch) {
      const Batch packed = pack_pairs(pairs, micro);
      Tape tape(policy.device(), Tape::Mode::record);
      const Tensor sums =  // (2 pairs)
          sequence_sums(tape, policy.logprobs(tape, packed), packed, drawn_mask(packed, pairs, micro));
      const std::vector<double> policy_sums = to_doubles(sums);
      const bool first = log.step == 1 && &micro == &batch.front();
      if (first && reference_is == ReferenceIs::start) check_reference(policy_sums, micro, reference, policy);
      std::vector<double> upstream(policy_sums.size());
      for (size_t j = 0; j < micro.size(); ++j) {
        const IdPair& pair = pairs[micro[j]];
        const ReferenceLogps& r = reference[micro[j]];
        const PairLogps logps{policy_sums[2 * j],
                              policy_sums[2 * j + 1],
                              r.chosen,
                              r.rejected,
                              drawn_tokens(pair.chosen, pair.chosen_forced),
                              drawn_tokens(pair.rejected, pair.rejected_forced)};
        const PairLoss result = dpo_pair(logps, loss, batch_pairs);
        upstream[2 * j] = result.d_policy_chosen;
        upstream[2 * j + 1] = result.d_policy_rejected;
        log.dpo.add(logps, result);
        log.tokens += logps.tokens_chosen + logps.tokens_rejected;
      }
      backward_doubles(tape, sums, upstream);
    }
    log.loss = log.dpo.loss();
  });
}

void train_reward(RewardModel& model, AdamW& optimizer, const std::vector<RewardPair>& pairs, double center,
                  const TrainOptions& options, const TrainHooks& hooks) {
  if (pairs.empty()) fail("a reward model's training has no pairs");
  model.zero_grad();
  walk(rows_of(pairs), optimizer, options, hooks, [&](const OptimizerBatch& batch, StepLog& log) {
    int64_t batch_pairs = 0;
    for (const MicroBatch& micro : batch) batch_pairs += static_cast<int64_t>(micro.size());
    for (const MicroBatch& micro : batch) {
      Tape tape(model.device(), Tape::Mode::record);
      const Tensor output = model.rewards(tape, pack_pairs(pairs, micro));  // (2 pairs, 1)
      const std::vector<double> rewards = to_doubles(output);
      std::vector<double> upstream(rewards.size());
      for (size_t j = 0; j < micro.size(); ++j) {
        const RewardPair& pair = pairs[micro[j]];
        const PairRewards found{rewards[2 * j], rewards[2 * j + 1]};
        const RewardPairLoss result = reward_pair(found.chosen, found.rejected, pair.margin, center, batch_pairs);
        upstream[2 * j] = result.d_chosen;
        upstream[2 * j + 1] = result.d_rejected;
        log.reward.add(found, result);
        log.tokens += static_cast<int64_t>(pair.chosen.size() + pair.rejected.size());
      }
      backward_doubles(tape, output, upstream);
    }
    log.loss = log.reward.loss();
  });
}

std::vector<PairRewards> pair_rewards(const RewardModel& model, const std::vector<RewardPair>& pairs,
                                      const TrainOptions& options) {
  std::vector<PairRewards> found(pairs.size());
  for (const OptimizerBatch& batch : plan_epoch(rows_of(pairs), options, 1)) {
    for (const MicroBatch& micro : batch) {
      Tape tape(model.device(), Tape::Mode::no_grad);
      const std::vector<double> rewards = to_doubles(model.rewards(tape, pack_pairs(pairs, micro)));
      for (size_t j = 0; j < micro.size(); ++j) found[micro[j]] = {rewards[2 * j], rewards[2 * j + 1]};
    }
  }
  return found;
}

}  // namespace thinker
