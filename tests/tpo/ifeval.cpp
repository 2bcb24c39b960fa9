// IFEval's 25 instruction types: for each a response that follows it, one that does not, and what lies between. The
// expected values are the reference's (tests/compare_ifeval.py runs it on many more).
#include "tpo/judges/ifeval.h"

#include <doctest/doctest.h>

#include <cmath>
#include <set>

#include "tensor/check.h"
#include "tpo/judge.h"
#include "tpo/judges/ifeval_text.h"
#include "tpo/judges/language.h"
#include "tpo/judges/rule.h"
#include "tpo/stages/judge.h"

using namespace thinker;
using ifeval::Instruction;

namespace {

Json check_of(const std::string& id, const char* kwargs) {
  return {{"instruction_id_list", {id}}, {"kwargs", {Json::parse(kwargs)}}};
}

/// An instruction, and the set of types that were tried.
class Type {
 public:
  explicit Type(const std::string& id, const char* kwargs = "{}")
      : instruction_(ifeval::parse_instructions(check_of(id, kwargs), "F:1")[0]) {
    tried().insert(id);
  }
  static std::set<std::string>& tried() {
    static std::set<std::string> ids;
    return ids;
  }
  const Instruction& instruction() const { return instruction_; }

  void met(const std::string& response) const { check(response, Met::yes); }
  void unmet(const std::string& response) const { check(response, Met::no); }
  void undecided(const std::string& response) const { check(response, Met::undecided); }

 private:
  void check(const std::string& response, Met expected) const {
    INFO(instruction_.id, " on: ", response);
    CHECK(static_cast<int>(ifeval::strict(instruction_, response)) == static_cast<int>(expected));
  }
  Instruction instruction_;
};

bool loosely(const Type& type, const std::string& response) {
  return ifeval::loose(type.instruction(), response) == Met::yes;
}

void refuses(const std::string& id, const char* kwargs, const char* message) {
  INFO(id, " ", kwargs);
  CHECK_THROWS_WITH_AS(ifeval::parse_instructions(check_of(id, kwargs), "F:3"), doctest::Contains(message), Error);
}

JudgeView view_of(const Json& check, const std::string& response) {
  const Prompt prompt{Json("p"), "", {{"user", "Say something."}}, check, std::nullopt};
  return make_judge_view(prompt, {std::nullopt, response, Parse::ok});
}

Judged judged(const Json& check, const std::string& response, const RuleKnobs& knobs = {}) {
  const JudgeView view = view_of(check, response);
  return RuleJudge(knobs).judge({&view, 1})[0];
}

const char* kEnglish = "the weather is nice today and we are going to the park with our children.";
const char* kEnglishCapital = "THE WEATHER IS NICE TODAY AND WE ARE GOING TO THE PARK WITH OUR CHILDREN.";

}  // namespace

TEST_CASE("ifeval: keywords") {
  const Type existence("keywords:existence", R"({"keywords": ["sun", "colou?r"]})");
  existence.met("A SUNday of color");  // no whole words: a pattern that is found
  existence.unmet("A sunny day");
  existence.unmet("  ");

  const Type at_least("keywords:frequency", R"({"keyword": " the ", "frequency": 2, "relation": "at least"})");
  at_least.met("The other");
  at_least.unmet("The sea");
  const Type less("keywords:frequency",
                  R"({"keyword": "the", "frequency": 2, "relation": "less than", "letter": null})");
  less.met("The sea");
  less.unmet("The other");

  const Type forbidden("keywords:forbidden_words", R"({"forbidden_words": ["rock", "\u00e9t\u00e9"]})");
  forbidden.met("Rocks and rocking");
  forbidden.unmet("We will ROCK.");
  forbidden.unmet("L'\u00C9T\u00C9");

  const Type letter("keywords:letter_frequency", R"({"letter": "T", "let_frequency": 2, "let_relation": "at least"})");
  letter.met("That");
  letter.unmet("at");
  Type("keywords:letter_frequency", R"({"letter": "#", "let_frequency": 2.0, "let_relation": "less than"})").met("#1");
}

TEST_CASE("ifeval: language") {
  const Type german("language:response_language", R"({"language": "de"})");
  german.met("Das Wetter ist heute sch\u00F6n und wir gehen mit unseren Kindern in den Park.");
  german.unmet(kEnglish);
  german.met("12, 34!");  // no letters, no language: the reference counts it
  german.undecided("Ja.");
  Type("language:response_language", R"({"language": "he"})")
      .met("\u05DE\u05D6\u05D2 \u05D4\u05D0\u05D5\u05D5\u05D9\u05E8 \u05E0\u05E2\u05D9\u05DD \u05D4\u05D9\u05D5\u05DD");

  const Type lower("change_case:english_lowercase");
  lower.met(kEnglish);
  lower.unmet(kEnglishCapital);
  lower.unmet("das wetter ist heute sch\u00F6n und wir gehen mit unseren kindern in den park.");
  lower.unmet("123");  // no letter in lower case
  const Type capital("change_case:english_capital");
  capital.met(kEnglishCapital);
  capital.unmet(std::string(kEnglishCapital) + " x");
  capital.undecided("OK.");

  CHECK(*detect_language("\u4ECA\u5929\u5929\u6C14\u5F88\u597D\uFF0C\u6211\u4EEC\u53BB\u516C\u56ED\u3002") == "zh-cn");
  CHECK_FALSE(detect_language(""));
  CHECK_FALSE(detect_language("\xFF\xFE"));
}

TEST_CASE("ifeval: lengths") {
  const Type words("length_constraints:number_words", R"({"num_words": 4, "relation": "at least"})");
  words.met("well-known, snake_case caf\u00E9");
  words.unmet("e - \u00E9 x_1 \U0001F600");

  const Type sentences("length_constraints:number_sentences", R"({"num_sentences": 3, "relation": "at least"})");
  sentences.met("One. Two! Three?");
  sentences.unmet("Mr. Smith paid 3.50 at 5 p.m. on Monday. \"Fine.\"");

  const Type paragraphs("length_constraints:number_paragraphs", R"({"num_paragraphs": 2})");
  paragraphs.met("One\n***\nTwo");
  paragraphs.met("***\nOne\n***\nTwo\n***");
  paragraphs.unmet("One\n\nTwo");
  paragraphs.unmet("One\n***\n***\nTwo");
  Type("length_constraints:number_paragraphs", R"({"num_paragraphs": 0})").met("***");

  const Type nth("length_constraints:nth_paragraph_first_word",
                 R"({"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Dear"})");
  nth.met("Hello.\n\n \"Dear, all");
  nth.unmet("Hello.\n\nDearest all");
  nth.unmet("Hello.\n\n\n\nDear all");  // the second place is blank
  nth.unmet("Hello.\n\nDear all\n\nBye");
  nth.unmet("Dear all");
}

TEST_CASE("ifeval: content") {
  const Type placeholders("detectable_content:number_placeholders", R"({"num_placeholders": 2})");
  placeholders.met("[name] []");
  placeholders.unmet("[[name]]");
  placeholders.unmet("[a\nb] [c]");

  const Type ps("detectable_content:postscript", R"({"postscript_marker": "P.S."})");
  ps.met("Text. p. s. bye");
  ps.unmet("Text. PS bye");
  const Type pps("detectable_content:postscript", R"({"postscript_marker": "P.P.S"})");
  pps.met("Text\nP. P.S bye");
  pps.unmet("P.S. bye");
  Type("detectable_content:postscript", R"({"postscript_marker": "\u00C9nd"})").met("text \u00E9ND");
}

TEST_CASE("ifeval: formats") {
  const Type bullets("detectable_format:number_bullet_lists", R"({"num_bullets": 2})");
  bullets.met("* a\n - b\n**c** d");
  bullets.unmet("* a\n- b\n---");
  bullets.unmet("\u2022 a\n\u2022 b");

  const Type constrained("detectable_format:constrained_response");
  constrained.met("Well: My answer is no. Sorry.");
  constrained.unmet("my answer is no.");

  const Type highlights("detectable_format:number_highlighted_sections", R"({"num_highlights": 2})");
  highlights.met("*a* and **b c**");
  highlights.unmet("**b c** ****");  // "**" is blank, "**b c**" counts once
  highlights.unmet("*a\nb* *c*");

  const Type sections("detectable_format:multiple_sections", R"({"section_spliter": " Section ", "num_sections": 2})");
  sections.met("Section 1\na\nSection2\nb");
  sections.unmet("Section 1\na\nSection X\nb");
  sections.unmet("SECTION 1\na\nSECTION 2\nb");

  const Type json("detectable_format:json_format");
  json.met("{\"a\": [1, -2.5e3, true, null, \"\\u00e9\\n\"]}");
  json.met("```JSON\n[]\n```");
  json.met("{\"a\": NaN, \"b\": -Infinity, \"c\": 1e999, \"d\": \"\\ud800\"}");
  for (const char* bad :
       {"{a: 1}", "[1,]", "012", "'a'", "True", "\"a\nb\"", "\"\\x\"", "[1] x", "```\n```", "-", "1."})
    json.unmet(bad);
  json.met(std::string(200, '[') + std::string(200, ']'));

  const Type title("detectable_format:title");
  title.met("<<The Sea>>\nText");
  title.unmet("<< >> <The Sea>");
  title.unmet("<<The\nSea>>");
}

TEST_CASE("ifeval: combinations, begins and ends, cases, punctuation") {
  const Type two("combination:two_responses");
  two.met("A\n******\nB");
  two.met("******A******B******");
  two.unmet("A******A");
  two.unmet("A************B");
  two.unmet("A*****B");

  const Type repeat("combination:repeat_prompt", R"({"prompt_to_repeat": " Write an \u00C9l\u00E9gie. "})");
  repeat.met("WRITE AN \u00C9L\u00C9GIE. Here");
  repeat.unmet("Sure. Write an \u00C9l\u00E9gie.");

  const Type end("startend:end_checker", R"({"end_phrase": "Any other questions?"})");
  end.met("Text. \"ANY OTHER QUESTIONS?\"\n");
  end.unmet("Any other questions? No.");

  const Type quotation("startend:quotation");
  quotation.met(" \"a\" and \"b\"\n");
  quotation.unmet("\"");
  quotation.unmet("\u201Ca\u201D");

  const Type capitals("change_case:capital_word_frequency",
                      R"({"capital_frequency": 3, "capital_relation": "at least"})");
  capitals.met("I DON'T know");  // I, DO, N'T
  capitals.met("AT&T (NASA)");
  capitals.unmet("WELL-KNOWN/FINE It Is 12");
  capitals.met("CANNOT X");  // CAN, NOT
  capitals.met("It's IT'S \u00C9T\u00C9");

  const Type comma("punctuation:no_comma");
  comma.met("a; b\uFF0C c");
  comma.unmet("a, b");
}

TEST_CASE("ifeval: all 25 types have a test above") {
  CHECK(ifeval::instruction_ids().size() == 25);
  for (const std::string& id : ifeval::instruction_ids()) {
    INFO(id);
    CHECK(Type::tried().count(id) == 1);
  }
}

TEST_CASE("ifeval: sentences are Punkt's") {
  const auto count = ifeval::count_sentences;
  CHECK(count("") == 0);
  CHECK(count("no end") == 1);
  CHECK(count("One. Two! Three? Four") == 4);
  CHECK(count("Dr. Smith met Mr. J. R. Tolkien in St. Louis, D.C. today.") == 1);
  CHECK(count("In 1999. the end") == 1);
  CHECK(count("In 1999. The end") == 2);
  CHECK(count("Wait... what? Really?!") == 3);
  CHECK(count("\"Stop!\" he said. (Fine.) \"Why?\"") == 4);
  CHECK(count("a.b.c version 2.0 at x.org") == 1);
  CHECK(count("The U.S. economy. He left at 5 p.m. He slept.") == 3);
  CHECK(count("One.\n\nTwo.\u00A0Three.") == 3);
}

TEST_CASE("ifeval: words, letters, JSON") {
  CHECK(ifeval::strip("\u3000 a\u00A0b \u2003\n") == "a\u00A0b");
  CHECK(ifeval::strip("\u00A0\n") == "");
  CHECK(ifeval::first_token("a\u00A0b c") == "a");
  CHECK(ifeval::lower("\u00C9T\u00C9 \u0416 \u03A3 ABC \u00DF") == "\u00E9t\u00E9 \u0436 \u03C3 abc \u00DF");
  CHECK(ifeval::lower("") == "");
  CHECK(ifeval::all_in_case("ABC 1!", ifeval::LetterCase::upper));
  CHECK_FALSE(ifeval::all_in_case("1!", ifeval::LetterCase::upper));
  CHECK_FALSE(ifeval::all_in_case("\u01C5", ifeval::LetterCase::upper));
  CHECK(ifeval::count_words("a_b c-d \u00E9\u0301 \u2167") == 5);
}

TEST_CASE("ifeval: the eight variants of loose accuracy") {
  const Type quotation("startend:quotation");
  CHECK(loosely(quotation, "Sure:\n\"a\""));
  CHECK(loosely(quotation, "\"a\"\nBye"));
  CHECK(loosely(quotation, "Sure:\n\n\"a\"\n\nBye"));
  CHECK(loosely(quotation, "**\"a\"**"));
  CHECK(loosely(quotation, "*Sure*\n**\"a\"**"));
  CHECK(loosely(quotation, "**\"a\"**\nBye"));
  CHECK(loosely(quotation, "Sure\n**\"a\"**\nBye"));
  CHECK_FALSE(loosely(quotation, "Sure\nSure\n\"a\""));
  CHECK_FALSE(loosely(Type("punctuation:no_comma"), "a, b\n\n"));  // blank variants follow nothing
  CHECK_FALSE(loosely(Type("punctuation:no_comma"), "a, b"));
  // One variant that could not be told leaves the whole open; one that is met decides.
  const Type german("language:response_language", R"({"language": "de"})");
  CHECK((ifeval::loose(german.instruction(), std::string(kEnglish) + "\nJa.") == Met::undecided));
  CHECK((ifeval::loose(german.instruction(), "Ja.\nDas Wetter ist heute sch\u00F6n und wir gehen spazieren.") ==
         Met::yes));
}

TEST_CASE("ifeval: what is wrong with a line is named") {
  refuses("length_constraints:number_wrods", "{}",
          "F:3: instruction_id_list[0]: unknown instruction \"length_constraints:number_wrods\"; did you mean "
          "\"length_constraints:number_words\"?");
  refuses(
      "length_constraints:number_words", R"({"num_word": 3, "relation": "at least"})",
      "F:3: kwargs[0] of length_constraints:number_words: unknown option \"num_word\"; did you mean \"num_words\"?");
  refuses("length_constraints:number_words", R"({"num_words": null, "relation": "at least"})",
          "\"num_words\" is missing");
  refuses("length_constraints:number_words", R"({"num_words": 3, "relation": "at most"})",
          "number_words.relation: must be \"at least\" or \"less than\"");
  refuses("length_constraints:number_words", R"({"num_words": 2.5, "relation": "at least"})", "a count from 0");
  refuses("punctuation:no_comma", R"({"num_words": 3})", "unknown option \"num_words\"; none is expected");
  refuses("keywords:existence", R"({"keywords": ["(a"]})", "F:3: kwargs[0] of keywords:existence: regular expression");
  refuses("keywords:existence", R"({"keywords": []})", "the list is empty");
  refuses("keywords:letter_frequency", R"({"letter": "ab", "let_frequency": 1, "let_relation": "at least"})",
          "must be one character");
  refuses("language:response_language", R"({"language": "german"})", "none of IFEval's languages; did you mean");
  refuses("length_constraints:nth_paragraph_first_word",
          R"({"num_paragraphs": 2, "nth_paragraph": 3, "first_word": "a"})", "must be from 1 to num_paragraphs, 2");
  const auto broken = [](const char* check, const char* message) {
    CHECK_THROWS_WITH_AS(ifeval::parse_instructions(Json::parse(check), "F:3"), doctest::Contains(message), Error);
  };
  broken(R"({"instruction_id_list": [], "kwargs": []})", "F:3: \"instruction_id_list\" is not a list");
  broken(R"({"instruction_id_list": ["punctuation:no_comma"]})", "\"kwargs\" must be a list of 1 objects");
  broken(R"({"instruction_id_list": ["punctuation:no_comma"], "kwargs": [3]})",
         "kwargs[0] of punctuation:no_comma: not");
  broken(R"({"instruction_id_list": [3], "kwargs": [{}]})", "instruction_id_list[0] is not a string");
  broken(R"({"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}], "weight": 2})",
         "unknown option \"weight\"");
}

TEST_CASE("ifeval: a line of its data is a prompt") {
  const auto parse = [](const std::string& text) { return parse_prompt(JsonLine(Json::parse(text), "F:7")); };
  const Prompt prompt = parse(
      R"({"key": 1001, "prompt": "q", "instruction_id_list": ["length_constraints:number_words"],
          "kwargs": [{"num_words": 3, "relation": "at least", "letter": null}], "prompt_without_instruction": "x"})");
  CHECK(*prompt.id == Json(1001));
  CHECK(prompt.category == "length_constraints");
  CHECK(prompt.messages == Messages{{"user", "q"}});
  const Prompt again = parse(prompt_to_json(prompt).dump());
  CHECK(again.check == prompt.check);
  CHECK(*again.id == *prompt.id);
  CHECK(again.category == prompt.category);
  const Prompt mixed = parse(
      R"({"id": "a", "key": 2, "prompt": "q", "instruction_id_list": ["startend:quotation", "punctuation:no_comma"],
          "kwargs": [{}, {}]})");
  CHECK(*mixed.id == Json("a"));
  CHECK(mixed.category == "mixed");
  CHECK_THROWS_WITH_AS(parse(R"({"key": 2, "prompt": "q", "instruction_id_list": ["startend:quote"], "kwargs": [{}]})"),
                       doctest::Contains("F:7: instruction_id_list[0]: unknown instruction"), Error);
  CHECK_THROWS_WITH_AS(parse(R"({"prompt": "q", "instruction_id_list": ["startend:quotation"]})"),
                       doctest::Contains("F:7: \"kwargs\" is missing"), Error);
  CHECK_THROWS_WITH_AS(
      parse(R"({"prompt": "q", "check": {"no_comma": true}, "instruction_id_list": [], "kwargs": []})"),
      doctest::Contains("has both"), Error);
}

TEST_CASE("ifeval: the rule judge's score is the share of what could be decided") {
  const Json check = Json::parse(
      R"({"instruction_id_list": ["punctuation:no_comma", "startend:quotation", "change_case:english_capital"],
          "kwargs": [{}, {}, {}]})");
  Judged j = judged(check, "a, b");
  CHECK(*j.score == 0.0);
  j = judged(check, "Sure, here:\n\"A\"");
  CHECK(j.answer ==
        "not met: punctuation:no_comma (loosely met), startend:quotation (loosely met), change_case:english_capital "
        "(loosely undecided)");
  j = judged(check, "\"OK\"");
  CHECK(*j.score == 1.0);
  CHECK(j.answer == "undecided: change_case:english_capital");
  j = judged(check_of("change_case:english_capital", "{}"), "OK");
  CHECK_FALSE(j.score);
  CHECK(j.error == "undecided: change_case:english_capital");
  CHECK(*judged(check_of("punctuation:no_comma", "{}"), "\xFF\xC3").score ==
        1.0);  // a model may sample half a character
}

TEST_CASE("ifeval: accuracies by prompt, instruction and group") {
  ifeval::Accuracy a;
  const Json both =
      Json::parse(R"({"instruction_id_list": ["punctuation:no_comma", "startend:quotation"], "kwargs": [{}, {}]})");
  a.add(both, "\"a\"");
  a.add(both, "Sure:\n\"a\"");
  a.add(both, std::nullopt);
  a.add(check_of("change_case:english_capital", "{}"), "OK");
  CHECK(accuracy_to_json(a).dump() ==
        R"({"prompts":4,"prompt_strict":0.3333333333333333,"prompt_loose":0.6666666666666666,"instructions":7,)"
        R"("instruction_strict":0.5,"instruction_loose":0.6666666666666666,"undecided":1,"groups":{)"
        R"("change_case":{"instructions":1,"strict":0.0,"loose":0.0},)"
        R"("punctuation":{"instructions":3,"strict":0.6666666666666666,"loose":0.6666666666666666},)"
        R"("startend":{"instructions":3,"strict":0.3333333333333333,"loose":0.6666666666666666}}})");
  CHECK(describe(a) ==
        "IFEval: prompts strict 0.333, loose 0.667 (of 3); instructions strict 0.500, loose 0.667 (of 6); "
        "1 instructions undecided, left out");

  // A pattern that would run for ever decides nothing.
  ifeval::Accuracy hard;
  hard.add(check_of("keywords:existence", R"({"keywords": ["^(a+)+$"]})"), std::string(60, 'a') + "!");
  CHECK(hard.instructions.strict.undecided == 1);

  // Over samples: prompts of another format are passed over, outputs that did not parse count as not followed.
  std::vector<Prompt> prompts = {{Json(1), "", {{"user", "q"}}, both, std::nullopt},
                                 {Json(2), "", {{"user", "q"}}, Json{{"no_comma", true}}, std::nullopt}};
  std::vector<SampleRecord> samples(3);
  samples[0].id = samples[1].id = 1;
  samples[2].id = 2;
  samples[0].split = samples[2].split = {std::nullopt, "\"a\"", Parse::ok};
  samples[1].split = {std::nullopt, std::nullopt, Parse::no_marker};
  const ifeval::Accuracy over = ifeval_accuracy(prompts, samples);
  CHECK(over.prompts.strict.of == 2);
  CHECK(over.prompts.strict.met == 1);
  CHECK(over.instructions.loose.of == 4);
  CHECK(ifeval_accuracy({prompts[1]}, samples).groups.empty());
}

TEST_CASE("rule judge: knobs for experiments") {
  const Json check = Json::parse(R"({"no_comma": true})");
  const std::string text = "d\u00E9j\u00E0 vu ";
  CHECK(*judged(check, text).score == 1.0);
  CHECK(*judged(check, text, {0, 0, 5}).score == 1.0);
  const RuleKnobs longer{2.0, 0, 0};
  CHECK(*judged(check, text, longer).score == 1.0 + 2.0 * 7 / 1000);  // code points of the trimmed response
  const RuleKnobs noisy{0, 0.5, 9};
  const double once = *judged(check, text, noisy).score;
  CHECK(once == *judged(check, text, noisy).score);
  CHECK(once != 1.0);
  CHECK(once != *judged(check, text, {0, 0.5, 10}).score);
  CHECK(once != *judged(check, text + "x", noisy).score);
  double sum = 0, squares = 0;
  const int n = 4000;
  for (int i = 0; i < n; ++i) {
    const double e = *judged(check, "r" + std::to_string(i), noisy).score - 1;
    sum += e;
    squares += e * e;
  }
  CHECK(std::abs(sum / n) <= 4 * 0.5 / std::sqrt(n));
  CHECK(std::abs(std::sqrt(squares / n) - 0.5) <= 0.03);

  CHECK_NOTHROW(make_judge(Json::parse(R"({"kind": "rule", "length_bias": -0.5, "noise": 0.1, "seed": 3})")));
  const auto bad = [](const char* text, const char* message) {
    CHECK_THROWS_WITH_AS(make_judge(Json::parse(text)), doctest::Contains(message), Error);
  };
  bad(R"({"kind": "rule", "noize": 1})", "judge.noize: unknown key; did you mean judge.noise?");
  bad(R"({"kind": "rule", "noise": -1})", "judge.noise: must be a number from 0");
  bad(R"({"kind": "rule", "length_bias": "1"})", "judge.length_bias: not a number");
  bad(R"({"kind": "rule", "seed": 1.5})", "judge.seed: must be a whole number from 0");
}
