#include "tpo/judges/reward.h"

#include <cmath>

#include "tensor/check.h"
#include "tokenizer/error.h"

namespace thinker {

namespace {

constexpr int64_t kRows = 4096;  // of one forward: enough for efficient products, little memory

/// A packed forward in the making, and whose rewards it will give.
struct Packed {
  Batch batch;
  std::vector<size_t> views;
  std::vector<int32_t> prompt;  // the last one added
  Batch::Prefix prefix;

  void add(size_t view, const std::vector<int32_t>& prompt_ids, const std::vector<int32_t>& response_ids) {
    if (views.empty() || prompt_ids != prompt) {
      prefix = batch.add_prompt(prompt_ids);
      prompt = prompt_ids;
    }
    batch.add_response(prefix, response_ids);
    views.push_back(view);
  }
};

void score(std::vector<Judged>* results, const Packed& packed, const RewardModel& model) {
  if (packed.views.empty()) return;
  Tape tape(model.device(), Tape::Mode::no_grad);
  const std::vector<float> rewards = model.rewards(tape, packed.batch).to_host<float>();
  for (size_t i = 0; i < packed.views.size(); ++i) {
    Judged& judged = (*results)[packed.views[i]];
    if (std::isfinite(rewards[i]))
      judged.score = rewards[i];
    else
      judged.error = "the reward is not finite";
  }
}

}  // namespace

RewardJudge::RewardJudge(const std::string& path, const std::string& device) : path_(path), device_name_(device) {
  check_reward_model(path);
}

std::vector<Judged> RewardJudge::judge(std::span<const JudgeView> views, const OnJudged& on_judged) {
  std::vector<Judged> results(views.size());
  if (views.empty()) return results;
  if (!model_) {
    device_ = open_device(device_name_);
    model_ = std::make_unique<TextRewardModel>(open_reward_model(*device_, path_, DType::F32, NoScore::refused));
  }
  const int64_t context = model_->net.body().config().context;
  Packed packed;
  for (size_t i = 0; i < views.size(); ++i) {
    std::vector<int32_t> prompt, response;
    try {
      prompt = model_->text.prompt_ids(views[i].prompt());
      response = model_->text.completion_ids(views[i].response());
    } catch (const TokenizerError& e) {
      results[i].error = e.what();
      continue;
    }
    const auto tokens = static_cast<int64_t>(prompt.size() + response.size());
    if (prompt.empty()) {
      results[i].error = "the prompt has no tokens";
    } else if (tokens > context) {
      results[i].error =
          concat("prompt and response have ", tokens, " tokens; the reward model's context is ", context);
    } else {
      if (packed.batch.size() + tokens > kRows) {
        score(&results, packed, model_->net);
        packed = {};
        if (on_judged) on_judged(static_cast<int64_t>(i));
      }
      packed.add(i, prompt, response);
    }
  }
  score(&results, packed, model_->net);
  return results;
}

}  // namespace thinker
