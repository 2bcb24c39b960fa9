// Which family a chat template belongs to. What it writes (template_text.h) must be the family's turns and nothing
// else: a template that did more and was rendered as the plain family would give a model text that it was not trained
// on, in silence. So whatever is not known is refused.
#include <optional>
#include <set>

#include "tokenizer/chat_template.h"
#include "tokenizer/error.h"
#include "tokenizer/template_text.h"
#include "tokenizer/utf8.h"

namespace thinker {
namespace {

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// Goes behind `part` if the text begins with it.
bool take(std::string_view& text, std::string_view part) {
  if (!text.starts_with(part)) return false;
  text.remove_prefix(part.size());
  return true;
}

bool take_end(std::string_view& text, std::string_view part) {
  if (!text.ends_with(part)) return false;
  text.remove_suffix(part.size());
  return true;
}

bool take_one_of(std::string_view& text, std::string_view marks) {
  if (text.empty() || marks.find(text[0]) == std::string_view::npos) return false;
  text.remove_prefix(1);
  return true;
}

// These words stand in templates that change messages (most often they cut thoughts out), also in places that
// template_text does not look at, such as conditions.
void check_words(std::string_view source, ChatFamily family) {
  for (const char* word :
       {"reasoning_content", "<think>", "</think>", "split(", "replace(", "lstrip", "rstrip", "strip(", "trim"}) {
    const bool trims = std::string_view(word) == "strip(" || std::string_view(word) == "trim";
    if (trims && family != ChatFamily::ChatML) continue;
    if (contains(source, word)) tokenizer_fail("changes messages (it has \"", word, "\")");
  }
}

// A token like <|im_sep|> that is not the family's.
void check_control_tokens(std::string_view text, std::initializer_list<std::string_view> known) {
  for (size_t at = text.find("<|"); at != std::string_view::npos; at = text.find("<|", at + 1)) {
    const size_t end = text.find("|>", at);
    if (end == std::string_view::npos) return;
    const std::string_view token = text.substr(at, end + 2 - at);
    bool is_known = false;
    for (const std::string_view name : known) is_known |= token == name;
    if (!is_known) tokenizer_fail("writes the token ", readable(token));
  }
}

// How a turn looks: start ROLE header_end CONTENT end.
struct Frame {
  std::string_view start, header_end, end;
};

constexpr Frame kChatML{"<|im_start|>", "\n", "<|im_end|>\n"};
constexpr Frame kLlama3{"<|start_header_id|>", "<|end_header_id|>\n\n", "<|eot_id|>"};

// Reads the turns of ChatML or Llama-3 into a ChatTemplate.
class Turns {
 public:
  Turns(ChatTemplate& chat, const Frame& frame) : chat_(chat), frame_(frame) {}

  void read(const TemplateText& written) {
    std::string_view rest = written.text;
    while (!rest.empty()) {
      if (take_one_of(rest, {&kBos, 1})) {
        chat_.writes_bos = true;
        continue;
      }
      std::string_view turn = rest.substr(0, std::min(rest.find(frame_.start, 1), rest.find(kBos)));
      rest.remove_prefix(turn.size());
      if (!take(turn, frame_.start)) tokenizer_fail("writes \"", readable(turn), "\" outside the turns");
      read_turn(turn);
    }
    if (trimmed_.size() > 1) tokenizer_fail("trims the contents of some roles only");
    chat_.trims = trimmed_.contains(true);
    if (written.always_system && chat_.system_preamble.empty()) {
      tokenizer_fail("writes a system turn of its own in every chat");
    }
    for (const std::string role : {"system", "user", "assistant"}) {
      if (!roles_.contains(role) && !roles_.contains(std::string{kRole})) {
        tokenizer_fail("does not write messages of the role ", role);
      }
    }
  }

 private:
  void read_turn(std::string_view turn) {
    const size_t header = turn.find(frame_.header_end);
    const std::string role(turn.substr(0, header));
    if (header == std::string_view::npos || contains(role, "\n")) {
      tokenizer_fail("writes \"", readable(turn), "\" after ", frame_.start);
    }
    std::string_view body = turn.substr(header + frame_.header_end.size());
    if (role == "assistant" && body.empty()) return;  // where the model goes on
    if (!take_end(body, frame_.end)) {
      tokenizer_fail("does not end a turn with \"", readable(frame_.end), "\" but writes \"", readable(turn), "\"");
    }
    if (role != "system" && role != "user" && role != "assistant" && role != std::string{kRole}) {
      tokenizer_fail("writes \"", readable(body), "\" as a message of the role ", readable(role));
    }
    if (body == std::string_view(&kContent, 1) || body == std::string_view(&kTrimmed, 1)) {
      trimmed_.insert(body[0] == kTrimmed);
      roles_.insert(role);
      return;
    }
    if (role != "system" || !read_system(body)) {
      tokenizer_fail("writes \"", readable(body), "\" as a message of the role ", readable(role));
    }
  }

  // A system message of the template's own.
  bool read_system(std::string_view body) {
    const size_t mark = body.find_first_of("\1\2\3\4\5\6\7\x0E");
    if (chat_.family == ChatFamily::ChatML) {
      if (mark != std::string_view::npos || (chat_.default_system && *chat_.default_system != body)) return false;
      chat_.default_system = std::string(body);
      return true;
    }
    std::string_view date = body.substr(0, mark);
    if (mark + 1 != body.size() || !take(date, "Cutting Knowledge Date: December 2023\nToday Date: ") ||
        !take_end(date, "\n\n") || date.empty() || contains(date, "\n") || !chat_.system_preamble.empty()) {
      return false;
    }
    std::string_view content = body.substr(mark);
    if (!take_one_of(content, "\2\3\4\5")) return false;
    chat_.system_preamble = std::string(body.substr(0, mark));
    trimmed_.insert(body[mark] == kTrimmed || body[mark] == kMaybeTrimmed);
    roles_.insert("system");
    return true;
  }

  ChatTemplate& chat_;
  const Frame& frame_;
  std::set<std::string> roles_;
  std::set<bool> trimmed_;
};

// The parts of Llama-2's turns, in any order: a template writes them in branches and variables of its own.
void read_llama2(ChatTemplate& chat, std::string_view text) {
  std::set<bool> trimmed, bos;
  bool system = false, answer = false;
  const auto content = [&](std::string_view& rest) {
    if (rest.empty() || (rest[0] != kContent && rest[0] != kTrimmed)) return false;
    trimmed.insert(rest[0] == kTrimmed);
    rest.remove_prefix(1);
    return true;
  };
  while (!text.empty()) {
    std::string_view rest = text;
    if (take(rest, "<<SYS>>\n") && take_one_of(rest, "\2\4") && take(rest, "\n<</SYS>>\n\n")) {
      take_one_of(rest, "\2");
      system = true;
    } else if (rest = text; take(rest, " ") && content(rest) && take(rest, " \x0E")) {
      answer = true;
    } else {
      rest = text;
      const bool begins = take_one_of(rest, "\7");
      if (!take(rest, "[INST] ") || !content(rest) || !take(rest, " [/INST]")) {
        tokenizer_fail("writes \"", readable(text), "\"");
      }
      bos.insert(begins);
    }
    text = rest;
  }
  if (!system || !answer || bos.size() != 1) tokenizer_fail("does not write all of a turn");
  if (trimmed.size() > 1) tokenizer_fail("trims the contents of some roles only");
  chat.trims = trimmed.contains(true);
  chat.writes_bos = bos.contains(true);
}

// Throws what the template does beyond its family.
void read_template(ChatTemplate& chat, std::string_view source) {
  // Far above any real one; keeps short what looking through a hostile one takes.
  if (source.size() > 65536) tokenizer_fail("is longer than 64 KiB");
  check_words(source, chat.family);
  TemplateText written = template_text(source);
  switch (chat.family) {
    case ChatFamily::ChatML:
      check_control_tokens(written.text, {"<|im_start|>", "<|im_end|>"});
      return Turns(chat, kChatML).read(written);
    case ChatFamily::Llama3: {
      static constexpr std::string_view kBegin = "<|begin_of_text|>";
      check_control_tokens(written.text, {kBegin, "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"});
      const size_t begin = written.text.find(kBegin);
      if (begin != std::string::npos) written.text.replace(begin, kBegin.size(), 1, kBos);
      return Turns(chat, kLlama3).read(written);
    }
    case ChatFamily::Llama2: return read_llama2(chat, written.text);
    case ChatFamily::Plain: return;
  }
}

}  // namespace

ChatTemplate recognise_chat_template(const TokenizerSpec& spec) {
  const std::string_view source = spec.chat_template;
  ChatTemplate chat;
  if (source.empty()) return chat;
  const char* name = "";
  if (contains(source, "<|im_start|>") && contains(source, "<|im_end|>")) {
    chat.family = ChatFamily::ChatML;
    name = "ChatML";
  } else if (contains(source, "<|start_header_id|>") && contains(source, "<|eot_id|>")) {
    chat.family = ChatFamily::Llama3;
    name = "Llama-3's";
  } else if (contains(source, "[INST]") && contains(source, "<<SYS>>")) {
    chat.family = ChatFamily::Llama2;
    name = "Llama-2's";
  } else {
    tokenizer_fail("this chat template is not supported (ChatML, Llama-2 and Llama-3 are): ", utf8_excerpt(source, 80));
  }
  try {
    read_template(chat, source);
  } catch (const TokenizerError& error) {
    tokenizer_fail("the chat template looks like ", name, " but ", error.what(),
                   ", which is not supported: ", utf8_excerpt(source, 80));
  }
  return chat;
}

}  // namespace thinker
