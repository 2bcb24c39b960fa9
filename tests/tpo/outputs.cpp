// Stored outputs and other tools' formats: what is read, what is refused, and what is written.
#include "tpo/stages/outputs.h"

#include "tensor/file.h"
#include "tests/tpo/tiny_world.h"
#include "tpo/stages/judge.h"
#include "tpo/text.h"

using namespace thinker;

namespace {

std::vector<Prompt> prompts_from(const TempFolder& folder, const std::string& name, const std::string& text) {
  return read_prompts(folder.write(name, text));
}

const char* const kPrompts =
    "{\"id\":\"x\",\"prompt\":\"One?\",\"category\":\"a\"}\n{\"id\":7,\"prompt\":\"Two?\",\"category\":\"b\"}\n";

/// Reading the file gives an error that holds the words.
void refused(const std::string& name, const std::string& text, const std::string& words) {
  const TempFolder folder;
  const std::vector<Prompt> prompts = prompts_from(folder, "prompts.jsonl", kPrompts);
  const std::string path = folder.write(name, text);
  const std::string error = error_of([&] { read_outputs(path, prompts); });
  CHECK_MESSAGE(holds(error, words), error);
}

}  // namespace

TEST_CASE("prompt formats: GSM8K's, Arena-Hard's and AlpacaEval's lines as they are") {
  const TempFolder folder;
  const auto gsm = prompts_from(folder, "gsm.jsonl",
                                R"({"question":"How many?","answer":"2+2=4\n#### 4"})"
                                "\n");
  CHECK(gsm[0].messages[0].content == "How many?");
  CHECK(gsm[0].reference == "2+2=4\n#### 4");
  CHECK(gsm[0].id == Json(0));
  const auto arena = prompts_from(
      folder, "question.jsonl",
      R"({"uid":"2edb","category":"hard_prompt","subcategory":"coding","prompt":"Write zig."})"
      "\n"
      R"({"question_id":"328c","category":"arena-hard-v0.1","cluster":"ABC","turns":[{"content":"Use ABC."}]})"
      "\n");
  CHECK(arena[0].id == Json("2edb"));
  CHECK(arena[0].category == "hard_prompt");
  CHECK(arena[1].id == Json("328c"));
  CHECK(arena[1].messages[0].content == "Use ABC.");
  const auto alpaca = prompts_from(
      folder, "alpaca_eval.json",
      R"([{"instruction":"Who?","output":"Me.","generator":"m","dataset":"koala"},{"instruction":"Why?"}])");
  CHECK(alpaca[0].messages[0].content == "Who?");
  CHECK(alpaca[0].category == "koala");
  CHECK(!alpaca[0].reference);
  CHECK(alpaca[1].id == Json(1));
  // A line in our own words is left alone.
  const auto own = prompts_from(folder, "own.jsonl", R"({"id":1,"uid":"u","prompt":"P","question":"Q","answer":"5"})");
  CHECK(own[0].messages[0].content == "P");
  CHECK(own[0].id == Json(1));
  CHECK(!own[0].reference);
  const auto error = [&](const char* name, const char* text) {
    return error_of([&] { prompts_from(folder, name, text); });
  };
  CHECK(holds(error("t.jsonl", R"({"question_id":1,"turns":[{"content":"a"},{"content":"b"}]})"),
              "t.jsonl:1: \"turns\""));
  CHECK(holds(error("t.jsonl", R"({"question_id":1,"turns":["a"]})"), "t.jsonl:1: \"turns\""));
  CHECK(holds(error("l.json", R"({"instruction":"Who?"})"), "not a JSON list"));
  CHECK(holds(error("l.json", R"([{"instruction":"Who?"},4])"), "item 2: is not an object"));
  CHECK(holds(error("l.json", R"([{"instruction":"Who?"},{"instruction":4}])"), "item 2: "));
  CHECK(holds(error("i.jsonl", "{\"id\":1,\"prompt\":\"a\"}\n\n{\"id\":1,\"prompt\":\"b\"}\n"),
              "i.jsonl:3: id 1 occurs twice, first at "));
}

TEST_CASE("outputs: AlpacaEval by text, Arena-Hard and ours by id, in the prompts' order; extra ones are counted") {
  const TempFolder folder;
  const auto prompts = prompts_from(folder, "prompts.jsonl", kPrompts);
  const std::string alpaca =
      folder.write("model_outputs.json",
                   R"([{"instruction":"Two?","output":" second ","generator":"m"},{"instruction":"Else?","output":"x"},
          {"instruction":"One?","output":"  "}])");
  const std::string arena = folder.write("m.jsonl", R"({"uid":"7","ans_id":"a","model":"m","messages":[],"tstamp":1})"
                                                    "\n");
  StoredOutputs out = read_outputs(alpaca, prompts);
  REQUIRE(out.records.size() == 2);
  CHECK(out.unmatched == 1);
  CHECK(out.records[0].sample.id == Json("x"));
  CHECK(!out.records[0].sample.valid());  // an empty answer loses like any failure
  CHECK(out.records[1].sample.split.response == "second");
  CHECK(out.records[1].category == "b");
  CHECK(holds(error_of([&] { read_outputs(arena, prompts); }), "m.jsonl:1: \"messages\""));

  const std::string answers = folder.write(
      "a.jsonl",
      R"({"uid":7,"model":"m","messages":[{"role":"user","content":"Two?"},{"role":"assistant","content":{"answer":"two"}}]})"
      "\n"
      R"({"question_id":"x","model_id":"m","choices":[{"index":0,"turns":[{"content":"one","token_len":1}]}]})"
      "\n");
  out = read_outputs(answers, prompts);
  CHECK(out.unmatched == 0);
  CHECK(out.records[0].sample.split.response == "one");
  CHECK(out.records[1].sample.split.response == "two");

  // A text that is asked twice takes its outputs in turn.
  const auto twice = prompts_from(folder, "twice.jsonl", "{\"prompt\":\"Who?\"}\n{\"prompt\":\"Who?\"}\n");
  const std::string both =
      folder.write("both.json", R"([{"instruction":"Who?","output":"a"},{"instruction":"Who?","output":"b"}])");
  CHECK(read_outputs(both, twice).records[1].sample.split.response == "b");
}

// Trap 39: keys that do not match are told, never averaged over.
TEST_CASE("outputs: a prompt without an output and damaged items are errors that name them") {
  refused("o.json", R"([{"instruction":"One?","output":"a"}])",
          "has no output for prompt 7 (\"Two?\"); outputs must be");
  refused("o.json", "[]", "has no output for prompt \"x\" (\"One?\") and 1 more");
  refused("o.json", R"([{"instruction":"One?"}])", "item 1: \"output\"");
  refused("o.json", R"({"instruction":"One?"})", "not a JSON list");
  refused("a.jsonl", R"({"uid":"x","messages":[{"role":"assistant","content":5}]})", "a.jsonl:1: ");
  refused("a.jsonl", R"({"uid":"x","messages":["a"]})", "a.jsonl:1: ");
  refused("a.jsonl", R"({"uid":"x","choices":[{"turns":[]}]})", "a.jsonl:1: \"turns\"");
  refused("a.jsonl", R"({"uid":"x"})", "a.jsonl:1: \"choices\"");
  refused("s.jsonl", R"({"id":"x","response":"a"})", "s.jsonl:1: ");
}

TEST_CASE("export: AlpacaEval's list and Arena-Hard's answers, which read back; no thought, and no failed output") {
  const TempFolder folder;
  const auto prompts = prompts_from(folder, "prompts.jsonl", kPrompts);
  const ThoughtStyle style = thought_style(
      folder.write("style.json", R"({"instruction": "canary-prompt {query}", "open": "THINK", "split": "SAY"})"));
  std::vector<EvalRecord> records(2);
  const std::vector<std::string> texts = {"THINK canary-thought SAY an \"answer\" \xC3\xA9\n",
                                          "THINK canary-thought, on and on"};
  for (size_t i = 0; i < 2; ++i) {
    records[i].sample.id = *prompts[i].id;
    records[i].sample.text = texts[i];
    records[i].sample.split = split_output(texts[i], style, Stop::end);
  }
  REQUIRE(records[0].sample.valid());
  REQUIRE(!records[1].sample.valid());
  const std::string alpaca = export_outputs(ExportFormat::alpaca_eval, prompts, records, "mine", 5.5);
  const std::string arena = export_outputs(ExportFormat::arena_hard, prompts, records, "mine", 5.5);
  for (const std::string& text : {alpaca, arena})
    for (const char* secret : {"canary", "THINK", "SAY"}) CHECK(!holds(text, secret));

  CHECK(Json::parse(alpaca) ==
        Json::parse(R"([{"dataset":"a","instruction":"One?","output":"an \"answer\" é","generator":"mine"},
                        {"dataset":"b","instruction":"Two?","output":"","generator":"mine"}])"));
  const Json line = Json::parse(arena.substr(0, arena.find('\n')));
  CHECK(line["uid"] == "x");
  CHECK(line["model"] == "mine");
  CHECK(line["ans_id"].get<std::string>().size() == 22);
  CHECK(line["tstamp"] == 5.5);
  CHECK(line["messages"] == Json::parse(R"([{"role":"user","content":"One?"},
                                            {"role":"assistant","content":{"answer":"an \"answer\" é"}}])"));
  CHECK(holds(arena, "\"uid\":\"7\""));

  for (const std::string& path : {folder.write("e.json", alpaca), folder.write("e.jsonl", arena)}) {
    const auto back = read_outputs(path, prompts).records;
    CHECK(back[0].sample.split.response == trim(*records[0].sample.split.response));
    CHECK(!back[1].sample.valid());
  }

  auto chat = prompts;
  chat[0].messages = {{"system", "Be kind."}, {"user", "One?"}};
  CHECK(holds(error_of([&] { check_export(ExportFormat::alpaca_eval, chat); }), "prompt \"x\""));
  CHECK_NOTHROW(check_export(ExportFormat::arena_hard, chat));
}

// A reward model's scores go below 0: failing must not look better than answering badly.
TEST_CASE("evaluation: an output that did not parse has the lowest score where scores are negative, else 0") {
  struct Fixed : Judge {
    explicit Fixed(double at) : score(at) {}
    std::vector<Judged> judge(std::span<const JudgeView> views, const OnJudged&) override {
      return std::vector<Judged>(views.size(), Judged{score, "", ""});
    }
    double score;
  };
  const TempFolder folder;
  const auto prompts = prompts_from(folder, "prompts.jsonl", kPrompts);
  for (double score : {-3.5, 2.0}) {
    std::vector<EvalRecord> records(2);
    for (size_t i = 0; i < 2; ++i) records[i].sample.id = *prompts[i].id;
    records[0].sample.split = {std::nullopt, "a", Parse::ok};
    records[1].sample.split.parse = Parse::no_marker;
    Fixed judge(score);
    judge_records(records, judge, prompts);
    CHECK(records[0].judged.score == score);
    CHECK(records[1].judged.score == std::min(score, 0.0));
    const EvalSummary s = summarise(records, 1);
    CHECK(s.failed == 1);
    CHECK(s.categories.size() == 1);
    CHECK(s.categories.at("").prompts == 2);
    CHECK(s.categories.at("").interval.low <= s.score);
  }
}

TEST_CASE("evaluation: an output that did not parse scores no more than any that is known") {
  struct Severe : Judge {
    std::vector<Judged> judge(std::span<const JudgeView> views, const OnJudged&) override {
      std::vector<Judged> all;
      for (const JudgeView& v : views) all.push_back({-static_cast<double>(v.response().size()), "", ""});
      return all;
    }
  } judge;
  const TempFolder folder;
  const auto prompts = prompts_from(folder, "prompts.jsonl", kPrompts);
  const auto judged = [&](const std::vector<std::string>& responses, double known) {
    std::vector<EvalRecord> records(2);
    for (size_t i = 0; i < 2; ++i) {
      records[i].sample.id = *prompts[i].id;
      if (responses[i].empty())
        records[i].sample.split.parse = Parse::no_marker;
      else
        records[i].sample.split.response = responses[i];
    }
    judge_records(records, judge, prompts, known);
    return records;
  };
  const auto scores = [&](const std::vector<std::string>& responses, double known) {
    const auto records = judged(responses, known);
    return std::pair{*records[0].judged.score, *records[1].judged.score};
  };
  CHECK(scores({"aa", ""}, 0.0) == std::pair{-2.0, -2.0});
  CHECK(scores({"aa", ""}, -7.0) == std::pair{-2.0, -7.0});
  CHECK(scores({"", ""}, -7.0) == std::pair{-7.0, -7.0});  // where nothing parsed: not 0, the best of all
  CHECK(lowest_score(judged({"aa", "aaaa"}, 0.0)) == -4.0);
  CHECK(lowest_score(judged({"aa", "aaaa"}, 0.0), -5.0) == -5.0);
}
