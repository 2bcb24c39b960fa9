// The training stage of an iteration: DPO on its pairs, with the best epoch's checkpoint kept and an interrupted
// training continued from its last whole epoch.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "nn/lora.h"
#include "tpo/model.h"
#include "tpo/training.h"

namespace thinker {

struct PreferenceStage {
  DpoOptions loss;
  TrainOptions train;
  Recompute recompute = Recompute::nothing;
  std::optional<LoraOptions> lora;  // fresh adapters learn; the weights stay as they are
  std::string base;                 // MODEL that training starts from, for the adapters' file
  std::string reference_folder;     // MODEL of the reference; empty: the policy as it is at the start
  std::function<void(const StepLog&, int64_t steps)> on_step;
  /// The held-out score of the policy after an epoch; the best epoch's weights are the result (of equals the first).
  /// Without it the last epoch's are.
  std::function<double(int64_t epoch)> select;
};

/// Trains the model in place and writes FOLDER/checkpoint. Between epochs a TrainStateFolder (train_state.h) holds what
/// is needed to go on; it is removed at the end. After an interruption a call with the same arguments (and the model as
/// it was at the iteration's start) ends with the same bits. With stage.lora the checkpoint is the model with its
/// adapters merged, and FOLDER/checkpoint/adapter holds these alone.
void train_on_pairs(Model& model, const std::vector<IdPair>& pairs, const PreferenceStage& stage,
                    const std::string& folder);

}  // namespace thinker
