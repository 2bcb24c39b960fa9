// What an interrupted training goes on from. Beside the checkpoint that it will write, a training of several epochs
// keeps
//   FOLDER/train_state   after each epoch but the last: the weights, the optimizer's moments and state.json
//   FOLDER/best/EPOCH    with a selection among epochs: the best epoch's weights
// so that a run may be killed at any moment and loses no finished epoch.
#pragma once

#include <limits>
#include <string>
#include <vector>

#include "tpo/training.h"

namespace thinker {

/// state.json
struct TrainState {
  std::string begun_from;  // the pairs and the weights that training began with: reference values hold for no others
  int64_t epoch = 0;       // finished epochs
  int64_t best_epoch = 0;
  double best_score = -std::numeric_limits<double>::infinity();
  std::vector<ReferenceLogps> reference;
};

class TrainStateFolder {
 public:
  explicit TrainStateFolder(const std::string& folder) : state_(folder + "/train_state"), best_(folder + "/best") {}

  /// Whether a training was interrupted after an epoch. Ends a replacement that was itself interrupted.
  bool exists() const;
  /// Throws Error that names the file where it is damaged, or where training began from anything else.
  TrainState read(size_t pairs, const std::string& begun_from) const;
  /// Finished epochs that need not run again; 0 where there are none.
  int64_t finished_epochs() const;
  /// Where weights and optimizer are.
  const std::string& current() const { return state_; }

  /// An empty folder for the next state's weights and optimizer: replace() puts it, with state.json, in the place of
  /// the current one.
  std::string fresh() const;
  void replace(const TrainState& state) const;

  /// The weights of an epoch that was the best when it ended. It is removed once a state that names another is written.
  std::string best(int64_t epoch) const { return best_ + "/" + std::to_string(epoch); }
  void remove_best() const;

  /// Removes all, also what an interruption has left half done.
  void remove() const;

 private:
  std::string file() const { return state_ + "/state.json"; }

  std::string state_, best_;
};

}  // namespace thinker
