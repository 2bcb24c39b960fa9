// Format::forced: the sampler writes the thought's markers for the model.
#pragma once

#include <string>
#include <vector>

#include "tpo/stages/sample.h"

namespace thinker {

/// Writes the format for the model: the opening marker, a budget of free thought without an end, the response marker,
/// then a free response. A model that writes the response marker by itself is left alone from there on.
class FormatForcer {
 public:
  /// text must outlive the forcer.
  FormatForcer(const ChatTokenizer& text, const SampleStage& stage);

  NextToken operator()(const GeneratedSample& sample) const;

  /// The smallest max_new with which an output whose thought takes its whole budget parses: both markers, the thought,
  /// one token of response and the end token.
  int64_t least_max_new() const;

 private:
  const ChatTokenizer& text_;
  std::string split_;
  int64_t budget_;
  std::vector<int32_t> open_ids_, split_ids_;
};

}  // namespace thinker
