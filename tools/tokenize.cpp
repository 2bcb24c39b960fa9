// thinker tokenize: {"text"} or {"messages"} -> {"ids"}; with --decode {"ids"} -> {"text"}.
#include "tools/common.h"

namespace thinker {

namespace {

struct Options {
  std::string model, input;
  bool decode = false;
};

Json tokenize_line(const JsonLine& line, const ChatTokenizer& text, bool decode) {
  Json out = with_id(line);
  if (line.has("text") && line.has("messages")) line.error("has both \"text\" and \"messages\"; keep one");
  if (decode) {
    const std::vector<int32_t> ids = line.ids("ids");
    for (int32_t id : ids) {
      if (id >= text.tokenizer.vocabulary_size())
        line.error("token id " + std::to_string(id) + " is outside the vocabulary");
    }
    out["text"] = text.tokenizer.decode(ids, SpecialTokens::Keep);
    return out;
  }
  if (line.has("text")) {
    out["ids"] = text.tokenizer.encode(line.string("text"), SpecialText::Parse);
    return out;
  }
  const Messages messages = line.messages();
  const bool answered = messages.back().role == "assistant";
  out["ids"] =
      render_ids(text.tokenizer, text.chat, messages, answered ? GenerationPrompt::None : GenerationPrompt::Add);
  return out;
}

}  // namespace

void add_tokenize(Command& program) {
  auto options = std::make_shared<Options>();
  Command command = program.add_subcommand("tokenize", "text or messages to token ids, and back");
  command.add_option("MODEL", options->model, "folder or .gguf file").required();
  command.add_option("--input", options->input, "JSONL file (default: standard input)");
  command.add_flag("--decode", options->decode, "ids to text");
  command.callback([options] {
    const ChatTokenizer text = open_tokenizer(options->model);
    for_each_chunk(
        options->input, 1, [&](const JsonLine& line) { return tokenize_line(line, text, options->decode); },
        [](const std::vector<Json>& out) { print_line(out.front()); });
  });
}

}  // namespace thinker
