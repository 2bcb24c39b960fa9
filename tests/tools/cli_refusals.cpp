// What the command line refuses rather than lose a file, train on nonsense or make up a number.
#include <doctest/doctest.h>

#include <filesystem>

#include "tensor/file.h"
#include "tests/tools/cli.h"

using namespace thinker;

TEST_CASE("cli: an output that would overwrite an input, or another output, is wrong usage; nothing is touched") {
  const TempFolder folder;
  const std::string& model = model_folder();
  const std::string text = "{\"prompt\":\"north\",\"chosen\":\"a\",\"rejected\":\"b\",\"completion\":\"a\"}\n";
  const std::string file = folder.write("file", text), link = folder / "link", other = folder / "other",
                    out = folder / "out", none = folder / "none.jsonl";
  std::filesystem::create_symlink("file", link);
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"dpo", model, "--pairs", file, "--out", out, "--log", file}, "--log " + file + ": is also --pairs"},
      {{"dpo", model, "--pairs", file, "--out", out, "--log", link}, "is also --pairs"},
      {{"sft", model, "--data", file, "--out", out, "--log", file}, "is also --data"},
      {{"reward", model, "--pairs", other, "--held-out", file, "--out", out, "--log", file}, "is also --held-out"},
      {{"sample", model, "--prompts", file, "--out", folder / "./file"}, "is also --prompts"},
      {{"judge", "--samples", file, "--prompts", other, "--judge", "rule", "--out", file}, "is also --samples"},
      {{"pair", "--samples", file, "--judgments", other, "--prompts", other, "--out", file}, "is also --samples"},
      {{"pair", "--samples", file, "--judgments", other, "--out", folder.write("prompts.jsonl", text)},
       "is also --prompts"},
      {{"eval", model, "--prompts", other, "--judge", "rule", "--out", none, "--export", "arena-hard", "--export-file",
        folder / "../" + std::filesystem::path(folder.path()).filename().string() + "/none.jsonl"},
       "is also --out"},
      {{"eval", model, "--prompts", file, "--judge", "rule", "--out", file}, "is also --prompts"},
      {{"eval", model, "--prompts", other, "--judge", "rule", "--out", "none.jsonl", "--export", "arena-hard",
        "--export-file", (std::filesystem::current_path() / "none.jsonl").string()},
       "is also --out"},
      {{"dpo", model, "--pairs", file, "--out", model}, "is also MODEL"},
      {{"dpo", other, "--reference", model, "--pairs", file, "--out", model + "/."}, "is also --reference"},
      {{"sft", model, "--data", file, "--out", model}, "is also MODEL"},
      {{"reward", model, "--pairs", file, "--out", model}, "is also MODEL"},
      {{"convert", model, model, "--dtype", "bf16"}, "OUT " + model + ": is also MODEL"},
      {{"sft", model, "--data", file, "--out", out, "--log", out + "/config.json"}, "is a file of --out"},
      {{"dpo", model, "--pairs", file, "--out", out, "--log", out + "/./model.safetensors"}, "is a file of --out"},
      {{"reward", model, "--pairs", file, "--out", out, "--log", model + "/tokenizer.json"}, "is a file of MODEL"},
      {{"sample", model, "--prompts", file, "--out", model + "/model-00001-of-00002.safetensors"},
       "is a file of MODEL"},
      {{"eval", model, "--prompts", file, "--judge", "rule", "--out", model + "/./config.json"}, "is a file of MODEL"},
      {{"pair", "--samples", file, "--judgments", other, "--prompts", other, "--length", "tokens", "--model", model,
        "--out", model + "/tokenizer.json"},
       "is a file of --model"},
      {{"sample", model, "--prompts", folder.write("p.part", text), "--out", folder / "p"}, "which is also --prompts"},
      {{"judge", "--samples", folder.write("z.tmp", text), "--prompts", other, "--judge", "rule", "--out",
        folder / "z"},
       "which is also --samples"},
  };
  for (const auto& [arguments, reason] : cases) {
    CHECK(holds(refusal_of(arguments, 2, reason), "name another"));
  }
  CHECK(read_text_file(file) == text);
  CHECK(!std::filesystem::exists(out));
}

TEST_CASE("cli: dpo refuses a reference of other tokens than the policy's") {
  const TempFolder folder;
  const std::string& model = model_folder();
  const auto saved_with = [&](const char* token) {
    const auto device = open_device("cpu");
    TokenizerSpec spec = world::vocabulary();
    spec.tokens.push_back(token);
    spec.types.push_back(TokenType::UserDefined);
    ChatTokenizer text{Tokenizer(spec)};
    Transformer net = world::new_model(*device, world::seed_config({}, text.tokenizer.vocabulary_size()), 1);
    Model{std::move(net), std::move(text)}.save(folder / token);
    return folder / token;
  };
  const std::string pairs = folder.write("pairs.jsonl", "{\"prompt\":\"north\",\"chosen\":\"a\",\"rejected\":\"b\"}\n");
  const auto trained = [&](const std::string& policy, const std::string& reference) {
    return run_thinker({"dpo", policy, "--reference", reference, "--pairs", pairs, "--out", folder / "out"});
  };
  const std::string larger = saved_with("QQ"), other = saved_with("ZZ");
  const Outcome of_other_size = trained(model, larger), of_other_tokens = trained(larger, other);
  CHECK(of_other_size.status == 1);
  CHECK(one_line(of_other_size.err));
  CHECK(holds(of_other_size.err, "--reference " + larger + ": has a vocabulary of "));
  CHECK(of_other_tokens.status == 1);
  CHECK(holds(of_other_tokens.err, "--reference " + other + ": its tokens are others than those of " + larger));
  CHECK(trained(larger, larger).status == 0);
}

TEST_CASE("cli: a judge that scored nothing is one line, and nothing is kept; what it left out is told with scores") {
  const TempFolder folder;
  const std::string& model = model_folder();
  const std::string prompts = folder.write("prompts.jsonl", kPrompts), out = folder / "eval.jsonl";
  refusal_of({"eval", model, "--prompts", prompts, "--judge", "rule", "--out", out, "--max-new", "64", "--resample",
              "20", "--temperature", "2"},
             1, "the judge gave no score for any of ");  // no prompt has a check
  CHECK(!std::filesystem::exists(out));

  const std::string some =
      folder.write("some.jsonl", std::string(kPrompts) + R"({"prompt": "Which?", "check": {"no_comma": true}})");
  const std::string train =
      folder.write("train.jsonl", "{\"prompt\":\"You face east. Turn 1)right. Which way now?\"}\n");
  const Json recipe{{"name", "run"},
                    {"dtype", "f32"},
                    {"model", model},
                    {"prompts", {{"train", train}, {"test", some}}},
                    {"thought", "none"},
                    {"warmup", {{"samples", 0}}},
                    {"iterations", 0},
                    {"select", "last"},
                    {"sampling", {{"max_new", 64}}},
                    {"eval", {{"temperature", 2}, {"top_p", 1}, {"resample", 20}}}};
  const Outcome ran = run_thinker({"train", folder.write("recipe.json", recipe.dump()), "--out", folder / "runs"});
  CAPTURE(ran.err);
  REQUIRE(ran.status == 0);
  CHECK(holds(ran.err, " not judged"));
  CHECK(holds(ran.out, "  not judged, and not in the score: "));
  CHECK(run_thinker({"report", folder / "runs/run"}).status == 0);
  // A page may be made anew, but not in place of what it was made from.
  const std::string log = folder / "runs/run/log.jsonl", text = read_text_file(log);
  refusal_of({"report", folder / "runs/run", "--out", log}, 2, "log.jsonl: is a file of the run");
  CHECK(read_text_file(log) == text);
  CHECK(run_thinker({"report", folder / "runs/run", "--out", folder / "runs/run/report.html"}).status == 0);
  CHECK(run_thinker({"report", folder / "runs/run", "--markdown", "--out", folder / "tables.md"}).status == 0);
}

TEST_CASE("cli: forced markers that leave no room for a response are wrong usage, with the least --max-new") {
  const TempFolder folder;
  const std::string& model = model_folder();
  const std::string style = folder.write("thought.json", "{\"instruction\":\"{query}\",\"split\":\"<R>\"}");
  const std::string prompts = folder.write("prompts.jsonl", kPrompts), out = folder / "out.jsonl";
  const auto forced = [&](std::vector<std::string> command, int64_t budget, int64_t max_new) {
    command.insert(command.end(), {"--thought", style, "--force-format", "--thought-budget", std::to_string(budget),
                                   "--max-new", std::to_string(max_new)});
    return command;
  };
  const int64_t markers =
      static_cast<int64_t>(open_tokenizer(model).tokenizer.encode("\n\n<R>\n", SpecialText::Plain).size());
  const int64_t least = 5 + markers + 2;  // and a token of response, and the end
  const std::string reason = concat("--max-new ", least - 1,
                                    " leaves no room for a response: with --force-format and "
                                    "--thought-budget 5 it must be at least ",
                                    least, " ");
  const std::vector<std::vector<std::string>> commands = {
      {"generate", model, "--prompt", "north"},
      {"chat", model},
      {"sample", model, "--prompts", prompts, "--out", out},
      {"eval", model, "--prompts", prompts, "--judge", "rule", "--out", out},
  };
  for (const auto& command : commands) refusal_of(forced(command, 5, least - 1), 2, reason);
  CHECK(!std::filesystem::exists(out));
  const Outcome enough = run_thinker(forced({"generate", model, "--prompt", "north", "--json"}, 5, least));
  REQUIRE(enough.status == 0);
  const Json line = enough.lines().at(0);
  CHECK(line.at("forced").back().at(1).get<size_t>() < line.at("ids").size());
}

TEST_CASE("cli: a folder that is no model is told what a MODEL is; train --resume of nothing says so") {
  const TempFolder folder;
  const std::string empty = folder.path();
  refusal_of({"generate", empty, "--prompt", "a"}, 1, empty + ": has no config.json; a MODEL is a Hugging Face folder");
  refusal_of({"tokenize", empty}, 1, empty + ": has no tokenizer.json; a MODEL is a Hugging Face folder");
  const Json recipe{{"name", "run"},
                    {"dtype", "f32"},
                    {"model", model_folder()},
                    {"thought", "none"},
                    {"iterations", 0},
                    {"select", "last"},
                    {"judge", {{"kind", "answer"}}},
                    {"prompts",
                     {{"train", folder.write("train.jsonl", "{\"prompt\":\"north\"}\n")},
                      {"test", folder.write("test.jsonl", "{\"prompt\":\"south\",\"reference\":\"4\"}\n")}}}};
  const std::vector<std::string> command = {"train", folder.write("r.json", recipe.dump()), "--resume", "--out",
                                            folder / "runs"};
  const Outcome fresh = run_thinker(command), again = run_thinker(command);
  CAPTURE(fresh.err);
  CHECK(fresh.status == 0);
  CHECK(holds(fresh.err, "runs/run: holds no run to resume; a new one begins\n"));
  CHECK(again.status == 0);
  CHECK(!holds(again.err, "to resume"));
}

TEST_CASE("cli: pair names the file of what does not fit, and tells no lengths of no pairs") {
  const TempFolder folder;
  const std::string prompts = folder.write("prompts.jsonl", "{\"id\":\"p\",\"prompt\":\"north\"}\n");
  const auto sample = [](const char* id, int64_t number) {
    return Json{{"id", id},    {"sample", number},   {"prompt_ids", {1}}, {"ids", {2}},    {"logprobs", {-1.0}},
                {"text", "a"}, {"thought", nullptr}, {"response", "a"},   {"parse", "ok"}, {"stop", "end"}}
               .dump() +
           "\n";
  };
  const auto judgment = [](const Json& score, const char* response) {
    return Json{{"id", "p"}, {"sample", 0}, {"view", {{"response", response}}}, {"score", score}}.dump() + "\n";
  };
  const std::string good = folder.write("good.jsonl", sample("p", 0) + sample("p", 1)),
                    stray = folder.write("stray.jsonl", sample("p", 0) + sample("q", 0)),
                    judged = folder.write("judged.jsonl", judgment(1, "a")),
                    foreign = folder.write("foreign.jsonl", judgment(1, "b")),
                    null = folder.write("null.jsonl", judgment(nullptr, "a")), out = folder / "pairs.jsonl";
  const auto pair = [&](const std::string& samples, const std::string& judgments) {
    return std::vector<std::string>{"pair", "--samples", samples, "--judgments", judgments, "--out", out};
  };
  refusal_of(pair(stray, judged), 1, stray + ": sample \"q\" belongs to no prompt");
  refusal_of(pair(good, foreign), 1, foreign + ": sample 0 of prompt \"p\": its judgment is of another response");
  refusal_of(pair(good, null), 1, null + ":1: has neither a \"score\" (a number) nor an \"error\" (a text)");
  const Outcome none = run_thinker(pair(good, judged));
  CHECK(none.status == 0);
  CHECK(holds(none.err, "\nno pairs: "));
  CHECK(!holds(none.err, "mean length of chosen"));
  folder.write("prompts.jsonl", "{\"id\":1,\"prompt\":\"north\"}\n{\"prompt\":\"west\"}\n");
  refusal_of(pair(good, judged), 1, prompts + ":2: has no \"id\" and so counts as 1, the id of " + prompts + ":1");
}

TEST_CASE("cli: a training that fails takes the folder that it made with it, and no other") {
  const TempFolder folder;
  const std::string& model = model_folder();
  const std::string bad = folder.write("bad.jsonl", "{}\n"), made = folder / "made", there = folder / "there";
  std::filesystem::create_directories(there);
  for (const std::string& out : {made, there})
    refusal_of({"dpo", model, "--pairs", bad, "--out", out}, 1, bad + ":1: ");
  CHECK(!std::filesystem::exists(made));
  CHECK(std::filesystem::is_directory(there));
}
