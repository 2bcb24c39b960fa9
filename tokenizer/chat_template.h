// Chat templates: a list of messages becomes token ids.
//
// Model files describe this by a Jinja program. We run no Jinja: what the program writes tells which of a few known
// families it belongs to, and the family is rendered straight to ids. So the template's own control tokens are ids from
// the start, and message content, which is only ever encoded as plain text, cannot forge one.
//
//   ChatML   <|im_start|>ROLE\nCONTENT<|im_end|>\n, and <|im_start|>assistant\n for the answer
//   Llama-2  BOS[INST] <<SYS>>\nSYSTEM\n<</SYS>>\n\nUSER [/INST] ANSWER EOS
//   Llama-3  <|start_header_id|>ROLE<|end_header_id|>\n\nCONTENT<|eot_id|> after one BOS, and an assistant's header
//   Plain    for models without a template: contents as they are, without roles; EOS after an assistant's, a newline
//            between two others. Nothing is added for the answer.
//
// Template and content between two control tokens are encoded as one stretch, as transformers does. Only an assistant's
// content starts a stretch of its own: what a model reads as its own earlier answer is then exactly the ids that it
// wrote or was trained on. (The ids differ from transformers' only where an answer begins with white space.)
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/bpe.h"
#include "tokenizer/message.h"

namespace thinker {

enum class ChatFamily { Plain, ChatML, Llama2, Llama3 };

struct ChatTemplate {
  ChatFamily family = ChatFamily::Plain;
  std::optional<std::string> default_system;  // ChatML: the system message of a chat that does not begin with one
  std::string system_preamble;                // Llama-3.1 and on: begins the system message, which is then always there
  bool trims = false;                         // white space around content is dropped
  bool writes_bos = false;                    // the template itself begins with bos
};

/// Whether the ids end where the assistant is to begin its answer.
enum class GenerationPrompt { None, Add };

/// A stretch of a rendered chat.
struct ChatPiece {
  std::vector<int32_t> ids;
  std::string role;  // whose turn it is part of
  bool trained;      // what the assistant has to write: its content and its end-of-turn token
};

/// Finds the family from spec.chat_template (chat_family.cpp); an empty one gives Plain. Throws TokenizerError, quoting
/// the template's beginning, if it belongs to none, or if it does more than its family does, which the error names:
/// text or tokens of its own, parts of messages, messages that are changed (as by Qwen3's, which removes thoughts).
/// What it writes only for chats with tools is not looked at. Llama-3.1's and 3.2's date is the fixed one of the
/// template's own fallback ("26 Jul 2024"), so that ids do not change overnight.
ChatTemplate recognise_chat_template(const TokenizerSpec& spec);

/// The chat in pieces whose ids, joined, are the whole of it. Bos stands in front where the template writes it, where
/// the spec asks for it in chats, and without a template where it asks for it in texts; never twice. Throws
/// TokenizerError on no messages, an unknown role, roles out of Llama-2's order, and on a template that needs a control
/// token which the vocabulary lacks.
std::vector<ChatPiece> render_pieces(const Tokenizer& tokenizer, const ChatTemplate& chat,
                                     std::span<const Message> messages, GenerationPrompt generation);

/// The joined ids of render_pieces.
std::vector<int32_t> render_ids(const Tokenizer& tokenizer, const ChatTemplate& chat, std::span<const Message> messages,
                                GenerationPrompt generation);

/// What the assistant writes to give this text: its ids, taken as plain text and not trimmed, and the end-of-turn id.
std::vector<int32_t> completion_ids(const Tokenizer& tokenizer, const ChatTemplate& chat, std::string_view text);

/// The token that ends a turn: <|im_end|>, <|eot_id|>, or eos for Llama-2 and Plain. Throws TokenizerError where it is
/// missing.
int32_t end_of_turn_id(const Tokenizer& tokenizer, const ChatTemplate& chat);

/// All tokens at which a generation stops, each once, the end of turn first: also eos, the spec's end_ids, and the
/// vocabulary's other control tokens that end a turn or a text (Llama-3 has <|eot_id|> and <|end_of_text|>).
std::vector<int32_t> end_ids(const Tokenizer& tokenizer, const ChatTemplate& chat);

}  // namespace thinker
