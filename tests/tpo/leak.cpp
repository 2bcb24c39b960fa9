// Trap 29: what a judge receives, on disk and on the wire, holds the user's prompt and the response, and no byte of a
// thought or of a thought prompt. The training pairs, which are not for judges, hold both.
#include "tensor/file.h"
#include "tests/tpo/http_server.h"
#include "tests/tpo/tiny_world.h"
#include "tpo/judges/pairwise.h"
#include "tpo/stages/judge.h"
#include "tpo/stages/pair.h"
#include "tpo/text.h"

using namespace thinker;

namespace {

/// A judge that writes down all that it is sent, and scores by the length of the line.
std::string recording_judge(const TempFolder& folder) {
  return "sh " +
         folder.write("judge.sh",
                      "while IFS= read -r line; do echo \"$line\" >> " + (folder / "seen") +
                          "; id=${line#*:}; id=${id%%,*}; echo \"{\\\"id\\\":$id,\\\"score\\\":${#line}}\"; done\n");
}

}  // namespace

TEST_CASE("leak: canaries in a thought and in a thought prompt reach no judge, but do reach the pairs") {
  const TempFolder folder;
  const std::string style_path =
      folder.write("style.json", R"({"instruction": "canary-prompt {query}", "open": "THINK", "split": "SAY"})");
  Prompt prompt;
  prompt.id = "q";
  prompt.messages = {{"user", "What is it?"}};
  std::vector<Json> lines;
  for (int64_t k = 0; k < 3; ++k) {
    SampleRecord s;
    s.id = "q";
    s.sample = k;
    s.prompt_ids = {1, 2};
    s.ids = {static_cast<int32_t>(3 + k), 0};
    s.logprobs = {-1.0f, -2.0f};
    s.text = "canary-preamble THINK canary-thought " + std::to_string(k) + " SAY an answer" + std::string(k, '!');
    s.split = split_output(s.text, thought_style(style_path), Stop::end);
    REQUIRE(holds(*s.split.thought, "canary-thought"));
    lines.push_back(sample_to_json(s));
  }
  write_jsonl(folder / "samples.jsonl", lines);
  const auto samples = read_samples(folder / "samples.jsonl");
  const auto judge = make_judge({{"kind", "command"}, {"command", recording_judge(folder)}});
  const auto judgments = judge_samples(*judge, {prompt}, samples);
  lines.clear();
  for (const JudgmentRecord& j : judgments) lines.push_back(judgment_to_json(j));
  write_jsonl(folder / "judgments.jsonl", lines);
  for (const std::string file : {"judgments.jsonl", "seen"}) {
    const std::string text = read_text_file(folder / file);
    CHECK(holds(text, "an answer!!"));
    CHECK(holds(text, "What is it?"));
    for (const std::string secret : {"canary", "THINK", "SAY"}) CHECK_MESSAGE(!holds(text, secret), file, ": ", secret);
  }
  PairStage stage;
  stage.style = thought_style(style_path);
  const PairResult result =
      pair_samples({prompt}, samples, read_judgments(folder / "judgments.jsonl"), stage, nullptr, {});
  REQUIRE(result.pairs.size() == 1);
  const Json pair = pair_to_json(result.pairs[0]);
  CHECK(pair["chosen"] == samples[2].text);
  CHECK(pair["rejected"] == samples[0].text);
  CHECK(pair["messages"][0]["content"] == "canary-prompt What is it?");
  CHECK(pair["chosen_ids"] == Json(samples[2].ids));
}

TEST_CASE("leak: the reward judge reads the view only: no thought and no thought prompt moves a score") {
  const TempFolder folder;
  const auto device = open_device("cpu");
  tiny::untrained_model(*device).save(folder / "language");
  const TextRewardModel model = open_reward_model(*device, folder / "language", DType::F32, NoScore::zeros);
  Rng rng(1, Purpose::initialise);
  std::vector<double> weights(model.net.score().numel());
  for (double& x : weights) x = rng.normal();
  set_values(model.net.score(), weights);
  model.save(folder / "reward");
  const auto judge = make_judge({{"kind", "reward"}, {"model", folder / "reward"}, {"device", "cpu"}});

  const ThoughtStyle style = thought_style(folder.write("s.json", R"({"instruction": "Z{query}", "split": "|"})"));
  Prompt prompt;
  prompt.id = "q";
  prompt.messages = {{"user", "ab?"}};
  std::vector<SampleRecord> samples;
  // The last canary has letters that the model cannot even encode.
  for (const std::string text : {"|eadb", "mnop|eadb", "CANARY-thought|eadb", "mnop|eadc"}) {
    SampleRecord s;
    s.id = "q";
    s.sample = static_cast<int64_t>(samples.size());
    s.text = text;
    s.split = split_output(s.text, style, Stop::end);
    samples.push_back(s);
  }
  const auto judgments = judge_samples(*judge, {prompt}, samples);
  Batch batch;
  batch.add_response(batch.add_prompt(model.text.prompt_ids(prompt.messages)), model.text.completion_ids("eadb"));
  Tape tape(*device, Tape::Mode::no_grad);
  const double expected = host_values(model.net.rewards(tape, batch))[0];
  for (size_t i = 0; i < 3; ++i) {
    REQUIRE(judgments[i].judged.score);
    CHECK(std::fabs(*judgments[i].judged.score - expected) <= 1e-5);
    CHECK(!holds(judgment_to_json(judgments[i]).dump(), "CANARY"));
  }
  CHECK(std::fabs(*judgments[3].judged.score - expected) > 1e-3);  // the response does move it
}

TEST_CASE("leak: what goes over HTTP, into the cache and into the judgments of games holds no thought") {
  const TempFolder folder;
  const std::string style_path =
      folder.write("style.json", R"({"instruction": "canary-prompt {query}", "open": "THINK", "split": "SAY"})");
  HttpServer server([](const std::string&, const std::string&) {
    return HttpServer::response(200, R"({"choices":[{"message":{"content":"well, [[A]], so [[A>B]]"}}]})");
  });
  Prompt prompt;
  prompt.id = "q";
  prompt.messages = {{"user", "What is it?"}};
  std::vector<SampleRecord> samples;
  for (int64_t k = 0; k < 3; ++k) {
    SampleRecord s;
    s.id = "q";
    s.sample = k;
    s.text = "canary-preamble THINK canary-thought SAY an answer" + std::string(k, '!');
    s.split = split_output(s.text, thought_style(style_path), Stop::end);
    samples.push_back(s);
  }
  for (const char* format : {"self-taught-evaluator", "mt-bench", "arena-hard"}) {
    const auto judge = make_pair_judge(
        {{"kind", "pairwise"}, {"format", format}, {"endpoint", server.url()}, {"model", "m"}}, folder.path());
    std::vector<Json> lines;
    for (const GameRecord& g : play_games(*judge, {prompt}, samples)) lines.push_back(game_to_json(g));
    write_jsonl(folder / "judgments.jsonl", lines);
    for (const std::string& text : {server.received(), read_text_file(folder / "judgments.jsonl"),
                                    read_text_file(folder / "judge-cache.jsonl")}) {
      CHECK(holds(text, "[[A]]"));
      for (const std::string secret : {"canary", "THINK", "SAY"}) CHECK_MESSAGE(!holds(text, secret), secret);
    }
    CHECK(holds(server.received(), "an answer!!"));
    CHECK(holds(server.received(), "What is it?"));
  }
  CHECK(server.requests() >= 12);
}

TEST_CASE("leak: in a whole run the judge is sent exactly each response with the user's own prompt") {
  const tiny::World world;
  const TempFolder folder;
  const Json judge{{"kind", "command"}, {"command", recording_judge(folder)}};
  world.run(world.recipe({"judge=" + judge.dump(), "iterations=1", "prompts.test=null", "select=last"}), "judged");
  const std::string at = world.folder / "judged/iter-1/";
  std::map<std::string, Messages> asked;
  for (const Prompt& p : read_prompts(at + "prompts.jsonl")) asked[p.id->dump()] = p.messages;
  std::vector<std::string> expected, seen;
  for (const SampleRecord& s : read_samples(at + "samples.jsonl")) {
    if (!s.valid()) continue;
    const std::string response = s.text.substr(s.text.find('|') + 1);
    expected.push_back(Json{{"prompt", messages_to_json(asked.at(s.id.dump()))}, {"response", trim(response)}}.dump());
  }
  for (const JsonLine& line : read_jsonl(folder / "seen")) {
    Json sent = line.json();
    sent.erase("id");
    seen.push_back(sent.dump());
  }
  CHECK(!seen.empty());
  CHECK(seen == expected);
  std::vector<std::string> recorded;
  for (const JudgmentRecord& j : read_judgments(at + "judgments.jsonl")) recorded.push_back(j.view.dump());
  CHECK(recorded == expected);
  CHECK(!holds(read_text_file(folder / "seen"), "Z"));  // the instruction's letter
  CHECK(holds(read_text_file(at + "pairs.jsonl"), "\"content\":\"Z"));
}
