#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>

#include "tensor/check.h"
#include "tensor/file.h"
#include "tpo/judge.h"
#include "tpo/judges/command.h"
#include "tpo/judges/measure.h"
#include "tpo/judges/regex.h"
#include "tpo/judges/rule.h"

using namespace thinker;

namespace {

Prompt prompt_with(const Json& check) {
  return {Json("p"), "", {{"user", "Say something."}}, check, std::nullopt};
}

JudgeView view_of(const std::string& response, const Json& check = nullptr) {
  return make_judge_view(prompt_with(check), {std::nullopt, response, Parse::ok});
}

double score(const Json& check, const std::string& response) {
  const JudgeView view = view_of(response, check);
  const Judged judged = RuleJudge().judge({&view, 1})[0];
  REQUIRE(judged.error == "");
  return *judged.score;
}

bool holds(const char* check, const std::string& response) {
  const double s = score(Json::parse(check), response);
  return s == 1.0;
}

void refuses(const char* check, const char* message) {
  INFO(check);
  CHECK_THROWS_WITH_AS(parse_checks(Json::parse(check), "F:3: \"check\""), doctest::Contains(message), Error);
}

/// A Python-free judge program: a shell script in a temporary file.
class Script {
 public:
  explicit Script(const std::string& body) {
    static int number = 0;
    path_ =
        (std::filesystem::temp_directory_path() / concat("thinker-judge-", ::getpid(), "-", ++number, ".sh")).string();
    write_file_atomically(path_, "#!/bin/sh\n" + body);
  }
  ~Script() {
    std::filesystem::remove(path_);
    std::filesystem::remove(seen());
  }
  std::string command() const { return "sh " + path_ + " " + seen(); }
  std::string seen() const { return path_ + ".seen"; }  // a file that the script may copy its input to

 private:
  std::string path_;
};

// Reads lines for ever; $id is the id of each.
const std::string kLoop = "while IFS= read -r line; do echo \"$line\" >> \"$1\"; id=${line#*:}; id=${id%%,*}\n";

std::vector<Judged> ask(CommandJudge& judge, int n) {
  std::vector<JudgeView> views;
  for (int i = 0; i < n; ++i) views.push_back(view_of("response " + std::to_string(i)));
  return judge.judge(views);
}

}  // namespace

TEST_CASE("judge: the view holds the user's own prompt and the trimmed response, and nothing of a failed output") {
  const JudgeView view = view_of(" \n Paris. \n");
  CHECK(view.response() == "Paris.");
  CHECK(view.to_json().dump() == R"({"prompt":[{"role":"user","content":"Say something."}],"response":"Paris."})");
  CHECK_THROWS_AS(make_judge_view(prompt_with(nullptr), {std::nullopt, std::nullopt, Parse::no_marker}), Error);
  CHECK_THROWS_AS(make_judge_view(prompt_with(nullptr), {std::nullopt, "cut", Parse::no_end}), Error);
  static_assert(!std::is_default_constructible_v<JudgeView>);
}

// Trap 29: no byte of a thought or of a thought prompt reaches a judge, in memory, on the wire or on disk.
TEST_CASE("judge: canaries in the thought and in the thought prompt are found nowhere") {
  const std::string in_thought = "canary-thought-8261", in_prompt = "canary-prompt-5530";
  const ThoughtStyle style =
      parse_thought_style(R"({"instruction": "canary-prompt-5530 {query}", "split": "<R>"})", "own.json");
  const Prompt prompt = prompt_with(Json{{"max_words", 5}});
  const Messages asked = apply_thought(prompt.messages, style);
  REQUIRE(asked[0].content.find(in_prompt) != std::string::npos);
  const SplitOutput output = split_output(in_thought + " <R> The answer.", style, Stop::end);
  REQUIRE(output.thought->find(in_thought) != std::string::npos);

  const Script script(kLoop + "echo \"{\\\"id\\\":$id,\\\"score\\\":1}\"; done");
  CommandJudge judge(script.command(), 20);
  const JudgeView view = make_judge_view(prompt, output);
  CHECK(*judge.judge({&view, 1})[0].score == 1);
  for (const std::string& received : {dump_json(view.to_json()), view.check().dump(), read_text_file(script.seen())}) {
    CHECK(received.find("canary") == std::string::npos);
    CHECK(received != "");
  }
  CHECK(read_text_file(script.seen()).find("The answer.") != std::string::npos);
}

TEST_CASE("judge: prompts are read with their check") {
  const JsonLine line(
      Json::parse(R"({"id": 4, "category": "c", "prompt": "q", "check": {"max_words": 3}, "reference": "r"})"), "F:1");
  const Prompt prompt = parse_prompt(line);
  CHECK(*prompt.id == Json(4));
  CHECK(prompt.messages == Messages{{"user", "q"}});
  CHECK(*prompt.reference == "r");
  CHECK(parse_prompt(JsonLine(prompt_to_json(prompt), "F:1")).check == prompt.check);
  CHECK_THROWS_WITH_AS(parse_prompt(JsonLine(Json::parse(R"({"prompt": "q", "check": {"maxwords": 3}})"), "F:7")),
                       "F:7: \"check\": unknown check \"maxwords\"; did you mean \"max_words\"?", Error);
  CHECK_THROWS_AS(
      parse_prompt(JsonLine(Json::parse(R"({"messages": [{"role": "assistant", "content": "x"}]})"), "F:7")), Error);
}

TEST_CASE("rule judge: texts") {
  CHECK(holds(R"({"exact": "Paris"})", " Paris\n"));
  CHECK_FALSE(holds(R"({"exact": "Paris"})", "Paris."));
  CHECK_FALSE(holds(R"({"exact": "Paris"})", "paris"));
  CHECK(holds(R"({"exact": {"text": ["Paris", "Lyon"], "ignore_case": true}})", "lyon"));
  CHECK(holds(R"({"contains": "a+b [c]"})", "so a+b [c] it is"));
  CHECK_FALSE(holds(R"({"contains": ["a", "z"]})", "abc"));
  CHECK(holds(R"({"starts_with": "Dear"})", "Dear Sir"));
  CHECK_FALSE(holds(R"({"starts_with": "Dear"})", "Oh Dear"));
  CHECK(holds(R"({"ends_with": "you?"})", "How are you?"));
  CHECK_FALSE(holds(R"({"ends_with": "you?"})", "you? yes"));
  CHECK(holds(R"({"regex": "^\\d{3}-\\d{4}$"})", "555-1234"));
  CHECK(holds(R"({"regex": {"pattern": "\u00c9T\u00c9", "ignore_case": true}})", "l'\u00e9t\u00e9"));
  CHECK(holds(R"({"keyword": "sun"})", "The SUN rises."));
  CHECK_FALSE(holds(R"({"keyword": "sun"})", "Sunday."));
  CHECK(holds(R"({"keyword": {"word": "sun", "min": 2, "max": 3}})", "sun, sun"));
  CHECK_FALSE(holds(R"({"keyword": {"word": "sun", "min": 2}})", "sun"));
  CHECK(holds(R"({"keyword": {"word": "sun", "max": 1}})", "moon"));
  CHECK(holds(R"({"forbidden": ["very", "good"]})", "Goodness, every day"));
  CHECK_FALSE(holds(R"({"forbidden": ["very", "good"]})", "Very well"));
}

TEST_CASE("rule judge: counts") {
  CHECK(holds(R"({"max_words": 3})", "one - two, three"));
  CHECK_FALSE(holds(R"({"max_words": 3})", "one two three four"));
  CHECK(holds(R"({"min_words": 2, "max_words": 2})", "well-known \u00e9t\u00e9"));
  CHECK(holds(R"({"sentences": 2})", "One. Two!"));
  CHECK(holds(R"({"sentences": {"min": 1, "max": 2}})", "Dr. Smith paid 3.50 euros, e.g. for tea. \"Really?\""));
  CHECK(holds(R"({"paragraphs": 2})", "a\nb\n\n \nc"));
  CHECK(holds(R"({"lines": 3})", "a\nb\n\nc"));
  CHECK(holds(R"({"bullets": 2})", "List:\n- a\n* b\n**bold** no\n-no"));
  CHECK(holds(R"({"numbered": 2})", "1. a\n2) b"));
  CHECK_FALSE(holds(R"({"numbered": 2})", "1. a\n3. b"));
  CHECK(holds(R"({"capital_words": {"min": 2}})", "THIS is (VERY) I"));
  CHECK(holds(R"({"highlights": 2})", "*a* and **b c**"));
  CHECK(holds(R"({"placeholders": {"min": 2}})", "[name] lives in [city] []"));
}

TEST_CASE("rule judge: forms") {
  CHECK(holds(R"({"no_comma": true, "no_digits": true, "no_exclamation": true})", "Plain."));
  CHECK_FALSE(holds(R"({"no_comma": true})", "a, b"));
  CHECK_FALSE(holds(R"({"no_digits": true})", "4"));
  CHECK_FALSE(holds(R"({"no_exclamation": true})", "Oh!"));
  CHECK(holds(R"({"lowercase": true})", "all small, \u00e9 3"));
  CHECK_FALSE(holds(R"({"lowercase": true})", "caf\u00c9"));
  CHECK_FALSE(holds(R"({"lowercase": true})", "123"));
  CHECK(holds(R"({"uppercase": true})", "LOUD 3!"));
  CHECK_FALSE(holds(R"({"uppercase": true})", "LOUd"));
  CHECK(holds(R"({"json": true})", "{\"a\": [1]}"));
  CHECK(holds(R"({"json": true})", "```json\n{\"a\": 1}\n```"));
  CHECK_FALSE(holds(R"({"json": true})", "{a: 1}"));
  CHECK(holds(R"({"quoted": true})", "\"A whole\nanswer.\""));
  CHECK_FALSE(holds(R"({"quoted": true})", "\"A\" part"));
  CHECK(holds(R"({"title": true})", "<<The Sea>>\nText"));
  CHECK_FALSE(holds(R"({"title": true})", "<<>> <The Sea>"));
  CHECK(holds(R"({"postscript": true})", "Text.\n\nP.S. Call me."));
  CHECK_FALSE(holds(R"({"postscript": true})", "The P.S. Call"));
}

TEST_CASE("rule judge: the score is the weighted share of what holds") {
  const Json check =
      Json::parse(R"([{"max_words": 3, "weight": 3}, {"no_comma": true}, {"keyword": "sun"}, {"keyword": "moon"}])");
  CHECK(score(check, "sun moon") == 1.0);
  CHECK(score(check, "sun, moon") == doctest::Approx(5.0 / 6).epsilon(1e-11));
  CHECK(score(check, "a b c d") == doctest::Approx(1.0 / 6).epsilon(1e-11));
  CHECK(score(Json::parse(R"({"no_comma": true, "max_words": 1})"), "a b") == 0.5);
  // .1 + .2 and .3 differ as floating-point numbers: the same share of the weights is the same score all the same.
  const Json thirds = Json::parse(
      R"([{"keyword": "sun", "weight": 0.1}, {"keyword": "moon", "weight": 0.2}, {"keyword": "star", "weight": 0.3}])");
  CHECK(score(thirds, "sun moon") == score(thirds, "star"));
  const JudgeView view = view_of("a, b", Json::parse(R"({"no_comma": true, "max_words": 2})"));
  CHECK(RuleJudge().judge({&view, 1})[0].answer == "not met: no_comma");
}

TEST_CASE("rule judge: what cannot be checked is refused by name") {
  refuses(R"({"max_word": 3})", "F:3: \"check\": unknown check \"max_word\"; did you mean \"max_words\"?");
  refuses(R"({"keyword": {"wrod": "x"}})", "unknown option \"wrod\"; did you mean \"word\"?");
  refuses(R"({"keyword": {"min": 2}})", "keyword: \"word\" is missing");
  refuses(R"({"keyword": {"word": "x", "min": 2, "max": 1}})", "\"min\" is above \"max\"");
  refuses(R"({"max_words": "3"})", "F:3: \"check\".max_words: a count");
  refuses(R"({"max_words": -1})", "a count from 0");
  refuses(R"({"sentences": {}})", "\"min\" or \"max\" is missing");
  refuses(R"({"no_comma": false})", "only true is possible");
  refuses(R"({"regex": "(a"})", "F:3: \"check\".regex: regular expression \"(a\"");
  refuses(R"({"contains": ""})", "a text that is not empty");
  refuses(R"({"contains": []})", "the list is empty");
  refuses(R"({"no_comma": true, "weight": 0})", "must be above 0");
  refuses(R"([])", "no checks");
  refuses(R"({})", "no checks");
  refuses(R"("max_words")", "a check is an object");
}

// Trap 30: a judge that cannot say gives no score; it is never a win, a loss or a zero.
TEST_CASE("rule judge: no check, and a pattern that would run for ever, are errors of that view") {
  const JudgeView views[] = {view_of("x"), view_of(std::string(60, 'a') + "!", Json::parse(R"({"regex": "^(a+)+$"})")),
                             view_of("x", Json::parse(R"({"exact": "x"})"))};
  const auto judged = RuleJudge().judge(views);
  CHECK_FALSE(judged[0].score);
  CHECK(judged[0].error.find("no \"check\"") != std::string::npos);
  CHECK_FALSE(judged[1].score);
  CHECK(judged[1].error.find("match limit") != std::string::npos);
  CHECK(*judged[2].score == 1);
}

TEST_CASE("rule judge: a score that is not finite is an error of that view") {
  const Json heavy = Json::parse(R"([{"exact": "x", "weight": 1e308}, {"contains": "x", "weight": 1e308}])");
  const Json plain = Json::parse(R"({"contains": "x"})");
  const auto judged = [](const JudgeView& view, const RuleKnobs& knobs) {
    return RuleJudge(knobs).judge({&view, 1}).front();
  };
  const JudgeView longer = view_of(std::string(10000, 'x'), plain);
  RuleKnobs knobs;
  for (const Judged& j : {judged(view_of("x", heavy), {}), judged(view_of("y", heavy), {}),
                          judged(longer, (knobs.length_bias = 1e308, knobs))}) {
    CHECK_FALSE(j.score);
    CHECK(j.error.find("the score is not finite") != std::string::npos);
  }
  CHECK(judged(view_of("x", plain), knobs).score == 1e305);
}

TEST_CASE("rule judge: sixteen kinds and more, and texts that are not UTF-8") {
  CHECK(check_kinds().size() >= 25);
  CHECK_FALSE(holds(R"({"regex": "z"})", "\xFF\xC3"));
  CHECK(holds(R"({"max_words": 1})", "\xFF\xC3"));
}

TEST_CASE("judge: made from a recipe") {
  CHECK_NOTHROW(make_judge(Json::parse(R"({"kind": "rule"})")));
  CHECK_NOTHROW(make_judge(Json::parse(R"({"kind": "command", "command": "cat", "timeout_s": 2})")));
  const auto bad = [](const char* text, const char* message) {
    CHECK_THROWS_WITH_AS(make_judge(Json::parse(text)), doctest::Contains(message), Error);
  };
  bad(R"({"kind": "rul"})", "did you mean \"rule\"");
  bad(R"({"kind": "pairwise"})", "compares two responses");
  bad(R"({"kind": "rule", "comand": "x"})", "judge.comand: unknown key");
  bad(R"({"kind": "command"})", "needs a command line");
  bad(R"({"kind": "command", "command": "x", "timeout_s": 0})", "timeout_s");
  bad(R"("rule")", "judge.kind: missing");
}

TEST_CASE("command judge: answers in any order, the process kept between calls") {
  // Answers lines in pairs, the second first; the score is the number of lines that this process has read.
  const Script script(
      "n=0; while IFS= read -r a && IFS= read -r b; do n=$((n+2)); i=${a#*:}; j=${b#*:}\n"
      "echo \"{\\\"id\\\":${j%%,*},\\\"score\\\":$n}\"; echo \"{\\\"error\\\":\\\"no\\\",\\\"id\\\":${i%%,*}}\"; done");
  CommandJudge judge(script.command(), 20);
  auto first = ask(judge, 4), second = ask(judge, 2);
  CHECK(first[0].error == "no");
  CHECK_FALSE(first[0].score);
  CHECK(*first[1].score == 2);
  CHECK(*first[3].score == 4);
  CHECK(*second[1].score == 6);
  CHECK(judge.judge({}).empty());
}

TEST_CASE("command judge: more than a pipe holds, both ways") {
  const Script script(kLoop +
                      "echo \"{\\\"id\\\":$id,\\\"score\\\":$id,\\\"why\\\":\\\"$(printf %0200d 0)\\\"}\"; done");
  CommandJudge judge(script.command(), 20);
  std::vector<JudgeView> views;
  for (int i = 0; i < 600; ++i) views.push_back(view_of(std::string(400, 'x')));
  const auto judged = judge.judge(views);
  for (size_t i = 0; i < judged.size(); ++i) CHECK(*judged[i].score == static_cast<double>(i + 1));
}

TEST_CASE("command judge: a process that dies is started anew, and asked again what it had not answered") {
  // Dies at every third line that it reads; the score is the response's number.
  const Script script("n=0; " + kLoop +
                      "n=$((n+1)); [ $n = 3 ] && exit 3\n"
                      "score=${line##*response }; echo \"{\\\"id\\\":$id,\\\"score\\\":${score%%\\\"*}}\"; done");
  CommandJudge judge(script.command(), 20);
  for (int call = 0; call < 2; ++call) {
    const auto judged = ask(judge, 8);
    for (size_t i = 0; i < judged.size(); ++i) {
      CHECK(judged[i].error.empty());
      CHECK(judged[i].score == static_cast<double>(i));
    }
  }
  const std::string seen = read_text_file(script.seen());
  CHECK(std::count(seen.begin(), seen.end(), '\n') < 2 * 8 + 8);  // nothing that was answered is asked again
}

TEST_CASE("command judge: one that dies or hangs at one input ends with an error that names it") {
  const auto fails = [](const std::string& at_three, const std::string& reason) {
    const Script script(kLoop + "case $line in *'response 3'*) " + at_three +
                        ";; esac; echo \"{\\\"id\\\":$id,\\\"score\\\":1}\"; done");
    CommandJudge judge(script.command(), 0.3);
    const std::string message = reason +
                                " without an answer; try it by hand with one line of input: it was given first "
                                "the response \"response 3\" to \"";
    CHECK_THROWS_WITH_AS(ask(judge, 6), doctest::Contains(message.c_str()), Error);
  };
  fails("exit 3", "ended with exit status 3");
  fails("sleep 30", "gave no sign for 0.3 s");
}

TEST_CASE("command judge: the last answer may lack its newline; half an answer is none, and asked for again") {
  const Script whole("cat >/dev/null & read -r a; printf '{\"id\":1,\"score\":0.5}'");
  CommandJudge judge(whole.command(), 20);
  CHECK(*ask(judge, 1)[0].score == 0.5);
  const Script half(
      "if [ -e \"$1\" ]; then read -r a; echo '{\"id\":2,\"score\":2}'; exec cat >/dev/null; fi; touch \"$1\"\n"
      "read -r a; echo '{\"id\":1,\"score\":1}'; printf '{\"id\":2,\"sco'; exit 3");
  CommandJudge broken(half.command(), 20);
  const auto judged = ask(broken, 2);
  CHECK(*judged[0].score == 1);
  CHECK(*judged[1].score == 2);
}

TEST_CASE("command judge: set-ups that cannot work are one clear error") {
  const auto fails = [](const std::string& command, const char* message) {
    CommandJudge judge(command, 0.3);
    const auto begin = std::chrono::steady_clock::now();
    CHECK_THROWS_WITH_AS(ask(judge, 2), doctest::Contains(message), Error);
    CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(5));
  };
  fails("exit 7", "ended with exit status 7 without an answer");
  fails("/nonexistent/judge 2>/dev/null", "exit status 127");
  fails("exec 0<&-; sleep 0.05; kill -9 $$", "signal 9");  // SIGPIPE on our side, too
  fails("sleep 30", "gave no sign for 0.3 s");
  fails("sleep 30 & cat >/dev/null; wait", "gave no sign");
  fails("echo Loading model; cat", "not JSON: Loading model");
  fails("echo '[1]'; cat", "without an \"id\"");
  fails("echo '{\"id\": 99, \"score\": 1}'; cat", "waits for no answer");
  fails("echo '{\"id\": \"1\", \"score\": 1}'; cat", "waits for no answer");
  fails("echo '{\"id\": 1, \"score\": 1}'; echo '{\"id\": 1, \"score\": 1}'; cat", "waits for no answer");
  fails("echo '{\"id\": 1, \"score\": \"high\"}'; cat", "neither a numeric");
  fails("echo '{\"id\": 1, \"score\": 1e999}'; cat", "not JSON");
  fails("echo '{\"id\": 1, \"score\": null}'; cat", "neither a numeric");
}

TEST_CASE("command judge: one that falls silent after an answer is started anew for the rest") {
  const Script script("IFS= read -r line; id=${line#*:}; echo \"{\\\"id\\\":${id%%,*},\\\"score\\\":0.5}\"; sleep 30");
  CommandJudge judge(script.command(), 0.3);
  for (const Judged& judged : ask(judge, 3)) CHECK(judged.score == 0.5);
}
