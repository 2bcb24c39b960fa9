#include "tpo/constraints.h"

#include <algorithm>
#include <unordered_set>

#include "tensor/check.h"
#include "tensor/rng.h"

namespace thinker {

namespace {

enum Aspect : uint32_t {
  kLength = 1,    // how much
  kShape = 2,     // sentences, lines, paragraphs, lists
  kBegin = 4,     // what it begins with
  kEnd = 8,       // what it ends with
  kLetters = 16,  // capitals or small letters
  kCommas = 32,
  kDigits = 64,
  kExclaim = 128,
  kKeyword = 256,
  kForbidden = 512,
  kMarks = 1024,  // *…*
  kBrackets = 2048,
};

using Kind = std::vector<Constraint>;

/// One constraint for each number: '#' in the text becomes the number, and check is made of it.
template <class MakeCheck>
Kind for_numbers(const std::string& kind, const std::vector<int>& numbers, const std::string& text, uint32_t aspects,
                 MakeCheck check) {
  Kind out;
  for (int n : numbers) {
    std::string words = text;
    words.replace(words.find('#'), 1, std::to_string(n));
    out.push_back({kind, words, check(n), aspects});
  }
  return out;
}

Kind for_words(const std::string& kind, const std::vector<std::string>& list, const std::string& text, uint32_t aspects,
               const char* check) {
  Kind out;
  for (const std::string& word : list) {
    std::string words = text;
    words.replace(words.find('#'), 1, word);
    out.push_back({kind, words, Json{{check, word}}, aspects});
  }
  return out;
}

Kind one(const std::string& kind, const std::string& text, uint32_t aspects) {
  return {{kind, text, Json{{kind, true}}, aspects}};
}

auto exactly(const char* check) {
  return [check](int n) { return Json{{check, n}}; };
}
auto minimum(const char* check) {
  return [check](int n) { return Json{{check, {{"min", n}}}}; };
}

std::vector<Kind> make_kinds() {
  const std::vector<std::string> keywords = {"because", "today",    "friend",  "small",  "light",
                                             "water",   "together", "morning", "simple", "world"};
  std::vector<Kind> kinds = {
      for_numbers("max_words", {25, 30, 40, 50, 60}, "Use at most # words.", kLength, exactly("max_words")),
      for_numbers("min_words", {30, 40, 50, 60}, "Use at least # words.", kLength, exactly("min_words")),
      for_numbers("sentences", {2, 3, 4}, "Answer in exactly # sentences.", kLength | kShape, exactly("sentences")),
      for_numbers("sentences_at_least", {3, 4, 5}, "Write at least # sentences.", kLength | kShape,
                  minimum("sentences")),
      for_numbers("paragraphs", {2, 3}, "Write exactly # paragraphs with a blank line between them.", kShape,
                  exactly("paragraphs")),
      for_numbers("lines", {2, 3, 4}, "Write exactly # lines.", kShape, exactly("lines")),
      for_numbers("bullets", {2, 3, 4, 5}, "Use exactly # bullet points that begin with \"- \".", kShape | kBegin,
                  exactly("bullets")),
      for_numbers("numbered", {3, 4, 5}, "Answer with a numbered list of exactly # items.", kShape | kBegin | kDigits,
                  exactly("numbered")),
      one("json", "Give the whole answer as a JSON object.", kShape | kBegin | kEnd | kCommas | kMarks | kBrackets),
      one("lowercase", "Write everything in small letters, with no capital letters.", kLetters),
      one("uppercase", "WRITE EVERYTHING IN CAPITAL LETTERS.", kLetters),
      for_numbers("capital_words", {2, 3, 4}, "Write at least # words in capital letters.", kLetters,
                  minimum("capital_words")),
      one("no_comma", "Do not use any commas.", kCommas),
      one("no_digits", "Do not use any digits.", kDigits),
      one("no_exclamation", "Do not use exclamation marks.", kExclaim),
      one("quoted", "Put the whole answer in double quotation marks.", kBegin | kEnd),
      one("title", "Begin with a title in double angle brackets, such as <<My Title>>.", kBegin | kShape),
      one("postscript", "At the end, add a postscript that begins with \"P.S.\"", kEnd | kShape | kLetters),
      for_words("starts_with", {"Sure", "Of course", "Well", "Here we go", "I think"}, "Begin your answer with \"#\".",
                kBegin | kLetters, "starts_with"),
      for_words("ends_with", {"Thanks for reading.", "I hope this helps.", "More tomorrow.", "Good luck."},
                "End your answer with \"#\"", kEnd | kLetters, "ends_with"),
      {{"question", "End your answer with a question.", Json{{"ends_with", "?"}}, kEnd}},
      for_words("keyword", keywords, "Use the word \"#\".", kKeyword, "keyword"),
      for_words("forbidden", {"the", "very", "and", "you", "is", "can"}, "Do not use the word \"#\".", kForbidden,
                "forbidden"),
      for_numbers("highlights", {2, 3}, "Highlight at least # words by writing them like *this*.", kMarks,
                  minimum("highlights")),
      for_numbers("placeholders", {2, 3}, "Use at least # placeholders in square brackets, such as [name].", kBrackets,
                  minimum("placeholders")),
  };
  Kind twice;
  for (const std::string& word : keywords)
    twice.push_back({"keyword_twice", "Use the word \"" + word + "\" at least twice.",
                     Json{{"keyword", {{"word", word}, {"min", 2}}}}, kKeyword});
  kinds.push_back(twice);
  return kinds;
}

const char* name(DataSplit split) {
  return split == DataSplit::train ? "train" : split == DataSplit::select ? "select" : "test";
}

/// The base requests of a split, in an order that depends on the seed.
std::vector<BaseRequest> requests_of(uint64_t seed, DataSplit split) {
  std::vector<BaseRequest> all = base_requests();
  Rng rng(seed, Purpose::generate_data, 1);
  rng.shuffle(all);
  const auto n = static_cast<int64_t>(all.size()), tenth = n / 10;
  const int64_t begin = split == DataSplit::train ? 2 * tenth : split == DataSplit::select ? 0 : tenth;
  const int64_t end = split == DataSplit::train ? n : begin + tenth;
  return {all.begin() + begin, all.begin() + end};
}

/// One to three constraints (a quarter, a half, a quarter of the prompts) of different kinds that go together.
std::vector<Constraint> draw_constraints(Rng& rng) {
  const int64_t quarter = rng.below(4);
  const size_t wanted = quarter == 0 ? 1 : quarter == 3 ? 3 : 2;
  std::vector<Constraint> drawn;
  uint32_t taken = 0;
  while (drawn.size() < wanted) {
    const Kind& kind = constraint_kinds()[rng.below(static_cast<int64_t>(constraint_kinds().size()))];
    const Constraint& c = kind[rng.below(static_cast<int64_t>(kind.size()))];
    if (c.aspects & taken) continue;
    taken |= c.aspects;
    drawn.push_back(c);
  }
  return drawn;
}

Prompt join(const BaseRequest& request, const std::vector<Constraint>& constraints) {
  Prompt prompt;
  prompt.category = request.category;
  std::string text = request.text;
  prompt.check = Json::object();
  const bool length_is_told =
      std::any_of(constraints.begin(), constraints.end(), [](const Constraint& c) { return c.aspects & kLength; });
  if (!length_is_told) text += " Keep the answer short.";
  for (const Constraint& c : constraints) {
    text += " " + c.text;
    prompt.check.update(c.check);
  }
  prompt.messages = {{"user", text}};
  return prompt;
}

}  // namespace

const std::vector<std::vector<Constraint>>& constraint_kinds() {
  static const std::vector<Kind> kinds = make_kinds();
  return kinds;
}

std::vector<Prompt> constraint_prompts(uint64_t seed, DataSplit split, int64_t offset, int64_t count) {
  ENSURE(offset >= 0 && count >= 0 && offset <= INT32_MAX && count <= INT32_MAX, "prompts ", offset, " + ", count);
  const std::vector<BaseRequest> requests = requests_of(seed, split);
  std::vector<Prompt> prompts;
  std::unordered_set<std::string> texts;
  // Every prompt before the offset is made, too: "different from all before it" must not depend on where a caller
  // begins.
  for (int64_t i = 0; i < offset + count; ++i) {
    Rng rng(seed, Purpose::generate_data, 2, static_cast<uint32_t>(split), static_cast<uint32_t>(i));
    const BaseRequest& request = requests[i % static_cast<int64_t>(requests.size())];
    Prompt prompt;
    int attempts = 0;
    do {
      if (++attempts > 1000)
        fail("the generator \"constraints\" has only ", i, " different prompts of split ", name(split));
      prompt = join(request, draw_constraints(rng));
    } while (!texts.insert(prompt.messages[0].content).second);
    if (i < offset) continue;
    prompt.id = Json(concat(name(split), "-", i));
    prompts.push_back(std::move(prompt));
  }
  return prompts;
}

}  // namespace thinker
