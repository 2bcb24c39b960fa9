// Thought prompts and the splitter: how a model is asked to think first, and how its output is cut into thought and
// response.
//
// A style is an instruction and one or two markers. The output of a model that follows it reads
//     [preamble] [OPEN thought] SPLIT response <end of turn>
// and everything before the first SPLIT stays hidden from the user and from the judge, whatever it is. The splitter
// fails closed: an output whose parts are not clear beyond doubt has no response at all, only a reason. Matching is on
// decoded text, byte by byte and case-sensitive, because one marker may be one, two or three tokens, depending on what
// is beside it. Source: Wu et al., "Thinking LLMs" (arXiv 2410.10630), figures 1 and 2: the markers are the paper's,
// the wording is ours.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/message.h"

namespace thinker {

enum class Placement {
  user,
  system
};  // where the instruction goes: around the last user message, or in the system message

struct ThoughtStyle {
  std::string name;
  std::string instruction;  // placed in the user message: holds "{query}" once, where the user's text goes
  std::string open;         // empty: the thought starts at once
  std::string split;        // empty: no thoughts, the whole output is the response
  Placement placement = Placement::user;

  bool thinks() const { return !split.empty(); }
};

/// "none", "generic", "specific", "system", or else the path of a JSON file {"instruction", "open", "split"}
/// (optionally "placement": "user" | "system"). Throws Error when the name is unknown or the file does not describe a
/// usable style.
ThoughtStyle thought_style(const std::string& name_or_path);

/// The same from the text of a file; place is what errors call it.
ThoughtStyle parse_thought_style(std::string_view text, const std::string& place);

/// The messages that the model gets: the user's own, with the thought prompt around the last user message or at the end
/// of the system message (which is created when there is none). Earlier turns stay as they are.
/// Throws Error when there is no user message.
Messages apply_thought(const Messages& messages, const ThoughtStyle& style);

/// Why an output has no response. Reasons are tested in this order and the first that holds is reported.
enum class Parse { ok, no_open, no_marker, empty_response, repeated_marker, no_end };

/// "ok", "no_open", …: the words of samples.jsonl.
const char* name(Parse parse);
/// The reverse. Throws Error for any other word.
Parse parse_from_name(std::string_view name);

/// How the sampler stopped.
enum class Stop { end, length };

struct SplitOutput {
  std::optional<std::string> thought;   // between the first OPEN and SPLIT, trimmed; may be empty; none unless ok
  std::optional<std::string> response;  // after SPLIT, trimmed; none unless ok
  Parse parse = Parse::ok;
};

/// Cuts a decoded output. The first SPLIT ends the thought.
///   no_open          the style has an OPEN, and it is not found before the first SPLIT (or at all)
///   no_marker        no SPLIT
///   empty_response   nothing but whitespace after it
///   repeated_marker  OPEN or SPLIT again after it: which text is the response is anybody's guess
///   no_end           otherwise in order, but cut at the token limit
/// Text before OPEN is dropped. OPEN again inside the thought is part of the thought: nobody is shown it.
/// Style none: thought is never set, and response is always the text exactly as it is; parse is empty_response or
/// no_end where that holds, so that both arms of an experiment count such outputs alike.
SplitOutput split_output(std::string_view text, const ThoughtStyle& style, Stop stop);

/// The same while the text is still coming, for chat. Holds back what may yet turn out to be a marker, and whitespace
/// that may turn out to be the end. Agreement with split_output, however the text is cut into chunks: finish() returns
/// the same; when that is ok, the joined pieces equal its thought and response; when not, the joined responses are a
/// beginning of what follows the first SPLIT and hold no marker, and after no_open or no_marker there are none at all.
class StreamSplitter {
 public:
  explicit StreamSplitter(ThoughtStyle style) : style_(std::move(style)) {}

  /// Text that has become certain.
  struct Piece {
    std::string thought;
    std::string response;
  };

  Piece feed(std::string_view chunk);

  /// The verdict on the whole text; what had been held back goes into *rest.
  SplitOutput finish(Stop stop, Piece* rest);

 private:
  enum class Part { before_open, thought, response, broken };

  void advance(Piece* out, bool ended);
  void enter(Part part, size_t begin);
  std::string release(size_t end);
  size_t certain_end(const std::string& marker, size_t from) const;

  ThoughtStyle style_;
  std::string text_;  // all that came
  Part part_ = Part::before_open;
  size_t begin_ = 0;  // where the present part begins in text_
  size_t shown_ = 0;  // text_ before this was released or skipped
};

}  // namespace thinker
