// A reward model: a transformer without its output head, and one number read off a sequence's last token,
//
//     reward = score . norm(h_last)
//
// Hugging Face calls it LlamaForSequenceClassification or Qwen2ForSequenceClassification with one label: the same
// weights' names, "score.weight" (1, C), no "lm_head.weight".
#pragma once

#include "nn/transformer.h"

namespace thinker {

class RewardModel {
 public:
  /// Puts a score of zeros on a body that has no head of its own (config().tied_head): every reward is 0.
  explicit RewardModel(Transformer body);

  const Transformer& body() const { return body_; }
  const Tensor& score() const { return score_; }  // acc (1, C)
  Device& device() const { return body_.device(); }

  /// Rewards of the rows that the batch asks for (Batch::add_response), acc (M, 1).
  Tensor rewards(Tape& tape, const Batch& batch) const;

  /// Calls fn(name, tensor) for every weight, in a fixed order, by its Hugging Face name.
  template <class Fn>
  void visit(Fn&& fn) const {
    body_.visit(fn);
    fn(std::string("score.weight"), score_);
  }

  void visit_trained(const std::function<void(const std::string&, const Tensor&)>& fn) const {
    body_.visit_trained(fn);
    fn("score.weight", score_);
  }
  void zero_grad() const;

 private:
  Transformer body_;
  Tensor score_;
};

}  // namespace thinker
