// The reward judge: a trained reward model reads the chat template over the user's messages and the response, end of
// turn included, and its reward is the score. What it reads is encoded from the JudgeView, and nothing else.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tensor/device.h"
#include "tpo/judge.h"
#include "tpo/model.h"

namespace thinker {

class RewardJudge : public Judge {
 public:
  /// Throws Error when the path is not of a reward model. The weights are loaded by the first call of judge(), in fp32:
  /// bf16 would make near rewards equal. `device`: auto, cpu or cuda.
  RewardJudge(const std::string& path, const std::string& device);

  /// Responses to one prompt that follow each other share its rows. A text that the model cannot encode, or that does
  /// not fit its context, is that view's error. Scores depend on the other views by rounding only.
  std::vector<Judged> judge(std::span<const JudgeView> views, const OnJudged& on_judged = {}) override;

 private:
  std::string path_, device_name_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<TextRewardModel> model_;
};

}  // namespace thinker
