#include "tpo/constraints.h"

#include <doctest/doctest.h>

#include <map>
#include <set>

#include "tensor/check.h"
#include "tpo/judges/rule.h"

using namespace thinker;

namespace {

std::string text_of(const Prompt& prompt) {
  return prompt.messages.at(0).content;
}

bool satisfied(const Json& check, const std::string& response) {
  for (const Check& c : parse_checks(check, "check"))
    if (c.met(response) != Met::yes) return false;
  return true;
}

}  // namespace

TEST_CASE("constraints: base requests and kinds are as many as promised, and different") {
  std::set<std::string> texts, categories, kinds;
  for (const BaseRequest& request : base_requests()) {
    texts.insert(request.text);
    categories.insert(request.category);
    CHECK(request.text.find('#') == std::string::npos);
    CHECK(request.text.size() < 100);
  }
  CHECK(texts.size() == base_requests().size());
  CHECK(texts.size() >= 300);
  CHECK(categories.size() >= 8);
  for (const auto& kind : constraint_kinds())
    for (const Constraint& c : kind) {
      kinds.insert(c.kind);
      CHECK(c.text.find('#') == std::string::npos);
      CHECK(c.aspects != 0);
      CHECK(parse_checks(c.check, "check").size() == 1);
    }
  CHECK(kinds.size() == constraint_kinds().size());
  CHECK(kinds.size() >= 16);
}

TEST_CASE("constraints: each can be met, and is not met by chance") {
  // An answer for each kind, which meets all of its numbers, or the number named.
  const std::string long_answer = [] {
    std::string s;
    for (int i = 0; i < 60; ++i) s += "word ";
    return s + ".";
  }();
  const std::map<std::string, std::string> answers = {
      {"max_words", "One two."},      {"min_words", long_answer}, {"sentences_at_least", "A b. C d. E f. G h. I j."},
      {"lowercase", "all small."},    {"uppercase", "ALL BIG."},  {"capital_words", "AA BB CC DD"},
      {"no_comma", "Plain."},         {"no_digits", "Plain."},    {"no_exclamation", "Plain."},
      {"quoted", "\"Plain.\""},       {"title", "<<T>>\nPlain."}, {"postscript", "Plain.\n\nP.S. More."},
      {"json", "{\"a\": 1}"},         {"question", "Really?"},    {"highlights", "*a* *b* *c*"},
      {"placeholders", "[a] [b] [c]"}};
  const std::string neither = "1. Then the very, simple thing is that you can and will!, small, because";
  for (const auto& kind : constraint_kinds())
    for (const Constraint& c : kind) {
      INFO(c.text);
      std::string answer;
      if (const auto found = answers.find(c.kind); found != answers.end()) answer = found->second;
      const Json value = c.check.begin().value();
      if (c.kind == "sentences")
        for (int i = 0; i < value; ++i) answer += "Yes it is. ";
      if (c.kind == "paragraphs")
        for (int i = 0; i < value; ++i) answer += "Text.\n\n";
      if (c.kind == "lines")
        for (int i = 0; i < value; ++i) answer += "Text\n";
      if (c.kind == "bullets")
        for (int i = 0; i < value; ++i) answer += "- item\n";
      if (c.kind == "numbered")
        for (int i = 0; i < value; ++i) answer += std::to_string(i + 1) + ". item\n";
      if (c.kind == "starts_with") answer = value.get<std::string>() + " so";
      if (c.kind == "ends_with") answer = "So. " + value.get<std::string>();
      if (c.kind == "keyword") answer = "A " + value.get<std::string>() + ".";
      if (c.kind == "keyword_twice")
        answer = "A " + value["word"].get<std::string>() + " " + value["word"].get<std::string>();
      if (c.kind == "forbidden") answer = "Nothing here.";
      REQUIRE(answer != "");
      CHECK(satisfied(c.check, answer));
      if (c.kind != "max_words" && c.kind != "keyword")
        CHECK_FALSE(satisfied(c.check, c.kind == "lines" ? "x" : neither));
    }
}

TEST_CASE("constraints: no prompt forbids a word that another constraint asks for") {
  std::vector<Constraint> all;
  for (const auto& kind : constraint_kinds()) all.insert(all.end(), kind.begin(), kind.end());
  for (const Constraint& forbids : all) {
    if (forbids.kind != "forbidden") continue;
    for (const Constraint& asks : all)
      if (asks.kind == "keyword" || asks.kind == "starts_with" || asks.kind == "ends_with")
        CHECK(satisfied(forbids.check, asks.check.begin().value().get<std::string>()));
  }
}

TEST_CASE("constraints: prompts are deterministic, different, and fresh by offset") {
  const auto all = constraint_prompts(1, DataSplit::train, 0, 3000);
  REQUIRE(all.size() == 3000);
  std::set<std::string> texts, ids;
  for (const Prompt& prompt : all) {
    texts.insert(text_of(prompt));
    ids.insert(prompt.id->get<std::string>());
    REQUIRE_NOTHROW(parse_checks(prompt.check, "check"));
    REQUIRE(prompt.check.size() >= 1);
    REQUIRE(prompt.check.size() <= 3);
    REQUIRE(text_of(prompt).size() < 400);
  }
  CHECK(texts.size() == 3000);
  CHECK(ids.size() == 3000);
  const auto later = constraint_prompts(1, DataSplit::train, 2000, 500);
  for (size_t i = 0; i < later.size(); ++i) REQUIRE(prompt_to_json(later[i]) == prompt_to_json(all[2000 + i]));
  CHECK(later[0].id->get<std::string>() == "train-2000");
  CHECK(text_of(constraint_prompts(2, DataSplit::train, 0, 1)[0]) != text_of(all[0]));
  CHECK(constraint_prompts(1, DataSplit::train, 5, 0).empty());
}

// Trap 38: held-out prompts share nothing with training, not even the base request.
TEST_CASE("constraints: splits are disjoint down to the base request") {
  const auto base_of = [](const Prompt& prompt) {
    std::string best;
    for (const BaseRequest& r : base_requests())
      if (text_of(prompt).starts_with(r.text) && r.text.size() > best.size()) best = r.text;
    REQUIRE(best != "");
    return best;
  };
  std::map<std::string, std::set<int>> seen;
  for (DataSplit split : {DataSplit::train, DataSplit::select, DataSplit::test})
    for (const Prompt& prompt : constraint_prompts(1, split, 0, 700))
      seen[base_of(prompt)].insert(static_cast<int>(split));
  for (const auto& [base, splits] : seen) CHECK(splits.size() == 1);
}

TEST_CASE("constraints: a first iteration meets most kinds and every category") {
  std::set<std::string> kinds, categories;
  for (const Prompt& prompt : constraint_prompts(1, DataSplit::train, 0, 128)) {
    categories.insert(prompt.category);
    for (const auto& [kind, value] : prompt.check.items()) kinds.insert(kind);
  }
  CHECK(kinds.size() >= 16);
  CHECK(categories.size() >= 8);
}
