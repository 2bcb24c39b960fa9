#include "tpo/supervised.h"

#include <algorithm>

#include "tokenizer/error.h"

namespace thinker {

namespace {

/// All assistant turns of a chat: the template says which ids the assistant has to write.
SftExample all_turns(const Messages& messages, const ChatTokenizer& text) {
  SftExample example;
  for (const ChatPiece& piece : render_pieces(text.tokenizer, text.chat, messages, GenerationPrompt::None)) {
    example.ids.insert(example.ids.end(), piece.ids.begin(), piece.ids.end());
    example.trained.insert(example.trained.end(), piece.ids.size(), piece.trained ? 1 : 0);
  }
  example.trained.front() = 0;
  return example;
}

SftExample encode_line(const JsonLine& line, const ChatTokenizer& text, TrainedTurns turns) {
  if (line.has("messages") && (line.has("prompt") || line.has("completion")))
    line.error("has \"messages\" and \"prompt\" or \"completion\" as well; keep one of the two forms");
  if (line.has("completion")) {
    const Json& completion = line.at("completion");
    if (line.has("prompt") && line.at("prompt").is_string() != completion.is_string())
      line.error("\"prompt\" and \"completion\" must both be texts, or both lists of messages");
    if (completion.is_string()) {
      return to_example(text.prompt_ids({{"user", line.string("prompt")}}),
                        text.completion_ids(completion.get<std::string>()));
    }
    const Messages prompt = parse_messages(line.at("prompt"), line.place(), "prompt");
    const Messages answer = parse_messages(completion, line.place(), "completion");
    if (answer.size() != 1 || answer[0].role != "assistant") line.error("\"completion\" is not one assistant message");
    return to_example(text.prompt_ids(prompt), text.completion_ids(answer[0].content));
  }
  if (line.has("prompt")) line.error("\"prompt\" has no \"completion\" beside it");
  Messages messages = line.messages();
  if (messages.back().role != "assistant" || messages.size() < 2) {
    line.error("\"messages\" must end with an assistant's message, after at least one other");
  }
  if (turns == TrainedTurns::all) return all_turns(messages, text);
  const std::string answer = std::move(messages.back().content);
  messages.pop_back();
  return to_example(text.prompt_ids(messages), text.completion_ids(answer));
}

}  // namespace

SftExample to_example(const std::vector<int32_t>& prompt, const std::vector<int32_t>& completion) {
  SftExample example{prompt, std::vector<uint8_t>(prompt.size(), 0)};
  example.ids.insert(example.ids.end(), completion.begin(), completion.end());
  example.trained.insert(example.trained.end(), completion.size(), 1);
  return example;
}

SftExample to_example(const JsonLine& line, const ChatTokenizer& text, TrainedTurns turns) {
  try {
    SftExample example = encode_line(line, text, turns);
    // A text's first token has nothing before it that could predict it. An answer has its end token, so that it is
    // never without a token itself.
    if (std::find(example.trained.begin() + 1, example.trained.end(), 1) == example.trained.end())
      line.error("has no token to train on: the prompt and the answer are both empty; write one of them");
    return example;
  } catch (const TokenizerError& e) {
    line.error(e.what());
  }
}

std::vector<SftExample> read_supervised(const std::string& path, const ChatTokenizer& text, TrainedTurns turns) {
  return read_jsonl_as(path, [&](const JsonLine& line) { return to_example(line, text, turns); });
}

}  // namespace thinker
