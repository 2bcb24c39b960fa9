#include "tokenizer/chat_template.h"

#include <algorithm>

#include "tokenizer/error.h"
#include "tokenizer/utf8.h"

namespace thinker {
namespace {

// Python's str.strip(), which Jinja's trim is.
std::string_view strip(std::string_view text) {
  const auto is_space = [](uint32_t c) {
    return (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
  };
  size_t begin = text.size(), end = 0;
  for (size_t at = 0; at < text.size();) {
    const Utf8Step step = utf8_step(text, at);
    if (step.kind != Utf8Kind::Character || !is_space(utf8_decode(text.substr(at, step.length)))) {
      begin = std::min(begin, at);
      end = at + step.length;
    }
    at += step.length;
  }
  return begin < end ? text.substr(begin, end - begin) : std::string_view();
}

int32_t need_control(const Tokenizer& tokenizer, std::string_view token) {
  const std::optional<int32_t> id = tokenizer.control_id(token);
  if (!id) tokenizer_fail("the chat template needs the control token ", token, ", which the vocabulary lacks");
  return *id;
}

int32_t need_eos(const Tokenizer& tokenizer) {
  if (tokenizer.spec().eos < 0) {
    tokenizer_fail(
        "the model names no end-of-text token; name it as \"eos_token\" in tokenizer_config.json (in a .gguf file, as "
        "tokenizer.ggml.eos_token_id)");
  }
  return tokenizer.spec().eos;
}

// Collects a chat. Literal text waits until a control token or the end of a piece, so that it is encoded in one
// stretch.
class Renderer {
 public:
  Renderer(const Tokenizer& tokenizer, const ChatTemplate& chat) : tokenizer_(tokenizer), chat_(chat) {}

  void begin(const std::string& role) {
    finish_piece();
    role_ = role;
  }
  void text(std::string_view literal) { waiting_ += literal; }
  void id(int32_t token) {
    encode_waiting();
    ids_.push_back(token);
  }
  void control(std::string_view token) { id(need_control(tokenizer_, token)); }

  // The assistant's content and what ends its turn, as a piece of its own.
  void answer(std::string_view content, int32_t end) {
    finish_piece();
    text(content);
    id(end);
    pieces_.push_back({std::move(ids_), role_, true});
    ids_.clear();
  }

  // A message's content and what ends its turn.
  void message(const Message& message, int32_t end) {
    if (message.role == "assistant") {
      answer(content(message), end);
    } else {
      text(content(message));
      id(end);
    }
  }

  std::string_view content(const Message& message) const {
    return chat_.trims ? strip(message.content) : std::string_view(message.content);
  }

  std::vector<ChatPiece> finish() {
    finish_piece();
    return std::move(pieces_);
  }

 private:
  void encode_waiting() {
    const std::vector<int32_t> more = tokenizer_.encode(waiting_, SpecialText::Plain);
    ids_.insert(ids_.end(), more.begin(), more.end());
    waiting_.clear();
  }
  void finish_piece() {
    encode_waiting();
    if (!ids_.empty()) pieces_.push_back({std::move(ids_), role_, false});
    ids_.clear();
  }

  const Tokenizer& tokenizer_;
  const ChatTemplate& chat_;
  std::vector<ChatPiece> pieces_;
  std::string role_, waiting_;
  std::vector<int32_t> ids_;
};

void chatml_turn(Renderer& out, const std::string& role) {
  out.begin(role);
  out.control("<|im_start|>");
  out.text(role + "\n");
}

void render_chatml(Renderer& out, const Tokenizer& tokenizer, const ChatTemplate& chat,
                   std::span<const Message> messages, GenerationPrompt generation) {
  const int32_t end = end_of_turn_id(tokenizer, chat);
  const auto turn = [&](const Message& message) {
    chatml_turn(out, message.role);
    out.message(message, end);
    out.text("\n");
  };
  if (chat.default_system && messages[0].role != "system") turn({"system", *chat.default_system});
  for (const Message& message : messages) turn(message);
  if (generation == GenerationPrompt::Add) chatml_turn(out, "assistant");
}

void llama3_turn(Renderer& out, const std::string& role) {
  out.begin(role);
  out.control("<|start_header_id|>");
  out.text(role);
  out.control("<|end_header_id|>");
  out.text("\n\n");
}

void render_llama3(Renderer& out, const Tokenizer& tokenizer, const ChatTemplate& chat,
                   std::span<const Message> messages, GenerationPrompt generation) {
  const int32_t end = end_of_turn_id(tokenizer, chat);
  if (!chat.system_preamble.empty()) {
    llama3_turn(out, "system");
    out.text(chat.system_preamble);
    if (messages[0].role == "system") {
      out.text(out.content(messages[0]));
      messages = messages.subspan(1);
    }
    out.id(end);
  }
  for (const Message& message : messages) {
    llama3_turn(out, message.role);
    out.message(message, end);
  }
  if (generation == GenerationPrompt::Add) llama3_turn(out, "assistant");
}

// Begins every user turn, not only the first, with bos, as the template does.
void render_llama2(Renderer& out, const Tokenizer& tokenizer, const ChatTemplate& chat,
                   std::span<const Message> messages) {
  const int32_t end = end_of_turn_id(tokenizer, chat);
  Message first{"user", ""};  // with the system message inside
  if (messages[0].role == "system") {
    if (messages.size() == 1) tokenizer_fail("Llama-2's chat template needs a user message after the system message");
    first.content.append("<<SYS>>\n").append(messages[0].content).append("\n<</SYS>>\n\n");
    messages = messages.subspan(1);
  }
  for (size_t i = 0; i < messages.size(); ++i) {
    const Message& message = messages[i];
    if (message.role != (i % 2 == 0 ? "user" : "assistant")) {
      tokenizer_fail("Llama-2's chat template takes a system message, then user and assistant in turn; role ",
                     message.role, " is out of order");
    }
    out.begin(message.role);
    if (message.role == "assistant") {
      out.answer(std::string(" ").append(out.content(message)).append(" "), end);
      continue;
    }
    if (i == 0) first.content.append(message.content);
    if (i > 0 && chat.writes_bos) out.id(tokenizer.spec().bos);
    out.text("[INST] ");
    out.text(out.content(i == 0 ? first : message));
    out.text(" [/INST]");
  }
}

void render_plain(Renderer& out, const Tokenizer& tokenizer, const ChatTemplate& chat,
                  std::span<const Message> messages) {
  for (size_t i = 0; i < messages.size(); ++i) {
    out.begin(messages[i].role);
    if (messages[i].role == "assistant") {
      out.answer(messages[i].content, end_of_turn_id(tokenizer, chat));
    } else {
      out.text(messages[i].content);
      if (i + 1 < messages.size() && messages[i + 1].role != "assistant") out.text("\n");
    }
  }
}

}  // namespace

std::vector<ChatPiece> render_pieces(const Tokenizer& tokenizer, const ChatTemplate& chat,
                                     std::span<const Message> messages, GenerationPrompt generation) {
  if (messages.empty()) tokenizer_fail("a chat needs at least one message");
  for (const Message& message : messages) {
    if (message.role != "system" && message.role != "user" && message.role != "assistant") {
      tokenizer_fail("unknown role \"", utf8_excerpt(message.role, 40), "\" (system, user and assistant are known)");
    }
  }
  Renderer out(tokenizer, chat);
  out.begin(messages[0].role);
  const TokenizerSpec& spec = tokenizer.spec();
  if (chat.writes_bos || spec.add_bos_in_chats || (chat.family == ChatFamily::Plain && spec.add_bos)) {
    if (spec.bos < 0) tokenizer_fail("the chat begins with bos, but the model names no such token");
    out.id(spec.bos);
  }
  switch (chat.family) {
    case ChatFamily::ChatML: render_chatml(out, tokenizer, chat, messages, generation); break;
    case ChatFamily::Llama3: render_llama3(out, tokenizer, chat, messages, generation); break;
    case ChatFamily::Llama2: render_llama2(out, tokenizer, chat, messages); break;
    case ChatFamily::Plain: render_plain(out, tokenizer, chat, messages); break;
  }
  return out.finish();
}

std::vector<int32_t> render_ids(const Tokenizer& tokenizer, const ChatTemplate& chat, std::span<const Message> messages,
                                GenerationPrompt generation) {
  std::vector<int32_t> ids;
  for (const ChatPiece& piece : render_pieces(tokenizer, chat, messages, generation)) {
    ids.insert(ids.end(), piece.ids.begin(), piece.ids.end());
  }
  return ids;
}

std::vector<int32_t> completion_ids(const Tokenizer& tokenizer, const ChatTemplate& chat, std::string_view text) {
  std::vector<int32_t> ids = tokenizer.encode(text, SpecialText::Plain);
  ids.push_back(end_of_turn_id(tokenizer, chat));
  return ids;
}

int32_t end_of_turn_id(const Tokenizer& tokenizer, const ChatTemplate& chat) {
  switch (chat.family) {
    case ChatFamily::ChatML: return need_control(tokenizer, "<|im_end|>");
    case ChatFamily::Llama3: return need_control(tokenizer, "<|eot_id|>");
    case ChatFamily::Llama2:
    case ChatFamily::Plain: return need_eos(tokenizer);
  }
  tokenizer_fail("unknown chat family ", static_cast<int>(chat.family));
}

std::vector<int32_t> end_ids(const Tokenizer& tokenizer, const ChatTemplate& chat) {
  std::vector<int32_t> ids = {end_of_turn_id(tokenizer, chat)};
  const auto add = [&](int32_t id) {
    if (id >= 0 && std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
  };
  add(tokenizer.spec().eos);
  for (int32_t id : tokenizer.spec().end_ids) add(id);
  for (const char* token : {"<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"}) {
    add(tokenizer.control_id(token).value_or(-1));
  }
  return ids;
}

}  // namespace thinker
