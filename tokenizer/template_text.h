// What a chat template writes, as one text, found without running it.
//
// The template is gone through once from its beginning to its end: a loop's body once, each branch of an `if` in turn.
// What is written stands in the text as it is, and marks stand for what a chat brings with it. So this template
//
//   {% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}
//
// has the text "<|im_start|>R\n" "C<|im_end|>\n" with kRole for R and kContent for C. Branches that only a chat with
// tools takes are left out, since our chats have none. Whatever else a template does (another filter, a part of a
// message, a macro) is an error. What remains unseen is when a branch is taken: conditions are not understood, but for
// those named here.
#pragma once

#include <string>
#include <string_view>

namespace thinker {

/// The marks: bytes that no template's text contains.
inline constexpr char kRole = '\1';
inline constexpr char kContent = '\2';         // a message's content
inline constexpr char kTrimmed = '\3';         // the same without white space around it
inline constexpr char kMaybe = '\4';           // content that is empty where the chat has no such message
inline constexpr char kMaybeTrimmed = '\5';    // both
inline constexpr char kBos = '\6';             // bos once, before or in the first turn
inline constexpr char kBosInEveryTurn = '\7';  // bos wherever the loop over messages comes to it
inline constexpr char kEos = '\x0E';

struct TemplateText {
  std::string text;
  bool always_system = false;  // a system turn of its own is written whether or not the chat has a system message
};

/// Throws TokenizerError for a template that does more than can be put so; the message is a clause that says what it
/// does ("writes message['content'][:9]").
TemplateText template_text(std::string_view source);

/// The text with its marks spelled out, as one short line for a message.
std::string readable(std::string_view text);

}  // namespace thinker
