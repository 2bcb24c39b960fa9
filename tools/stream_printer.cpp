#include "tools/stream_printer.h"

#include <ostream>

#include "tpo/text.h"

namespace thinker {

namespace {

constexpr const char* kThinking = "thinking…";

std::string reason(Parse parse, const ThoughtStyle& style) {
  switch (parse) {
    case Parse::ok: return "";
    case Parse::no_open: return "the model did not begin its thought with \"" + style.open + "\"";
    case Parse::no_marker: return "the model never wrote \"" + style.split + "\", so it gave no response";
    case Parse::empty_response: return "the model's response is empty";
    case Parse::repeated_marker: return "the model repeated a marker, so where its response begins is unclear";
    case Parse::no_end: return "the response was cut at the token limit (--max-new)";
  }
  return "";
}

}  // namespace

StreamPrinter::StreamPrinter(const ChatTokenizer& text, const ThoughtStyle& style, ShowThought show, std::ostream& out,
                             bool out_on_terminal, std::ostream& notes, bool notes_on_terminal)
    : text_(text),
      decoder_(text.tokenizer, SpecialTokens::Skip),
      splitter_(style),
      style_(style),
      show_(show),
      out_(out),
      out_on_terminal_(out_on_terminal),
      notes_(notes),
      notes_on_terminal_(notes_on_terminal) {
  if (!style.thinks()) return;
  thinking_shown_ = true;
  notes_ << kThinking << std::flush;
}

void StreamPrinter::clear_thinking() {
  if (!thinking_shown_) return;
  thinking_shown_ = false;
  notes_ << (notes_on_terminal_ ? "\r\033[K" : "\n") << std::flush;
}

void StreamPrinter::end_thought_line() {
  if (thought_printed_) notes_ << "\n" << std::flush;
  thought_printed_ = false;
}

void StreamPrinter::show(const StreamSplitter::Piece& piece) {
  if (!piece.thought.empty() && show_ == ShowThought::yes) {
    clear_thinking();
    notes_ << (notes_on_terminal_ ? "\033[2m" + for_terminal(piece.thought) + "\033[0m" : piece.thought) << std::flush;
    thought_printed_ = true;
  }
  if (piece.response.empty()) return;
  clear_thinking();
  end_thought_line();
  answered_ = true;
  out_ << (out_on_terminal_ ? for_terminal(piece.response) : piece.response) << std::flush;
}

void StreamPrinter::on_token(const GeneratedSample& sample) {
  show(splitter_.feed(decoder_.push(sample.ids.back())));
}

SplitOutput StreamPrinter::finish(Stop stop) {
  show(splitter_.feed(decoder_.flush()));
  StreamSplitter::Piece rest;
  const SplitOutput output = splitter_.finish(stop, &rest);
  show(rest);
  clear_thinking();
  end_thought_line();
  if (answered_) out_ << "\n" << std::flush;
  if (output.parse != Parse::ok) notes_ << "[" << reason(output.parse, style_) << "]\n" << std::flush;
  return output;
}

}  // namespace thinker
