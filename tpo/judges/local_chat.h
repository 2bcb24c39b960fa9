// A pairwise judge's questions answered by a model that we load ourselves.
#pragma once

#include <memory>
#include <string>

#include "tpo/judges/chat.h"
#include "tpo/model.h"

namespace thinker {

class LocalChat : public Chat {
 public:
  /// model: a folder or .gguf file, read at the first question. device: auto, cpu or cuda.
  LocalChat(std::string model, std::string device, ChatOptions options);

  /// Questions are decoded together, a few dozen at a time. One that leaves no room for an answer in the model's
  /// context, or that the model cannot encode, is its reply's error. A draw depends on the question's key only.
  void ask(std::span<const ChatQuestion> questions, const OnReply& on_reply) override;

 private:
  struct Encoded {
    size_t index;
    uint64_t key;
    std::vector<int32_t> ids;
  };
  void open();
  void answer(const std::vector<Encoded>& batch, const OnReply& on_reply);
  void weigh(const Encoded& question, const OnReply& on_reply);

  std::string path_, device_name_;
  ChatOptions options_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<Model> model_;
};

}  // namespace thinker
