#include "tpo/thought.h"

#include <algorithm>
#include <array>
#include <filesystem>

#include "tensor/check.h"
#include "tensor/file.h"
#include "tpo/jsonl.h"
#include "tpo/text.h"

namespace thinker {

namespace {

constexpr std::string_view kQuery = "{query}";
constexpr std::string_view kOpen = "Here is my thought process:";
constexpr std::string_view kSplit = "Here is my response:";

const char* const kGenericInstruction =
    "Think before you answer the user query below. Work out what is being asked, consider how a good answer would "
    "look, and "
    "write these thoughts down first, beginning with \"Here is my thought process:\". The user does not see your "
    "thoughts. "
    "When you have thought enough, write \"Here is my response:\" and then the complete answer for the user.";

const char* const kSpecificInstruction =
    "Answer the user query below in two parts. In the first part write your internal thoughts: they must contain a "
    "draft of "
    "your response and your evaluation of that draft. The user does not see this part. Then write the marker \"<R>\" "
    "and after "
    "it your final response, complete in itself.";

const std::vector<ThoughtStyle>& built_in_styles() {
  const std::string query = "\n\nUser query: {query}";
  static const std::vector<ThoughtStyle> styles = {
      {"none", "", "", "", Placement::user},
      {"generic", kGenericInstruction + query, std::string(kOpen), std::string(kSplit), Placement::user},
      {"specific", kSpecificInstruction + query, "", "<R>", Placement::user},
      {"system", kGenericInstruction, std::string(kOpen), std::string(kSplit), Placement::system},
  };
  return styles;
}

size_t occurrences(std::string_view text, std::string_view part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + part.size())) ++count;
  return count;
}

void check_style(const ThoughtStyle& style, const std::string& place) {
  if (trim(style.split).empty()) fail(place, ": \"split\" is empty; it is the marker between thought and response");
  if (!style.open.empty() && trim(style.open).empty())
    fail(place, ": \"open\" is only whitespace; use \"\" for no opening");
  const bool nested = style.open.find(style.split) != style.open.npos ||
                      (!style.open.empty() && style.split.find(style.open) != style.split.npos);
  if (nested) fail(place, ": one of \"open\" and \"split\" contains the other; they must be told apart");
  const size_t queries = occurrences(style.instruction, kQuery);
  if (style.placement == Placement::user && queries != 1)
    fail(place, ": \"instruction\" holds {query} ", queries,
         " times; write it once, where the user's text shall stand");
  if (style.placement == Placement::system && queries != 0)
    fail(place,
         ": \"instruction\" of a system placement cannot hold {query}: the user's text stays in its own message");
}

}  // namespace

ThoughtStyle parse_thought_style(std::string_view text, const std::string& place) {
  const Json file = parse_json(text, place);
  if (!file.is_object()) fail(place, ": a thought style is a JSON object {\"instruction\", \"open\", \"split\"}");
  const std::vector<std::string> keys = {"instruction", "open", "split", "placement"};
  ThoughtStyle style{place, "", "", "", Placement::user};
  for (const auto& [key, value] : file.items()) {
    if (std::find(keys.begin(), keys.end(), key) == keys.end())
      fail(place, ": unknown key \"", excerpt(key), "\"; did you mean \"", nearest_name(key, keys), "\"?");
    if (key == "open" && value.is_null()) continue;  // null says "no opening" as "" does
    if (!value.is_string()) fail(place, ": \"", key, "\" is not a string");
  }
  for (const char* key : {"instruction", "split"})
    if (!file.contains(key)) fail(place, ": \"", key, "\" is missing");
  style.instruction = file["instruction"].get<std::string>();
  style.split = file["split"].get<std::string>();
  if (file.contains("open") && !file["open"].is_null()) style.open = file["open"].get<std::string>();
  const std::string placement = file.value("placement", "user");
  if (placement != "user" && placement != "system")
    fail(place, ": \"placement\" is \"", excerpt(placement), "\"; use user or system");
  if (placement == "system") style.placement = Placement::system;
  check_style(style, place);
  return style;
}

ThoughtStyle thought_style(const std::string& name_or_path) {
  std::vector<std::string> names;
  for (const ThoughtStyle& style : built_in_styles()) {
    if (style.name == name_or_path) return style;
    names.push_back(style.name);
  }
  if (std::filesystem::is_regular_file(name_or_path))
    return parse_thought_style(read_text_file(name_or_path), name_or_path);
  fail("thought style \"", excerpt(name_or_path),
       "\" is neither none, generic, specific or system nor a file; did you mean \"", nearest_name(name_or_path, names),
       "\"?");
}

Messages apply_thought(const Messages& messages, const ThoughtStyle& style) {
  if (!style.thinks()) return messages;
  Messages out = messages;
  const auto last_user = std::find_if(out.rbegin(), out.rend(), [](const Message& m) { return m.role == "user"; });
  if (last_user == out.rend()) fail("a thought prompt needs a user message to stand in; the conversation has none");
  if (style.placement == Placement::user) {
    // By position, once: a "{query}" that the user wrote is the user's text and stays.
    std::string text = style.instruction;
    last_user->content = text.replace(text.find(kQuery), kQuery.size(), last_user->content);
  } else if (out.front().role == "system") {
    out.front().content += "\n\n" + style.instruction;
  } else {
    out.insert(out.begin(), {"system", style.instruction});
  }
  return out;
}

namespace {
constexpr std::array<std::pair<Parse, const char*>, 6> kParseNames = {{{Parse::ok, "ok"},
                                                                       {Parse::no_open, "no_open"},
                                                                       {Parse::no_marker, "no_marker"},
                                                                       {Parse::empty_response, "empty_response"},
                                                                       {Parse::repeated_marker, "repeated_marker"},
                                                                       {Parse::no_end, "no_end"}}};
}  // namespace

const char* name(Parse parse) {
  for (const auto& [value, word] : kParseNames)
    if (value == parse) return word;
  ENSURE(false, "a Parse without a name");
}

Parse parse_from_name(std::string_view word) {
  for (const auto& [value, known] : kParseNames)
    if (word == known) return value;
  fail("\"", excerpt(word),
       "\" is not a result of the splitter (ok, no_open, no_marker, empty_response, repeated_marker, no_end)");
}

SplitOutput split_output(std::string_view text, const ThoughtStyle& style, Stop stop) {
  const auto failed = [](Parse reason) { return SplitOutput{std::nullopt, std::nullopt, reason}; };
  const Parse ending = stop == Stop::end ? Parse::ok : Parse::no_end;
  if (!style.thinks()) return {std::nullopt, std::string(text), trim(text).empty() ? Parse::empty_response : ending};

  const size_t split = text.find(style.split);
  const std::string_view before = text.substr(0, split);  // all of it when there is no SPLIT
  const size_t open = before.find(style.open);            // 0 for an empty OPEN
  if (open == before.npos) return failed(Parse::no_open);
  if (split == text.npos) return failed(Parse::no_marker);
  const std::string_view response = text.substr(split + style.split.size());
  if (trim(response).empty()) return failed(Parse::empty_response);
  const bool opened_again = !style.open.empty() && response.find(style.open) != response.npos;
  if (opened_again || response.find(style.split) != response.npos) return failed(Parse::repeated_marker);
  if (ending != Parse::ok) return failed(ending);
  return {std::string(trim(before.substr(open + style.open.size()))), std::string(trim(response)), Parse::ok};
}

void StreamSplitter::enter(Part part, size_t begin) {
  part_ = part;
  begin_ = shown_ = begin;
}

/// Releases text_ up to `end`, but no whitespace at the beginning of the part, and none that may be its end.
std::string StreamSplitter::release(size_t end) {
  while (end > shown_ && is_space(text_[end - 1])) --end;
  if (end <= shown_) return "";
  if (shown_ == begin_)
    while (is_space(text_[shown_])) ++shown_;
  const std::string piece = text_.substr(shown_, end - shown_);
  shown_ = end;
  return piece;
}

/// Where the longest beginning of the marker that ends the text (and lies after `from`) begins; the text's end when
/// none does.
size_t StreamSplitter::certain_end(const std::string& marker, size_t from) const {
  const std::string_view text(text_);
  const size_t longest = marker.empty() ? 0 : std::min(marker.size() - 1, text.size() - from);
  for (size_t length = longest; length > 0; --length)
    if (text.ends_with(std::string_view(marker).substr(0, length))) return text.size() - length;
  return text.size();
}

void StreamSplitter::advance(Piece* out, bool ended) {
  if (part_ == Part::before_open || part_ == Part::thought) {
    const size_t split = text_.find(style_.split);
    const size_t open = std::string_view(text_).substr(0, split).find(style_.open);
    if (split != text_.npos && open == text_.npos) return enter(Part::broken, text_.size());
    if (part_ == Part::before_open && open != text_.npos) enter(Part::thought, open + style_.open.size());
    if (part_ == Part::thought)
      out->thought = release(split != text_.npos ? split : ended ? text_.size() : certain_end(style_.split, 0));
    if (split != text_.npos) enter(Part::response, split + style_.split.size());
  }
  if (part_ == Part::response) {
    size_t marker = text_.find(style_.split, begin_);
    if (!style_.open.empty()) marker = std::min(marker, text_.find(style_.open, begin_));
    const size_t certain = std::min(certain_end(style_.split, begin_), certain_end(style_.open, begin_));
    out->response = release(marker != text_.npos ? marker : ended ? text_.size() : certain);
    if (marker != text_.npos) enter(Part::broken, text_.size());
  }
}

StreamSplitter::Piece StreamSplitter::feed(std::string_view chunk) {
  Piece out;
  text_ += chunk;
  if (style_.thinks())
    advance(&out, false);
  else
    out.response = chunk;
  return out;
}

SplitOutput StreamSplitter::finish(Stop stop, Piece* rest) {
  *rest = Piece{};
  if (style_.thinks()) advance(rest, true);
  return split_output(text_, style_, stop);
}

}  // namespace thinker
