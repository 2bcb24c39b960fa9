// Whoever answers a pairwise judge's questions: a model of ours or a server.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tokenizer/message.h"

namespace thinker {

struct ChatQuestion {
  Messages messages;
  uint64_t key = 0;  // names it in the random stream of a local model
};

struct ChatOptions {
  double temperature = 0.0;          // 0: always the most probable token
  int64_t max_new = 1024;            // tokens of an answer
  std::vector<std::string> choices;  // not empty: only the log-prob of each of these as the first token is asked for
};

struct ChatReply {
  std::string text;                             // as received
  std::vector<std::optional<double>> logprobs;  // of the choices; nothing for one that is not known
  std::string error;                            // not empty: no answer came
};

class Chat {
 public:
  virtual ~Chat() = default;

  /// Asks all questions and calls on_reply(index, reply) once for each, one call at a time, as the answers come. A
  /// failure of one question is its reply's error; one that makes going on pointless throws Error, after what had been
  /// answered was handed over.
  using OnReply = std::function<void(size_t, const ChatReply&)>;
  virtual void ask(std::span<const ChatQuestion> questions, const OnReply& on_reply) = 0;
};

}  // namespace thinker
