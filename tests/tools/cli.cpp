#include "tests/tools/cli.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "tensor/file.h"

using namespace thinker;

namespace {

std::vector<std::string> keys_of(const Json& line) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : line.items()) keys.push_back(key);
  return keys;
}

}  // namespace

TEST_CASE("cli: wrong usage is one line on stderr that names the remedy, and status 2") {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{}, "which command?"},
      {{"generat", "M"}, "did you mean \"generate\"?"},
      {{"--versoin"}, "did you mean --version?"},
      {{"generate"}, "MODEL is required; see `thinker generate --help`"},
      {{"generate", "M", "--max-nwe", "5"}, "unknown option --max-nwe; did you mean --max-new?"},
      {{"generate", "M", "--max-nwe=5"}, "unknown option --max-nwe; did you mean --max-new?"},
      {{"generate", "M", "extra"}, "unexpected argument \"extra\""},
      {{"generate", "M", "--max-new", "5", "--max-new", "6"}, "--max-new"},
      {{"generate", "M", "--max-new", "-3"}, "--max-new: -3 is not a whole number from 1 to 1000000"},
      {{"generate", "M", "--max-new", "99999999999999999999"}, "is not a whole number"},
      {{"generate", "M", "--seed", "-1"}, "--seed: -1 is not a whole number"},
      {{"generate", "M", "--temperature", "nan"}, "--temperature: nan is not a number above 0"},
      {{"generate", "M", "--temperature", "inf"}, "inf is not a number"},
      {{"generate", "M", "--temperature", "1x"}, "1x is not a number"},
      {{"generate", "M", "--top-p", "0"}, "0 is not a number above 0 and at most 1"},
      {{"generate", "M", "--device", "cpuu"}, "\"cpuu\" is unknown; did you mean \"cpu\"?"},
      {{"generate", "M", "--greedy", "--n", "2"}, "--greedy"},
      {{"generate", "M", "--force-format"}, "--thought"},
      {{"generate", "M", "--prompt", "x", "--input", "y"}, "--input"},
      {{"dpo", "M", "--pairs", "F", "--out", "D", "--loss", "sigmiod"}, "did you mean \"sigmoid\"?"},
      {{"dpo", "M", "--pairs", "F", "--out", "D", "--loss", "2"}, "\"2\" is unknown"},
      {{"dpo", "M", "--pairs", "F", "--out", "D", "--lr", "nan"}, "--lr: nan is not a number"},
      {{"dpo", "M", "--pairs", "F", "--out", "D", "--label-smoothing", "0.2"}, "choose cdpo or robust"},
      {{"pair", "--samples", "S", "--judgments", "J", "--out", "O", "--rho", "0.7"}, "--rho 0.7"},
      {{"reward", "M", "--pairs", "F", "--out", "D", "--center", "-1"}, "--center: -1 is not a number"},
      {{"reward", "M", "--pairs", "F", "--out", "D", "--held-out", "1"}, "a share is from 0 to below 1"},
      {{"train", "--set", "seed=2"}, "RECIPE is required"},
      {{"generate", "M", "--prompt", "a\xff"}, "--prompt: invalid UTF-8 at byte 1"},
      {{"chat", "M", "--system", "\xc3"}, "--system: invalid UTF-8 at byte 0"},
      {{"generate", "M", "--thought-budget", "5"}, "--thought-budget requires --force-format"},
      {{"eval", "M", "--prompts", "P", "--judge", "rule", "--out", "E", "--generator", "G"}, "requires --export"},
      {{"eval", "M", "--prompts", "P", "--judge", "rule", "--out", "E", "--against-thought", "none"},
       "--against-thought requires --against"},
      {{"bench", "--memory", "--scaling"}, "excludes"},
      {{"bench", "--lora-rank", "8"}, "--lora-rank is for a MODEL or --config"},
      {{"eval", "M", "--prompts", "P", "--judge", "rule", "--out", "E", "--export", "alpaca-eval"}, "--export-file"},
      {{"eval", "M", "--prompts", "P", "--judge", "rule", "--out", "E", "--export", "alpaka"}, "\"alpaca-eval\""},
      {{"judge-report"}, "JUDGMENTS is required"},
      {{"dpo", "M", "--pairs", "F", "--out", "D", "--lora-rank", "0"}, "--lora-rank: 0 is not a whole number from 1"},
      {{"dpo", "M", "--pairs", "F", "--out", "D", "--lora-alpha", "8"}, "--lora-alpha requires --lora-rank"},
      {{"sft", "M", "--data", "F", "--out", "D", "--lora-targets", "q_proj"}, "--lora-targets requires --lora-rank"},
      {{"sft", "M", "--data", "F", "--out", "D", "--lora-rank", "2", "--lora-targets", "q_proj,v_prj"},
       "\"v_prj\" is unknown; did you mean \"v_proj\"?"},
      {{"sft", "M", "--data", "F", "--out", "D", "--lora-rank", "2", "--lora-targets", "q_proj,q_proj"},
       "--lora-targets names q_proj twice"},
  };
  for (const auto& [arguments, remedy] : cases) {
    const Outcome outcome = run_thinker(arguments);
    CAPTURE(outcome.err);
    CHECK(outcome.status == 2);
    CHECK(outcome.out.empty());
    CHECK(one_line(outcome.err));
    CHECK(holds(outcome.err, remedy));
  }
}

TEST_CASE(
    "cli: what fails is one line on stderr and status 1; a place that cannot be written is told before the work") {
  const TempFolder folder;
  const std::string& model = model_folder();
  const std::string prompts = folder.write("prompts.jsonl", kPrompts), file = folder.write("file", "");
  const std::string pairs = folder.write("pairs.jsonl", "{\"prompt\":\"north\",\"chosen\":\"a\",\"rejected\":\"b\"}\n");
  const std::string loop = folder / "loop";
  std::filesystem::create_symlink("loop", loop);
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"generate", "/nonexistent", "--prompt", "x"}, "/nonexistent: no such file or folder"},
      {{"generate", model, "--prompt", ""}, "the prompt has no tokens"},
      {{"generate", model, "--input", folder.path()}, "is a folder, expected a file"},
      {{"generate", model, "--input", folder / "none"}, "cannot be opened"},
      {{"sample", model, "--prompts", prompts, "--out", folder / "no/samples.jsonl"}, "its folder does not exist"},
      {{"sample", model, "--prompts", prompts, "--out", folder.path()}, "is a folder"},
      {{"sample", model, "--prompts", prompts, "--out", ""}, "has an empty name"},
      {{"sample", model, "--prompts", prompts, "--out", folder / std::string(300, 'x')}, "File name too long"},
      {{"sample", model, "--prompts", prompts, "--out", loop}, "loop: cannot be written: Too many levels of symbolic"},
      {{"sample", model, "--prompts", loop, "--out", folder / "s"}, "loop: cannot be opened: Too many levels of symb"},
      {{"sample", model, "--prompts", prompts, "--out", "/dev/null"}, "/dev/null: is not a regular file"},
      {{"report", folder / "none"}, "none: there is no such folder"},
      {{"dpo", model, "--pairs", pairs, "--out", ""}, "has an empty name"},
      {{"sft", model, "--data", prompts, "--out", folder / "out"}, "prompts.jsonl:1: "},
      {{"dpo", model, "--pairs", pairs, "--out", file}, "the folder cannot be made"},
      {{"reward", model, "--pairs", prompts, "--out", folder / "r"}, "prompts.jsonl:1: "},
      {{"reward", model, "--pairs", pairs, "--held-out", "none", "--out", folder / "r"}, "none: cannot be opened"},
      {{"reward", model, "--pairs", pairs, "--held-out", pairs, "--out", folder / "r"}, "a prompt that is trained on"},
      {{"dpo", model, "--pairs", pairs, "--out", file + "/x"}, "the folder cannot be made"},
      {{"eval", model, "--prompts", prompts, "--judge", "rule", "--out", folder / "e", "--against", "/nonexistent"},
       "/nonexistent"},
      {{"judge", "--samples", prompts, "--judge", "no.json", "--out", folder / "j"}, "no.json"},
      {{"convert", model, file}, "the folder cannot be made"},
      {{"convert", model, folder / "c", "--adapter", folder / "none"}, "adapter_config.json"},
      {{"convert", model, folder / "c", "--adapter", "tests/goldens/lora"}, "adapter_model.safetensors: tensor "},
      {{"train", folder / "none.json"}, "none.json"},
  };
  for (const auto& [arguments, reason] : cases) {
    const Outcome outcome = run_thinker(arguments);
    CAPTURE(outcome.err);
    CHECK(outcome.status == 1);
    CHECK(outcome.out.empty());
    CHECK(one_line(outcome.err));
    CHECK(holds(outcome.err, reason));
  }
}

TEST_CASE("cli: a bad line is named by file and line; the output of the lines before it is kept") {
  const std::string& model = model_folder();
  const std::string good =
      "{\"id\":\"p\",\"prompt\":\"north\",\"completion\":\"south\"}\n{\"prompt\":\"west\",\"completion\":\"\"}\n";
  const std::vector<std::pair<std::string, std::string>> bad_lines = {
      {"{\"prompt\":", "broken JSON"},
      {"{\"prompt\":\"n\xff\",\"completion\":\"\"}", "invalid UTF-8"},
      {"{\"prompt\":5,\"completion\":\"\"}", "\"prompt\" is not a string"},
      {"{\"prompt\":\"\",\"completion\":\"\"}", "no tokens"},
      {"{\"prompt\":\"\\u0000\",\"completion\":\"\"}", "U+0000"},
      {"{\"id\":[],\"prompt\":\"a\",\"completion\":\"\"}", "\"id\""},
      {"{\"prompt\":\"" + std::string(1000, 'a') + "\",\"completion\":\"\"}", "context"},
  };
  for (const auto& [line, reason] : bad_lines) {
    for (const std::vector<std::string>& command :
         {std::vector<std::string>{"score", model}, {"generate", model, "--max-new", "2"}}) {
      const Outcome outcome = thinker_with(good + line + "\n" + good, command);
      CAPTURE(outcome.err);
      CHECK(outcome.status == 1);
      CHECK(one_line(outcome.err));
      CHECK(holds(outcome.err, "<stdin>:3: "));
      CHECK(holds(outcome.err, reason));
      CHECK(outcome.lines().size() == 2);
    }
  }
}

TEST_CASE("cli: generate, score and tokenize write the documented fields, in the input's order, with its ids") {
  const std::string& model = model_folder();
  const std::string windows =
      "\xEF\xBB\xBF{\"id\":\"p\",\"text\":\"north\"}\r\n\r\n{\"id\":7,\"text\":\"\"}\r\n{\"text\":\"west\"}";
  const Outcome ids = thinker_with(windows, {"tokenize", model});
  CHECK(ids.status == 0);
  CHECK(ids.err.empty());
  REQUIRE(ids.lines().size() == 3);
  CHECK(ids.lines()[0]["id"] == "p");
  CHECK(ids.lines()[1].dump() == "{\"id\":7,\"ids\":[]}");
  CHECK(!ids.lines()[2].contains("id"));
  const Outcome texts = thinker_with(ids.out, {"tokenize", model, "--decode"});
  CHECK(texts.lines()[2]["text"] == "west");

  const Outcome generated = thinker_with(kPrompts, {"generate", model, "--n", "2", "--max-new", "6"});
  CHECK(generated.status == 0);
  const std::vector<Json> samples = generated.lines();
  REQUIRE(samples.size() == 6);
  CHECK(keys_of(samples[0]) ==
        std::vector<std::string>{"id", "sample", "ids", "logprobs", "text", "thought", "response", "parse", "stop"});
  CHECK(samples[1]["id"] == "p");
  CHECK(samples[1]["sample"] == 1);
  CHECK(samples[2]["id"] == 7);
  CHECK(!samples[5].contains("id"));
  for (const Json& s : samples) CHECK(s["ids"].size() == s["logprobs"].size());

  const Outcome scored = thinker_with("{\"prompt\":\"north\",\"completion\":\"west\"}\n", {"score", model});
  CHECK(keys_of(scored.lines().at(0)) == std::vector<std::string>{"ids", "logprobs", "sum_logprob"});
}

TEST_CASE("cli: --weights: each way writes, and what does not fit the model is told") {
  const std::string& model = model_folder();
  for (const std::string weights : {"auto", "full", "bf16", "q8"}) {
    CAPTURE(weights);
    const Outcome out = run_thinker({"generate", model, "--prompt", "north", "--max-new", "3", "--weights", weights});
    CHECK(out.status == 0);
    CHECK(!out.out.empty());
  }
  const Outcome file = run_thinker({"generate", model, "--prompt", "north", "--weights", "file"});
  CHECK(file.status == 1);
  CHECK(holds(file.err, "--weights file wants a .gguf file"));
  CHECK(run_thinker({"chat", model, "--weights", "q4"}).status == 2);
}

TEST_CASE("cli: chat outlives what it cannot encode and never shows a thought as an answer") {
  const std::string& model = model_folder();
  const TempFolder folder;
  const std::string style = folder.write("thought.json", "{\"instruction\":\"{query}\",\"split\":\"<R>\"}");
  const Outcome outcome = thinker_with("\n/new\n/nwe\nn\xffrth\nnorth \x01\nnorth\r\n/quit\nwest\n",
                                       {"chat", model, "--thought", style, "--max-new", "1"});
  CHECK(outcome.status == 0);
  CHECK(outcome.out.empty());  // one token is a thought without its marker
  CHECK(holds(outcome.err, "/nwe is no command"));
  CHECK(holds(outcome.err, "[the line is not UTF-8 and was left out]\n"));
  CHECK(holds(outcome.err, "not in this model's alphabet"));
  CHECK(std::count(outcome.err.begin(), outcome.err.end(), '[') == 4);  // the three above, and no response to "north"
}

TEST_CASE("cli: sample, judge, pair and dpo by hand on files; the thought prompt of the samples is asked for") {
  const TempFolder folder;
  const std::string& model = model_folder();
  const std::string prompts =
      folder.write("prompts.jsonl", "{\"id\":\"p\",\"prompt\":\"north\",\"check\":{\"exact\":\"west\"}}\n");
  const std::string samples = folder / "samples.jsonl", judgments = folder / "judgments.jsonl",
                    pairs = folder / "pairs.jsonl";
  REQUIRE(run_thinker({"sample", model, "--prompts", prompts, "--out", samples, "--k", "8", "--max-new", "4"}).status ==
          0);
  REQUIRE(read_jsonl(samples).size() == 8);
  const std::string part = samples + ".part";
  CHECK(!std::filesystem::exists(part));

  // An untrained model answers nonsense: two of its samples are made a right and a wrong answer.
  std::string edited;
  int64_t sample = 0;
  for (const char* response : {"west", "east"}) {
    Json line = read_jsonl(samples).front().json();
    line["sample"] = sample++;
    line["text"] = line["response"] = response;
    line["parse"] = "ok";
    line["stop"] = "end";
    edited += line.dump() + "\n";
  }
  write_file_atomically(samples, edited);
  REQUIRE(run_thinker({"judge", "--samples", samples, "--judge", "rule", "--out", judgments}).status == 0);
  CHECK(read_jsonl(judgments).size() == 2);
  const std::string by_rule = read_text_file(judgments);
  for (const char* file : {R"({"kind":"rule"})", R"({"judge":{"kind":"rule"}})", R"({"prompts":{"train":"F"}})"}) {
    REQUIRE(run_thinker({"judge", "--samples", samples, "--judge", folder.write("j.json", file), "--out", judgments})
                .status == 0);
    CHECK(read_text_file(judgments) == by_rule);
  }
  const Outcome wrong =
      run_thinker({"pair", "--samples", samples, "--judgments", judgments, "--thought", "generic", "--out", pairs});
  CHECK(wrong.status == 1);
  CHECK(holds(wrong.err, "was drawn without a thought prompt"));
  REQUIRE(run_thinker({"pair", "--samples", samples, "--judgments", judgments, "--out", pairs}).status == 0);
  REQUIRE(read_jsonl(pairs).size() == 1);
  CHECK(read_jsonl(pairs).front().string("chosen") == "west");
  const std::string log = folder / "log.jsonl";
  const Outcome trained = run_thinker({"dpo", model, "--pairs", pairs, "--out", folder / "out", "--log", log});
  CHECK(trained.status == 0);
  CHECK(trained.out.empty());
  CHECK(read_jsonl(log).front().integer("step") == 1);
  CHECK(run_thinker({"generate", folder / "out", "--prompt", "north", "--max-new", "2"}).status == 0);

  // The same texts make a reward model, which judges the samples. (Their ids are one sample's: nothing to learn there.)
  const std::string texts = folder.write("texts.jsonl", R"({"prompt":"north","chosen":"west","rejected":"east"})");
  const std::string held = folder.write("held.jsonl", R"({"prompt":"south","chosen":"west","rejected":"east"})");
  const std::string reward = folder / "reward";
  const Outcome rewarded = run_thinker({"reward", model, "--pairs", texts, "--held-out", held, "--out", reward, "--log",
                                        log, "--lr", "1e-3", "--epochs", "5"});
  CHECK(rewarded.status == 0);
  CHECK(keys_of(rewarded.lines().at(0)) == std::vector<std::string>{"pairs", "accuracy", "loss", "margin",
                                                                    "reward_chosen", "reward_rejected", "ece", "bins"});
  CHECK(read_jsonl(log).size() == 5);
  CHECK(read_jsonl(log).front().number("loss") == doctest::Approx(std::log(2.0)));
  const std::string judge = folder.write("reward.json", Json{{"kind", "reward"}, {"model", reward}}.dump());
  REQUIRE(run_thinker({"judge", "--samples", samples, "--judge", judge, "--out", judgments}).status == 0);
  REQUIRE(read_jsonl(judgments).size() == 2);
  CHECK(read_jsonl(judgments)[0].number("score") > read_jsonl(judgments)[1].number("score"));
  CHECK(holds(run_thinker({"generate", reward, "--prompt", "north"}).err, "is a reward model and writes no text"));
  CHECK(
      holds(run_thinker({"reward", model, "--pairs", pairs, "--out", reward}).err, "1 pairs to train on, 0 held out"));
}

TEST_CASE("cli: what is wrong with a judge's file or the samples' name is told by that name") {
  const TempFolder folder;
  const std::string judge = folder.write("jr.json", R"({"judge": {"kind": "rule", "nois": 1}})"), out = folder / "o";
  const std::string prompts = folder.write("prompts.jsonl", "{\"prompt\": \"north\"}\n");
  const std::string samples = folder / "none.jsonl";
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"judge", "--samples", samples, "--judge", judge, "--out", out}, judge + ": judge.nois: unknown key"},
      {{"eval", model_folder(), "--prompts", prompts, "--judge", judge, "--out", out}, judge + ": judge.nois: unknown"},
      {{"judge", "--samples", samples, "--judge", "rul", "--out", out},
       "thinker: --judge: \"rul\" is neither a kind of judge (rule, answer; the others want a file) nor a file"},
      {{"judge", "--samples", folder.path(), "--judge", "rule", "--out", out},
       folder.path() + ": is a folder; name the samples.jsonl itself"},
      {{"judge", "--samples", samples, "--judge", "rule", "--out", out}, samples + ": cannot be opened"},
      {{"pair", "--samples", samples, "--judgments", samples, "--out", out}, samples + ": cannot be opened"},
  };
  for (const auto& [arguments, reason] : cases) refusal_of(arguments, 1, reason);
}

TEST_CASE("cli: demo --set dtype=bf16 trains another seed model than f32, beside it") {
  const TempFolder folder;
  const auto seed_model = [&](const std::string& dtype, const std::string& models) {
    // One step; such a model's outputs do not parse, so that the loop stops: a seed model is all that is wanted.
    std::vector<std::string> arguments = {"demo", "--quick", "--quiet", "--device", "cpu", "--out", folder.path()};
    for (const char* set : {"seed_model.steps=1", "seed_model.batch=4", "seed_model.width=32", "seed_model.layers=1",
                            "prompts_per_iteration=4", "test_prompts=7"})
      arguments.insert(arguments.end(), {"--set", set});
    arguments.insert(arguments.end(), {"--set", "dtype=" + dtype});
    run_thinker(arguments);
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator(folder / models)) found.push_back(entry.path());
    REQUIRE(found.size() == 1);
    return found[0];
  };
  const std::string f32 = seed_model("f32", "seed-models"), bf16 = seed_model("bf16", "seed-models-bf16");
  CHECK(std::filesystem::path(f32).filename() == std::filesystem::path(bf16).filename());
  CHECK(read_text_file(f32 + "/config.json") == read_text_file(bf16 + "/config.json"));
  CHECK(read_text_file(f32 + "/model.safetensors") != read_text_file(bf16 + "/model.safetensors"));
}

TEST_CASE("cli: dpo and sft train adapters, and convert merges them into the same checkpoint") {
  const TempFolder folder;
  const std::string& model = model_folder();
  const std::string pairs = folder.write("pairs.jsonl", "{\"prompt\":\"north\",\"chosen\":\"a\",\"rejected\":\"b\"}\n");
  const std::string data = folder.write("data.jsonl", "{\"prompt\":\"north\",\"completion\":\"west\"}\n");
  const std::string log = folder / "log.jsonl";
  const std::vector<std::vector<std::string>> commands{
      {"dpo", model, "--pairs", pairs, "--lora-rank", "3", "--lora-alpha", "4.5", "--lora-targets", "q_proj,up_proj"},
      {"sft", model, "--data", data, "--lora-rank", "2"}};
  for (std::vector<std::string> command : commands) {
    const std::string out = folder / command[0], again = folder / (command[0] + "-merged");
    for (const std::string word : {"--out", out.c_str(), "--lr", "1e-2", "--epochs", "3", "--log", log.c_str()})
      command.push_back(word);
    REQUIRE(run_thinker(command).status == 0);
    const Json config = parse_json(read_text_file(out + "/adapter/adapter_config.json"), out);
    CHECK(config["base_model_name_or_path"] == model);
    CHECK(config["target_modules"].size() == (command[0] == "dpo" ? 2 : 7));
    CHECK(config["lora_alpha"] == (command[0] == "dpo" ? Json(4.5) : Json(32)));
    REQUIRE(run_thinker({"convert", model, again, "--adapter", out + "/adapter"}).status == 0);
    CHECK(read_text_file(again + "/model.safetensors") == read_text_file(out + "/model.safetensors"));
    for (const std::string& adapter : {out + "/adapter", out + "/adapter/"})
      CHECK(holds(run_thinker({"convert", out, again, "--adapter", adapter}).err, "merged already"));
    CHECK(read_text_file(out + "/model.safetensors") != read_text_file(model + "/model.safetensors"));
    const std::vector<JsonLine> steps = read_jsonl(log);
    REQUIRE(steps.size() == 3);
    CHECK(steps[2].number("loss") < steps[0].number("loss"));
    if (command[0] == "dpo") CHECK(steps[0].number("margin") == 0.0);
  }
}

TEST_CASE("cli: judge and eval tell IFEval's accuracies where the prompts are of its format") {
  const TempFolder folder;
  const std::string prompts = folder.write("prompts.jsonl",
                                           "{\"key\":7,\"prompt\":\"north\",\"instruction_id_list\":"
                                           "[\"startend:quotation\"],\"kwargs\":[{\"num_words\":null}]}\n");
  const std::string samples = folder / "samples.jsonl", out = folder / "out.jsonl";
  const Outcome evaluated =
      run_thinker({"eval", model_folder(), "--prompts", prompts, "--judge", "rule", "--out", out, "--max-new", "2"});
  REQUIRE(evaluated.status == 0);
  const Json summary = evaluated.lines().at(0);
  CHECK(summary["ifeval"]["prompts"] == 1);
  CHECK(summary["ifeval"]["groups"]["startend"]["strict"] == 0.0);
  CHECK(summary["categories"].contains("startend"));

  Json line = read_jsonl(out).front().json();
  line["response"] = "Sure:\n\"west\"";
  line["parse"] = "ok";
  write_file_atomically(samples, line.dump() + "\n");
  const Outcome judged = run_thinker({"judge", "--samples", samples, "--judge", "rule", "--out", out});
  REQUIRE(judged.status == 0);
  CHECK(holds(judged.err, "IFEval: prompts strict 0.000, loose 1.000 (of 1)"));
  CHECK(read_jsonl(out).front().string("answer") == "not met: startend:quotation (loosely met)");
}

TEST_CASE("cli: eval of stored outputs against others, with the numbers of a table counted by hand") {
  const TempFolder folder;
  std::string prompts, ours, theirs;
  const auto alpaca = [](const std::string& prompt, const std::string& output) {
    return Json{{"instruction", prompt}, {"output", output}, {"generator", "g"}}.dump();
  };
  // Answers: ours and theirs. The right one is "4".
  const std::vector<std::pair<std::string, std::string>> table = {
      {"It is 4.", "5"}, {"4", "4 of them"}, {"3", "four, 4.0"}, {"4 and no more", ""}, {"", ""}, {"2", "3"}};
  for (size_t i = 0; i < table.size(); ++i) {
    const std::string question = "What is 2 + 2, asked " + std::to_string(i) + "?";
    prompts +=
        Json{{"id", i}, {"question", question}, {"answer", "#### 4"}, {"category", i < 3 ? "a" : "b"}}.dump() + "\n";
    ours += (i ? "," : "[") + alpaca(question, table[i].first);
    theirs += (i ? "," : "[") + alpaca(question, table[i].second);
  }
  folder.write("prompts.jsonl", prompts);
  folder.write("ours.json", ours + "]");
  folder.write("theirs.json", theirs + "," + alpaca("another question", "x") + "]");
  const std::vector<std::string> command = {
      "eval",  folder / "ours.json", "--prompts", folder / "prompts.jsonl", "--judge", "answer",
      "--out", folder / "eval.jsonl"};
  std::vector<std::string> compared = command;
  compared.insert(compared.end(), {"--against", folder / "theirs.json", "--export", "arena-hard", "--export-file",
                                   folder / "arena.jsonl", "--generator", "me"});
  const Outcome outcome = run_thinker(compared);
  CAPTURE(outcome.err);
  REQUIRE(outcome.status == 0);
  const Json summary = outcome.lines().at(0);
  CHECK(summary["prompts"] == 6);
  CHECK(summary["score"] == 0.5);  // right: 1, 2, 4
  CHECK(summary["failed"] == 1);
  CHECK(summary["unmatched"] == 1);
  CHECK(summary["categories"]["a"]["prompts"] == 3);
  CHECK(summary["categories"]["a"].contains("low"));
  const Json& against = summary["against"];
  CHECK(against["games"] == 6);
  CHECK(against["wins"] == 2);    // 1, 4
  CHECK(against["losses"] == 1);  // 3
  CHECK(against["ties"] == 3);    // both right, both without a response, both wrong
  CHECK(against["win_rate"].get<double>() == doctest::Approx(3.5 / 6));
  CHECK(against["length_controlled"]["win_rate"].get<double>() > 0);
  CHECK(against["categories"]["b"]["win_rate"].get<double>() == doctest::Approx(2.0 / 3));

  // Its own outputs, in three formats, tie everywhere: the same prompts, the same responses.
  for (const char* file : {"ours.json", "eval.jsonl"}) {
    std::vector<std::string> same = command;
    same.back() = folder / "same.jsonl";
    same.insert(same.end(), {"--against", folder / file});
    const Json tied = run_thinker(same).lines().at(0)["against"];
    CHECK(tied["ties"] == 6);
    CHECK(tied["win_rate"] == 0.5);
    CHECK(tied["length_controlled"]["win_rate"] == 0.5);
    CHECK(tied["low"] == 0.5);
  }
  const std::vector<JsonLine> exported = read_jsonl(folder / "arena.jsonl");
  REQUIRE(exported.size() == 6);
  CHECK(exported[1].string("uid") == "1");
  CHECK(exported[1].string("model") == "me");

  std::vector<std::string> missing = command;
  missing.insert(missing.end(), {"--against", folder.write("few.json", "[" + alpaca("another question", "x") + "]")});
  const Outcome refused = run_thinker(missing);
  CHECK(refused.status == 1);
  CHECK(one_line(refused.err));
  CHECK(holds(refused.err, "has no output for prompt 0"));
}

TEST_CASE("cli: eval samples a model, scores it and writes its responses for AlpacaEval") {
  const TempFolder folder;
  std::string lines;
  for (const char* way : {"north. Turn 1)back 2)right.", "south. Turn 1)left.", "west. Turn 1)back."})
    lines += Json{{"prompt", concat("You face ", way, " Which way now?")}, {"reference", "1"}}.dump() + "\n";
  const std::string prompts = folder.write("prompts.jsonl", lines);
  const Outcome outcome = run_thinker({"eval", model_folder(), "--prompts", prompts, "--judge", "answer", "--out",
                                       folder / "eval.jsonl", "--max-new", "4", "--resample", "1", "--export",
                                       "alpaca-eval", "--export-file", folder / "model_outputs.json"});
  CAPTURE(outcome.err);
  REQUIRE(outcome.status == 0);
  CHECK(outcome.lines().at(0)["prompts"] == 3);
  const Json outputs = Json::parse(read_text_file(folder / "model_outputs.json"));
  REQUIRE(outputs.size() == 3);
  CHECK(outputs[0]["generator"] == "model");
  CHECK(outputs[0]["instruction"] == "You face north. Turn 1)back 2)right. Which way now?");
  CHECK(keys_of(outputs[0]) == std::vector<std::string>{"dataset", "instruction", "output", "generator"});
}

TEST_CASE("cli: judge-report tells one judge's failures, and two judges' agreement") {
  const TempFolder folder;
  std::string a, b;
  for (int sample = 0; sample < 3; ++sample) {
    const Json view{{"prompt", Json::array()}, {"response", std::string(static_cast<size_t>(sample + 1), 'x')}};
    a += Json{{"id", 1}, {"sample", sample}, {"view", view}, {"answer", ""}, {"score", sample}}.dump() + "\n";
    b += Json{{"id", 1}, {"sample", sample}, {"view", view}, {"answer", ""}, {"score", -sample}}.dump() + "\n";
  }
  const std::string first = folder.write("a.jsonl", a), second = folder.write("b.jsonl", b);
  const Outcome one = run_thinker({"judge-report", first});
  CHECK(one.status == 0);
  CHECK(one.lines().at(0)["agreement"].is_null());
  CHECK(one.lines().at(0)["judges"][0]["length"]["spearman"] == 1.0);
  CHECK(holds(one.err, "won by the longer response"));
  const Outcome two = run_thinker({"judge-report", first, second});
  CHECK(two.lines().at(0)["agreement"]["agreement"] == 0.0);
  CHECK(two.lines().at(0)["agreement"]["kendall_tau"] == -1.0);
  CHECK(run_thinker({"judge-report", folder / "none"}).status == 1);
  const std::string failed = folder.write("failed.jsonl", R"({"id":1,"sample":0,"view":{},"answer":"","error":"no"})");
  CHECK(run_thinker({"judge-report", failed}).status == 0);
  refusal_of({"judge-report", first, failed}, 1, failed + ": all 1 judgments failed");
}
