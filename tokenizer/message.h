// A conversation as every file of ours holds it: a list of {"role", "content"}.
#pragma once

#include <string>
#include <vector>

namespace thinker {

struct Message {
  std::string role;  // "system", "user" or "assistant"
  std::string content;
  bool operator==(const Message&) const = default;
};

using Messages = std::vector<Message>;

}  // namespace thinker
