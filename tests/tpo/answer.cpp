// The answer judge: which number of a text is its answer, and when two are the same.
#include "tpo/judges/answer.h"

#include <doctest/doctest.h>

#include "tensor/check.h"

using namespace thinker;

TEST_CASE("answer: the final number, in many dresses") {
  const std::vector<std::pair<const char*, const char*>> cases = {
      {"The answer is 42.", "42"},
      {"She has 3 left, so 7 in all", "7"},
      {"$1,234.50", "1234.5"},
      {"1,234,567 people", "1234567"},
      {"either 1,2", "2"},
      {"12,3456", "3456"},
      {"007", "7"},
      {"000", "0"},
      {"-0.0", "0"},
      {"3.140", "3.14"},
      {"5.", "5"},
      {"5.00", "5"},
      {".50", "0.5"},
      {"costs -$5", "-5"},
      {"costs $-5", "-5"},
      {"x = -3", "-3"},
      {"x = \u22123", "-3"},
      {"8-3", "3"},
      {"f(2)-3", "3"},
      {"(-3)", "-3"},
      {"- 5 apples", "5"},
      {"50%", "50"},
      {"**18**", "18"},
      {"\\boxed{18}", "18"},
      {"version 1.2.3", "0.3"},
      {"99999999999999999999999999.10", "99999999999999999999999999.1"},
      {"He ran 5 km.\n#### 72", "72"},
      {"#### 72\n(that is 6 dozen)", "72"},
      {"#### 1\n#### 2", "2"},
      {"so 9 ####", "9"},
      {"#### $1,000", "1000"},
      {"\u00bd of 10\u20ac", "10"},
  };
  for (const auto& [text, number] : cases) CHECK_MESSAGE(final_number(text).value_or("none") == number, text);
  for (const char* none : {"", "no number", "one, two.", "####", "-", "$.", ",", "\u0663"}) CHECK(!final_number(none));
}

TEST_CASE("answer: 1 or 0; a reference that is missing or no number is an error, never a score") {
  Prompt with, without, words;
  with.messages = without.messages = words.messages = {{"user", "How many?"}};
  with.reference = "16 - 3 - 4 = <<16-3-4=9>>9\n9 * 2 = <<9*2=18>>18\n#### 18";
  words.reference = "eighteen";
  const auto view = [](const Prompt& p, const char* text) {
    return make_judge_view(p, {std::nullopt, std::string(text), Parse::ok});
  };
  const auto judge = make_judge({{"kind", "answer"}});
  const auto judged = judge->judge(std::vector<JudgeView>{view(with, "It makes $18.00."), view(with, "18 or 19"),
                                                          view(with, "many"), view(without, "18"), view(words, "18")});
  REQUIRE(judged.size() == 5);
  CHECK(judged[0].score == 1.0);
  CHECK(judged[0].answer == "18");
  CHECK(judged[1].score == 0.0);
  CHECK(judged[1].answer == "19");
  CHECK(judged[2].score == 0.0);
  CHECK(judged[2].answer == "");
  CHECK(!judged[3].score);
  CHECK(judged[3].error == "the prompt has no \"reference\"");
  CHECK(!judged[4].score);
  CHECK(judged[4].error == "the reference \"eighteen\" holds no number");
  CHECK_THROWS_AS(make_judge({{"kind", "answer"}, {"exact", true}}), Error);
}
