#include "tpo/thought.h"

#include <doctest/doctest.h>

#include "tensor/check.h"
#include "tensor/rng.h"
#include "tpo/text.h"

using namespace thinker;

namespace {

const std::string kOpen = "Here is my thought process:";
const std::string kSplit = "Here is my response:";

SplitOutput generic(const std::string& text, Stop stop = Stop::end) {
  return split_output(text, thought_style("generic"), stop);
}
SplitOutput specific(const std::string& text, Stop stop = Stop::end) {
  return split_output(text, thought_style("specific"), stop);
}

/// Text made of markers, beginnings of markers, whitespace and words, so that every corner of the splitter is met.
std::string random_output(Rng& rng) {
  static const std::vector<std::string> parts = {kOpen,
                                                 kSplit,
                                                 "<R>",
                                                 "Here is my ",
                                                 "Here is my thought",
                                                 "Here is my response",
                                                 "Here",
                                                 ":",
                                                 "<",
                                                 "<R",
                                                 "R>",
                                                 " ",
                                                 "\n\n",
                                                 "\t",
                                                 "word",
                                                 "An answer.",
                                                 "\xC3\xA9",
                                                 "here is my response:",
                                                 "Here Here is my response:",
                                                 "<<R>>"};
  std::string text;
  for (int64_t n = rng.below(9); n >= 0; --n) text += parts[rng.below(static_cast<int64_t>(parts.size()))];
  return text;
}

}  // namespace

TEST_CASE("thought: built-in styles carry the paper's markers, and the instruction names them") {
  CHECK(thought_style("generic").open == kOpen);
  CHECK(thought_style("generic").split == kSplit);
  CHECK(thought_style("specific").open.empty());
  CHECK(thought_style("specific").split == "<R>");
  CHECK(thought_style("system").placement == Placement::system);
  CHECK_FALSE(thought_style("none").thinks());
  for (const char* name : {"generic", "specific", "system"}) {
    const ThoughtStyle style = thought_style(name);
    CHECK(style.instruction.find(style.split) != std::string::npos);
    CHECK(style.instruction.find(style.open) != std::string::npos);
  }
  CHECK_THROWS_WITH_AS(thought_style("genric"), doctest::Contains("did you mean \"generic\""), Error);
}

TEST_CASE("thought: the prompt goes around the last user message, or into the system message") {
  const Messages talk = {{"user", "first"}, {"assistant", "ok"}, {"user", "a {query} of {query}"}};
  const Messages user = apply_thought(talk, thought_style("generic"));
  REQUIRE(user.size() == 3);
  CHECK(user[0] == talk[0]);
  CHECK(user[2].content.ends_with("\n\nUser query: a {query} of {query}"));  // the user's own braces stay
  CHECK(user[2].content.starts_with("Think before"));

  const Messages system = apply_thought(talk, thought_style("system"));
  REQUIRE(system.size() == 4);
  CHECK(system[0].role == "system");
  CHECK(system[3] == talk[2]);
  const Messages merged = apply_thought({{"system", "Be kind."}, {"user", "q"}}, thought_style("system"));
  REQUIRE(merged.size() == 2);
  CHECK(merged[0].content.starts_with("Be kind.\n\nThink before"));

  CHECK(apply_thought(talk, thought_style("none")) == talk);
  CHECK_THROWS_AS(apply_thought({{"system", "alone"}}, thought_style("generic")), Error);
}

TEST_CASE("thought: a style of one's own") {
  const ThoughtStyle own =
      parse_thought_style(R"({"instruction": "Q: {query} Think.", "open": "<T>", "split": "</T>"})", "own.json");
  CHECK(apply_thought({{"user", "why?"}}, own)[0].content == "Q: why? Think.");
  CHECK(*split_output("<T>x</T>y", own, Stop::end).response == "y");
  const auto refuses = [](const char* text, const char* because) {
    CHECK_THROWS_WITH_AS(parse_thought_style(text, "own.json"), doctest::Contains(because), Error);
  };
  refuses(R"({"instruction": "no place", "split": "|"})", "{query} 0 times");
  refuses(R"({"instruction": "{query}{query}", "split": "|"})", "{query} 2 times");
  refuses(R"({"instruction": "{query}", "split": "  "})", "\"split\" is empty");
  refuses(R"({"instruction": "{query}", "open": "<R> a", "split": "<R>"})", "contains the other");
  refuses(R"({"instruction": "{query}", "splt": "|"})", "did you mean \"split\"");
  refuses(R"({"instruction": 3, "split": "|"})", "\"instruction\" is not a string");
  refuses(R"({"split": "|"})", "\"instruction\" is missing");
  refuses(R"({"instruction": "{query}", "split": "|", "placement": "system"})", "cannot hold {query}");
  refuses(R"([1])", "JSON object");
}

TEST_CASE("thought: splitting, and a reason for each failure (trap 35: fail closed)") {
  const SplitOutput good = generic("  " + kOpen + " hmm\n\n" + kSplit + " Paris. \n");
  CHECK(good.parse == Parse::ok);
  CHECK(*good.thought == "hmm");
  CHECK(*good.response == "Paris.");
  CHECK(*generic("Sure! " + kOpen + "a" + kSplit + "b").thought == "a");  // a preamble is hidden and dropped
  CHECK(*generic(kOpen + kSplit + "b").thought == "");                    // an empty thought is allowed
  CHECK(*generic(kOpen + "a " + kOpen + " b" + kSplit + "c").thought == "a " + kOpen + " b");
  CHECK(*specific("draft <R> final").response == "final");
  CHECK(*specific("<R>final").thought == "");

  CHECK(generic("Paris.").parse == Parse::no_open);
  CHECK(generic(kSplit + " Paris.").parse == Parse::no_open);
  CHECK(generic(kSplit + " Paris. " + kOpen + " late").parse == Parse::no_open);
  CHECK(generic(kOpen + " hmm").parse == Parse::no_marker);
  CHECK(generic(kOpen + " hmm here is my response: b").parse == Parse::no_marker);  // case-sensitive
  CHECK(generic(kOpen + " hmm Here's my response: b").parse == Parse::no_marker);   // the Granite "Here's"
  CHECK(generic(kOpen + " hmm " + kSplit + " \n").parse == Parse::empty_response);
  CHECK(generic(kOpen + " hmm " + kSplit + " a " + kSplit + " b").parse == Parse::repeated_marker);
  CHECK(generic(kOpen + " hmm " + kSplit + " a " + kOpen + " b").parse == Parse::repeated_marker);
  CHECK(specific("a <R> b <R> c").parse == Parse::repeated_marker);
  CHECK(specific("no marker").parse == Parse::no_marker);

  // Trap 21: cut at the limit is a failure of its own, and the structural reasons come first.
  CHECK(generic(kOpen + " hmm " + kSplit + " a", Stop::length).parse == Parse::no_end);
  CHECK(generic(kOpen + " hmm", Stop::length).parse == Parse::no_marker);

  for (const SplitOutput& bad : {generic("x"), specific("x"), specific("a<R>b<R>c"), specific("a<R>b", Stop::length)}) {
    CHECK_FALSE(bad.thought);
    CHECK_FALSE(bad.response);
  }
}

TEST_CASE("thought: style none hands the text through as it is") {
  const ThoughtStyle none = thought_style("none");
  const SplitOutput direct = split_output(" Paris. <R> \n", none, Stop::end);
  CHECK(direct.parse == Parse::ok);
  CHECK_FALSE(direct.thought);
  CHECK(*direct.response == " Paris. <R> \n");
  CHECK(split_output("Par", none, Stop::length).parse == Parse::no_end);
  CHECK(*split_output("Par", none, Stop::length).response == "Par");
  CHECK(split_output(" \n", none, Stop::end).parse == Parse::empty_response);
}

TEST_CASE("thought: words of the file format") {
  for (Parse parse :
       {Parse::ok, Parse::no_open, Parse::no_marker, Parse::empty_response, Parse::repeated_marker, Parse::no_end})
    CHECK(parse_from_name(name(parse)) == parse);
  CHECK_THROWS_AS(parse_from_name("fine"), Error);
}

TEST_CASE("thought: streaming agrees with splitting, however the text is cut") {
  Rng rng(7, Purpose::generate_data);
  std::vector<ThoughtStyle> styles = {thought_style("none"), thought_style("generic"), thought_style("specific")};
  // Markers that overlap each other and themselves.
  styles.push_back({"overlap", "{query}", "Here is my r", " response:", Placement::user});
  styles.push_back({"self", "{query}", "", "<<", Placement::user});
  int64_t oks = 0;
  for (int trial = 0; trial < 20000; ++trial) {
    const ThoughtStyle& style = styles[rng.below(static_cast<int64_t>(styles.size()))];
    const std::string text = random_output(rng);
    const Stop stop = rng.below(4) == 0 ? Stop::length : Stop::end;
    const SplitOutput whole = split_output(text, style, stop);

    StreamSplitter stream(style);
    std::string thought, response;
    for (size_t at = 0; at < text.size();) {
      const auto length = static_cast<size_t>(1 + rng.below(rng.below(2) == 0 ? 2 : 30));
      const auto piece = stream.feed(std::string_view(text).substr(at, length));
      thought += piece.thought;
      response += piece.response;
      at += length;
      if (style.thinks() && std::string_view(text).substr(0, at).find(style.split) == std::string::npos)
        REQUIRE(response.empty());
    }
    StreamSplitter::Piece rest;
    const SplitOutput end = stream.finish(stop, &rest);
    thought += rest.thought;
    response += rest.response;

    INFO("style ", style.name, ", text: ", text);
    REQUIRE(end.parse == whole.parse);
    REQUIRE(end.thought == whole.thought);
    REQUIRE(end.response == whole.response);
    if (whole.parse == Parse::ok) {
      ++oks;
      REQUIRE(response == *whole.response);
      REQUIRE(thought == whole.thought.value_or(""));
    } else if (style.thinks()) {
      if (whole.parse == Parse::no_open || whole.parse == Parse::no_marker) REQUIRE(response.empty());
      REQUIRE(response.find(style.split) == std::string::npos);
      if (!style.open.empty()) REQUIRE(response.find(style.open) == std::string::npos);
      const size_t split = text.find(style.split);
      if (split != std::string::npos) {
        std::string_view after = std::string_view(text).substr(split + style.split.size());
        while (!after.empty() && is_space(after.front())) after.remove_prefix(1);
        REQUIRE(after.starts_with(response));
      }
    }
  }
  CHECK(oks > 1000);  // the generator reaches the good case often enough to mean something
}

TEST_CASE("thought: streaming releases text as soon as it is certain") {
  StreamSplitter stream(thought_style("specific"));
  CHECK(stream.feed("a thought <").thought == "a thought");
  CHECK(stream.feed("3 of you <R").thought == " <3 of you");
  CHECK(stream.feed("> An").response == "An");
  CHECK(stream.feed(" answer, ").response == " answer,");
  CHECK(stream.feed("x < y").response == " x < y");
}
