// Prints an answer while it is being written: the thought hidden behind a quiet "thinking…", or shown.
#pragma once

#include <iosfwd>
#include <string>

#include "nn/generate.h"
#include "tpo/model.h"
#include "tpo/thought.h"

namespace thinker {

enum class ShowThought { no, yes };

class StreamPrinter {
 public:
  /// Answers go to `out`; "thinking…", thoughts and complaints to `notes`. To a terminal go no control characters.
  StreamPrinter(const ChatTokenizer& text, const ThoughtStyle& style, ShowThought show, std::ostream& out,
                bool out_on_terminal, std::ostream& notes, bool notes_on_terminal);

  /// To be called after each token of the one sample.
  void on_token(const GeneratedSample& sample);

  /// Prints what was held back; returns the split output. When there is no response, says why: no thought is ever
  /// passed off as an answer.
  SplitOutput finish(Stop stop);

 private:
  void show(const StreamSplitter::Piece& piece);
  void clear_thinking();
  void end_thought_line();

  const ChatTokenizer& text_;
  StreamDecoder decoder_;
  StreamSplitter splitter_;
  ThoughtStyle style_;
  ShowThought show_;
  std::ostream& out_;
  bool out_on_terminal_;
  std::ostream& notes_;
  bool notes_on_terminal_;
  bool thinking_shown_ = false;
  bool answered_ = false;
  bool thought_printed_ = false;  // and its line not yet ended
};

}  // namespace thinker
