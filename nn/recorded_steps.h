// Steps of decoding as recordings of a device (Backend::record): a step of few rows is hundreds of short kernels, which
// a CPU starts more slowly than a GPU computes them. What a step's kernels are, and where in memory they work, depends
// on the number of rows, not on how long the samples are by now; so the steps with as many rows share a recording.
#pragma once

#include <functional>
#include <map>
#include <memory>

#include "tensor/backend.h"

namespace thinker {

/// For one model with its adapters and one cache, while none of them moves.
class RecordedSteps {
 public:
  /// What the kernels of a step depend on.
  struct Key {
    int64_t rows, segments, logits;    // numbers of them
    int64_t longest_sequence;          // see AttentionShape
    const void *inputs, *last_output;  // where the step's memory begins, and what all else lies behind
    auto operator<=>(const Key&) const = default;
  };

  /// Does `work`, which must only start kernels, with a recording where there is one for the key.
  void run(Backend& backend, const Key& key, const std::function<void()>& work) {
    Step& step = steps_[key];
    if (++step.times == kWorthRecording && recordings_ < kMostRecordings) {
      step.recording = backend.record(work);
      if (step.recording) ++recordings_;
    }
    if (step.recording)
      step.recording->run();
    else
      work();
  }

 private:
  // A recording costs about as much as a few steps. The first steps of a shape also choose and load its kernels, which
  // cannot be recorded.
  static constexpr int64_t kWorthRecording = 4;
  static constexpr int64_t kMostRecordings = 64;  // each takes some of the device's memory

  struct Step {
    int64_t times = 0;
    std::unique_ptr<Recording> recording;
  };
  std::map<Key, Step> steps_;
  int64_t recordings_ = 0;
};

}  // namespace thinker
