// From the command line to the work: what a command draws, pairs, trains and counts is what the layers below make of
// the options' numbers, which are written out here a second time. Each matters: without it, something else comes out.
#include <functional>
#include <set>

#include "tensor/file.h"
#include "tensor/safetensors.h"
#include "tests/tools/cli.h"
#include "tests/tpo/tiny_world.h"
#include "tpo/stages/compare.h"
#include "tpo/stages/judge.h"
#include "tpo/stages/pair.h"

using namespace thinker;

namespace {

/// The tiny world, whose model answers in characters, and another model of the same tokens.
struct Place : tiny::World {
  Place() {
    Model model = tiny::untrained_model(*device);
    tiny::train_format(model, thought_style("none"), 160);
    model.save(folder / "other");
  }
  std::string model = folder / "seed", other = folder / "other";
};

const Place& place() {
  static const Place shared;
  return shared;
}

Model opened(const std::string& model) {
  return open_model(*place().device, model, DType::F32);
}

using Words = std::vector<std::string>;

Words joined(Words words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

/// Runs a command that must succeed; what computes, on the device that the tests compute on.
Outcome done(Words command, const std::string& input = "") {
  for (const char* computes : {"dpo", "sft", "generate", "sample", "score", "eval"})
    if (command[0] == computes) command = joined(command, {"--device", "cpu"});
  const Outcome outcome = thinker_with(input, command);
  CAPTURE(outcome.err);
  REQUIRE(outcome.status == 0);
  return outcome;
}

double sum(const std::vector<double>& numbers) {
  double total = 0;
  for (double x : numbers) total += x;
  return total;
}

/// Options of a command, and the same by hand.
template <class Stage>
struct Change {
  Words words;
  std::function<void(Stage&)> by_hand;
};

struct Training {
  DpoOptions dpo;
  TrainOptions train;
};

/// The options that docs/reference.md gives to a training, but for the rate and the batch.
Training training() {
  Training t;
  t.dpo = {.loss = DpoLoss::sigmoid, .beta = 0.1, .label_smoothing = 0.0, .nll = 0.0};
  t.train.lr = 1e-2;
  t.train.schedule = ScheduleKind::linear;
  t.train.warmup = 0;
  t.train.batch = 3;
  t.train.epochs = 1;
  t.train.micro_tokens = 2048;
  t.train.order = Order::shuffled;
  t.train.seed = 0;
  t.train.adamw.clip = 1.0;
  t.train.adamw.weight_decay = 0.0;
  t.train.adamw.state = OptimizerState::f32;
  return t;
}

const std::vector<Change<Training>> kNumbers = {
    {{"--lr", "2e-2"}, [](auto& t) { t.train.lr = 2e-2; }},
    {{"--schedule", "cosine"}, [](auto& t) { t.train.schedule = ScheduleKind::cosine; }},
    {{"--warmup", "2"}, [](auto& t) { t.train.warmup = 2; }},
    {{"--batch", "2"}, [](auto& t) { t.train.batch = 2; }},
    {{"--epochs", "2"}, [](auto& t) { t.train.epochs = 2; }},
    {{"--micro-tokens", "8"}, [](auto& t) { t.train.micro_tokens = 8; }},
    {{"--clip", "0.05"}, [](auto& t) { t.train.adamw.clip = 0.05; }},
    {{"--weight-decay", "0.5"}, [](auto& t) { t.train.adamw.weight_decay = 0.5; }},
    {{"--optimizer-state", "8bit"}, [](auto& t) { t.train.adamw.state = OptimizerState::eight_bit; }},
    {{"--seed", "4"}, [](auto& t) { t.train.seed = 4; }},
};

/// What does not go together with all of these. The first one is of every training.
const std::vector<Change<Training>> kAlone = {
    {{"--no-shuffle"}, [](auto& t) { t.train.order = Order::as_given; }},
    {{"--loss", "ipo"}, [](auto& t) { t.dpo.loss = DpoLoss::ipo; }},
    {{"--beta", "0.3"}, [](auto& t) { t.dpo.beta = 0.3; }},
    {{"--nll", "0.7"}, [](auto& t) { t.dpo.nll = 0.7; }},
    {{"--loss", "cdpo", "--label-smoothing", "0.2"},
     [](auto& t) { t.dpo.loss = DpoLoss::cdpo, t.dpo.label_smoothing = 0.2; }},
    {{"--loss", "robust", "--label-smoothing", "0.2"},
     [](auto& t) { t.dpo.loss = DpoLoss::robust, t.dpo.label_smoothing = 0.2; }},
};

const char* const kPairs =
    "{\"prompt\":\"abc?\",\"chosen\":\"ab\",\"rejected\":\"hg h\"}\n"
    "{\"prompt\":\"d?\",\"chosen\":\"da\",\"rejected\":\"f\"}\n"
    "{\"prompt\":\"ee?\",\"chosen\":\"abe\",\"rejected\":\"c\"}\n"
    "{\"prompt\":\"gh?\",\"chosen\":\"bga\",\"rejected\":\"dd\"}\n"
    "{\"prompt\":\"fad?\",\"chosen\":\"fb\",\"rejected\":\"h\"}\n"
    "{\"prompt\":\"b?\",\"chosen\":\"b a\",\"rejected\":\"cc\"}\n"
    "{\"prompt\":\"hh?\",\"chosen\":\"a\",\"rejected\":\"eg\"}\n"
    "{\"prompt\":\"cd?\",\"chosen\":\"cab\",\"rejected\":\"gf\"}\n";

double logprob(const Model& model, const std::string& prompt, const std::string& completion) {
  return sum(
      completion_logprobs(model.net, model.text.prompt_ids({{"user", prompt}}), model.text.completion_ids(completion)));
}

/// What `generate` and `sample` draw by docs/reference.md.
SampleStage drawing() {
  SampleStage stage;
  stage.style = thought_style("none");
  stage.format = Format::free;
  stage.thought_budget = 96;
  stage.max_new = 256;
  stage.sampling = {.temperature = 0.8, .top_k = 0, .top_p = 0.95, .min_p = 0.0, .greedy = false};
  stage.seed = 0;
  return stage;
}

std::string line_of(const std::string& prompt, const std::string& completion) {
  return Json{{"prompt", prompt}, {"completion", completion}}.dump() + "\n";
}

}  // namespace

TEST_CASE("settings: dpo and sft train with each of their options") {
  const TempFolder folder;
  const std::string pairs = folder.write("pairs.jsonl", kPairs);
  std::string lines;
  for (const JsonLine& line : read_jsonl(pairs)) lines += line_of(line.string("prompt"), line.string("chosen"));
  const std::string data = folder.write("data.jsonl", lines), out = folder / "out";
  for (const bool dpo : {true, false}) {
    CAPTURE(dpo);
    const auto by_command = [&](const Words& words) {
      done(joined(
          {dpo ? "dpo" : "sft", place().model, dpo ? "--pairs" : "--data", dpo ? pairs : data, "--out", out, "--quiet"},
          words));
      return weights_of(opened(out).net);
    };
    const auto by_hand = [&](const Training& t) {
      Model model = opened(place().model);
      if (dpo) {
        const auto read = read_id_pairs(pairs, model.text);
        AdamW optimizer(model.net, t.train.adamw);
        const auto reference = reference_logps_of_start(model.net, read, t.train);
        train_dpo(model.net, optimizer, read, reference, ReferenceIs::start, t.dpo, t.train, {});
      } else {
        train_sft(model.net, read_supervised(data, model.text, TrainedTurns::last), t.train, {});
      }
      return weights_of(model.net);
    };
    const Words usual = {"--lr", "1e-2", "--batch", "3"};
    const Values plain = by_command(usual);
    CHECK(plain == by_hand(training()));
    // All numbers at once; each of them matters.
    const auto all_but = [](const Words& left_out) {
      Training t = training();
      for (const auto& [words, by_hand] : kNumbers)
        if (words != left_out) by_hand(t);
      return t;
    };
    Words all;
    for (const auto& [words, by_hand] : kNumbers) all = joined(all, words);
    const Values trained = by_command(all);
    CHECK(trained == by_hand(all_but({})));
    for (const auto& [words, ignored] : kNumbers) CHECK_MESSAGE(trained != by_hand(all_but(words)), words[0]);
    for (const auto& [words, change] : kAlone) {
      if (!dpo && words != kAlone[0].words) break;
      CAPTURE(Json(words).dump());
      Training t = training();
      change(t);
      const Values found = by_command(joined(usual, words));
      CHECK(found == by_hand(t));
      CHECK(found != plain);
    }
  }
}

TEST_CASE("settings: dpo's first step shows its loss, and the reference that was named") {
  const TempFolder folder;
  const std::string pairs = folder.write("pairs.jsonl", kPairs), log = folder / "log.jsonl";
  const Model model = opened(place().model), other = opened(place().other);
  double nll = 0, margin = 0, reward = 0;
  for (const JsonLine& line : read_jsonl(pairs)) {
    const auto prompt = line.string("prompt"), chosen = line.string("chosen"), rejected = line.string("rejected");
    const double c = logprob(model, prompt, chosen);
    nll -= c / static_cast<double>(chosen.size() + 1) / 8;  // a token each letter, and the end
    reward += 0.1 * (c - logprob(other, prompt, chosen)) / 8;
    margin +=
        0.1 *
        (c - logprob(other, prompt, chosen) - logprob(model, prompt, rejected) + logprob(other, prompt, rejected)) / 8;
  }
  REQUIRE(std::fabs(margin) > 0.01);
  const auto first = [&](const Words& words) {
    done(joined({"dpo", place().model, "--pairs", pairs, "--out", folder / "out", "--log", log, "--quiet"}, words));
    return read_jsonl(log).at(0);
  };
  CHECK(first({}).number("loss") == doctest::Approx(std::log(2.0)).epsilon(1e-6));
  CHECK(first({}).number("margin") == 0.0);
  CHECK(first({"--loss", "ipo", "--beta", "0.3"}).number("loss") == doctest::Approx(1 / (4 * 0.09)).epsilon(1e-6));
  CHECK(first({"--nll", "0.7"}).number("loss") == doctest::Approx(std::log(2.0) + 0.7 * nll).epsilon(1e-4));
  const JsonLine against = first({"--reference", place().other});
  CHECK(against.number("margin") == doctest::Approx(margin).epsilon(1e-3));
  CHECK(against.number("reward_chosen") == doctest::Approx(reward).epsilon(1e-3));
}

TEST_CASE("settings: sft trains the last answer, with --train-all-turns every one") {
  const TempFolder folder;
  const std::string data =
      folder.write("data.jsonl", R"({"messages": [{"role":"user","content":"ab?"},{"role":"assistant","content":"cd"},
                        {"role":"user","content":"e?"},{"role":"assistant","content":"f"}]})");
  std::string line = read_text_file(data);
  std::erase(line, '\n');
  folder.write("data.jsonl", line + "\n");
  const Model model = opened(place().model);
  const Ids ids = model.text.tokenizer.encode("ab?cd<end>e?f<end>", SpecialText::Parse);
  REQUIRE(ids.size() == 10);
  // The log-prob of token i stands at i - 1.
  const auto p = completion_logprobs(model.net, {ids[0]}, Ids(ids.begin() + 1, ids.end()));
  const auto loss = [&](const Words& words) {
    done(joined({"sft", place().model, "--data", data, "--out", folder / "out", "--log", folder / "log", "--quiet"},
                words));
    return read_jsonl(folder / "log").at(0).number("loss");
  };
  CHECK(loss({}) == doctest::Approx(-(p[7] + p[8]) / 2).epsilon(1e-5));
  CHECK(loss({"--train-all-turns"}) == doctest::Approx(-(p[2] + p[3] + p[4] + p[7] + p[8]) / 5).epsilon(1e-5));
}

TEST_CASE("settings: generate and sample draw with each of their options") {
  const TempFolder folder;
  const std::string style = folder.write("style.json", tiny::kStyle);
  const std::vector<Change<SampleStage>> changes = {
      {{}, [](auto&) {}},
      {{"--temperature", "0.6"}, [](auto& s) { s.sampling.temperature = 0.6; }},
      {{"--top-p", "0.7"}, [](auto& s) { s.sampling.top_p = 0.7; }},
      {{"--top-k", "3"}, [](auto& s) { s.sampling.top_k = 3; }},
      {{"--min-p", "0.4"}, [](auto& s) { s.sampling.min_p = 0.4; }},
      {{"--seed", "5"}, [](auto& s) { s.seed = 5; }},
      {{"--max-new", "3"}, [](auto& s) { s.max_new = 3; }},
      {{"--thought", style}, [&](auto& s) { s.style = thought_style(style); }},
      {{"--thought", style, "--force-format", "--thought-budget", "2"},
       [&](auto& s) { s.style = thought_style(style), s.format = Format::forced, s.thought_budget = 2; }},
  };
  const std::vector<Prompt> prompts = tiny::prompts(6, 3);
  std::vector<Json> lines;
  for (const Prompt& p : prompts) lines.push_back(prompt_to_json(p));
  const std::string file = folder / "prompts.jsonl", samples = folder / "samples.jsonl";
  write_jsonl(file, lines);
  const Model model = opened(place().model);
  std::set<std::string> different;
  for (const auto& [words, by_hand] : changes) {
    CAPTURE(Json(words).dump());
    SampleStage stage = drawing();
    by_hand(stage);
    stage.k = 3;
    std::string expected;
    for (const SampleRecord& s : sample_prompts(model, sample_prompts_of(prompts), stage)) {
      Json line = sample_to_json(s);
      line.erase("prompt_ids");
      expected += dump_json(line) + "\n";
    }
    const Outcome outcome = done(joined({"generate", place().model, "--input", file, "--n", "3"}, words));
    CHECK(outcome.out == expected);
    CHECK_MESSAGE(different.insert(outcome.out).second, "draws as another one does");
    done(joined({"sample", place().model, "--prompts", file, "--out", samples, "--quiet"}, words));
    stage.k = 8;
    std::vector<Json> written;
    for (const SampleRecord& s : sample_prompts(model, sample_prompts_of(prompts), stage))
      written.push_back(sample_to_json(s));
    write_jsonl(folder / "expected", written);
    CHECK(read_text_file(samples) == read_text_file(folder / "expected"));
  }
}

TEST_CASE("settings: equal prompts on two lines are drawn from two streams") {
  const std::string line = "{\"prompt\":\"abc?\"}\n";
  const std::vector<Json> drawn =
      done({"generate", place().model, "--n", "4", "--temperature", "1"}, line + line).lines();
  REQUIRE(drawn.size() == 8);
  Json first = Json::array(), second = Json::array();
  for (int i = 0; i < 8; ++i) (i < 4 ? first : second).push_back(drawn[i]["ids"]);
  CHECK(first != second);
}

TEST_CASE("settings: pair builds by each of its options") {
  const TempFolder folder;
  std::string prompts, samples, judgments;
  const auto sample = [&](int prompt, int64_t number, const std::string& response, const char* parse, const char* stop,
                          std::optional<double> score) {
    const std::string id = "p" + std::to_string(prompt);
    const Json shown = std::string(parse) == "ok" ? Json(response) : Json();
    samples += Json{{"id", id},
                    {"sample", number},
                    {"prompt_ids", {1}},
                    {"ids", {number + 1, 0}},
                    {"logprobs", {-1, -1}},
                    {"text", response},
                    {"thought", nullptr},
                    {"response", response},
                    {"parse", parse},
                    {"stop", stop}}
                   .dump() +
               "\n";
    if (score)
      judgments +=
          Json{{"id", id}, {"sample", number}, {"view", {{"response", response}}}, {"score", *score}}.dump() + "\n";
  };
  // Of each prompt but the last: the best is long, the second best is short.
  for (int i = 0; i < 11; ++i) {
    prompts += Json{{"id", "p" + std::to_string(i)}, {"prompt", "north"}}.dump() + "\n";
    sample(i, 0, "north and east", "ok", "end", 1.0);
    if (i == 10) {
      sample(i, 1, "west", "no_end", "length", {});
      sample(i, 2, "south", "no_marker", "end", {});
      continue;
    }
    sample(i, 1, "west", "ok", "end", 0.9);
    sample(i, 2, "south-east", "ok", "end", 0.0);
  }
  folder.write("prompts.jsonl", prompts);
  const std::string s = folder.write("samples.jsonl", samples), j = folder.write("judgments.jsonl", judgments),
                    out = folder / "pairs.jsonl";
  Json counts;
  const auto pairs = [&](const Words& words) {
    const Outcome outcome = done(joined({"pair", "--samples", s, "--judgments", j, "--out", out}, words));
    counts = Json::parse(outcome.err.substr(0, outcome.err.find('\n')));
    return read_jsonl(out);
  };
  const auto plain = pairs({});
  REQUIRE(plain.size() == 10);
  CHECK(plain[0].integer("chosen_sample") == 0);
  CHECK(plain[0].integer("rejected_sample") == 2);
  CHECK(plain[0].integer("length_chosen") == 14);
  CHECK(counts["rho"] == 0.0);
  const auto controlled = pairs({"--rho", "0.5"});
  CHECK(controlled.at(0).integer("chosen_sample") == 1);
  CHECK(counts["rho"] == 0.5);
  CHECK(pairs({"--rho", "auto"}).at(0).integer("chosen_sample") == 1);
  CHECK(counts["rho"].get<double>() > 0.0);
  const auto failures = pairs({"--parse-failures", "reject"});
  REQUIRE(failures.size() == 11);
  CHECK(failures[10].integer("rejected_sample") == 2);
  const auto cut = pairs({"--parse-failures", "reject", "--truncated", "reject"});
  REQUIRE(cut.size() == 11);
  CHECK(cut[10].integer("rejected_sample") == 1);
  const auto tokens = pairs({"--length", "tokens", "--model", model_folder()});
  const auto text = open_tokenizer(model_folder());
  const auto length = static_cast<int64_t>(text.tokenizer.encode("north and east", SpecialText::Plain).size());
  CHECK(length != 14);
  CHECK(tokens.at(0).integer("length_chosen") == length);
  CHECK(counts["length_unit"] == "tokens");
}

TEST_CASE("settings: pair makes scores of games by --scores and --inconsistent") {
  const TempFolder folder;
  folder.write("prompts.jsonl", "{\"id\":\"p\",\"prompt\":\"q\"}\n");
  std::string samples, games;
  const char* const responses[] = {"aa", "bb"};
  for (int64_t k = 0; k < 2; ++k)
    samples += Json{{"id", "p"},
                    {"sample", k},
                    {"prompt_ids", {1}},
                    {"ids", {k + 1, 0}},
                    {"logprobs", {-1, -1}},
                    {"text", responses[k]},
                    {"thought", nullptr},
                    {"response", responses[k]},
                    {"parse", "ok"},
                    {"stop", "end"}}
                   .dump() +
               "\n";
  // The first one wins where it is read first; read last, it ties.
  for (const bool ab : {true, false})
    games += Json{{"id", "p"},
                  {"a", 0},
                  {"b", 1},
                  {"order", ab ? "ab" : "ba"},
                  {"view", {{"prompt", Json::array()}, {"responses", {responses[ab ? 0 : 1], responses[ab ? 1 : 0]}}}},
                  {"answer", ""},
                  {"verdict", ab ? 1 : 0}}
                 .dump() +
             "\n";
  const std::string s = folder.write("samples.jsonl", samples), j = folder.write("judgments.jsonl", games),
                    out = folder / "pairs.jsonl";
  const auto pairs = [&](const Words& words) {
    done(joined({"pair", "--samples", s, "--judgments", j, "--out", out}, words));
    return read_jsonl(out);
  };
  CHECK(pairs({"--scores", "wins"}).at(0).number("score_chosen") == 0.75);
  CHECK(pairs({"--scores", "wins", "--inconsistent", "keep"}).at(0).number("score_chosen") == 0.75);
  const double bt = pairs({}).at(0).number("score_chosen");
  CHECK(bt > 0.76);
  CHECK(pairs({"--scores", "bt"}).at(0).number("score_chosen") == bt);
  CHECK(pairs({"--scores", "wins", "--inconsistent", "tie"}).empty());  // equal scores teach nothing
}

TEST_CASE("settings: score tells each completion's own log-probs, behind its own prompt") {
  const Model model = opened(place().model);
  const std::vector<std::pair<std::string, std::string>> items = {
      {"abc?", "ab"}, {"h?", "ab"}, {"abc?", "ga h"}, {"h?", ""}, {"ddd?", "c"}};
  std::string input;
  for (const auto& [prompt, completion] : items) input += line_of(prompt, completion);
  const std::vector<Json> scored = done({"score", place().model}, input).lines();
  REQUIRE(scored.size() == items.size());
  for (size_t i = 0; i < items.size(); ++i) {
    const Ids ids = model.text.completion_ids(items[i].second);
    const auto alone = completion_logprobs(model.net, model.text.prompt_ids({{"user", items[i].first}}), ids);
    CHECK(scored[i]["ids"] == Json(ids));
    CHECK(difference(scored[i]["logprobs"].get<std::vector<double>>(), alone) <= 1e-4);
    CHECK(scored[i]["sum_logprob"].get<double>() == doctest::Approx(sum(alone)).epsilon(1e-4));
  }
}

TEST_CASE("settings: tokenize opens the assistant's turn unless it has answered, and parses special tokens of a text") {
  const TempFolder folder;
  const std::vector<std::string> control = {"<|im_start|>", "<|im_end|>"};
  TokenizerSpec spec = character_spec("asitnuer\nhb<|_mdo>", control);
  spec.eos = 1;
  spec.chat_template =
      "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + "
      "'\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
  Config config = tiny::config();
  config.vocab = static_cast<int64_t>(spec.tokens.size());
  Model model{Transformer(*place().device, config, DType::F32), ChatTokenizer(Tokenizer(spec))};
  model.net.initialise(1);
  model.save(folder / "chat");
  const auto tokenized = [&](const Json& line) {
    const Outcome outcome = done({"tokenize", folder / "chat"}, line.dump() + "\n");
    return outcome.lines().at(0)["ids"].get<Ids>();
  };
  const auto text = [&](const Ids& ids) { return model.text.tokenizer.decode(ids, SpecialTokens::Keep); };
  const Json user{{"role", "user"}, {"content", "hi"}}, assistant{{"role", "assistant"}, {"content", "bus"}};
  CHECK(text(tokenized({{"messages", {user}}})) == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n");
  const std::string answered = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nbus<|im_end|>\n";
  const Ids ids = tokenized({{"messages", {user, assistant}}});
  CHECK(text(ids) == answered);
  CHECK(tokenized({{"text", answered}}) == ids);
  // In a message they are plain text.
  CHECK(tokenized({{"messages", {{{"role", "user"}, {"content", "<|im_end|>"}}}}}).size() > 20);
  const Json back = done({"tokenize", folder / "chat", "--decode"}, Json{{"ids", ids}}.dump() + "\n").lines().at(0);
  CHECK(back["text"] == answered);
}

TEST_CASE("settings: convert writes the dtype that was asked for") {
  const TempFolder folder;
  const Values before = weights_of(opened(place().model).net);
  for (const std::string dtype : {"", "f32", "bf16"}) {
    CAPTURE(dtype);
    const std::string out = folder / ("as-" + dtype);
    done(joined({"convert", place().model, out}, dtype.empty() ? Words{} : Words{"--dtype", dtype}));
    const SafetensorsFile file(out + "/model.safetensors");
    REQUIRE(!file.tensors().empty());
    for (const auto& [name, tensor] : file.tensors()) CHECK(tensor.dtype_name == (dtype == "bf16" ? "BF16" : "F32"));
    const double off = relative_difference(weights_of(opened(out).net), before);
    if (dtype == "bf16") CHECK((off > 0 && off <= 1.0 / 256));
    if (dtype != "bf16") CHECK(off == 0);
  }
}

TEST_CASE("settings: eval's opponent is the other model, with its own thought prompt") {
  const TempFolder folder;
  const std::string style = folder.write("style.json", tiny::kStyle), out = folder / "eval.jsonl";
  const std::vector<Prompt> prompts = tiny::prompts(16, 3);
  std::vector<Json> lines;
  for (const Prompt& p : prompts) lines.push_back(prompt_to_json(p));
  write_jsonl(folder / "prompts.jsonl", lines);
  const auto judge = make_judge({{"kind", "rule"}});
  const auto outputs = [&](const std::string& model, const std::string& thought) {
    SampleStage stage = drawing();
    stage.style = thought_style(thought);
    stage.max_new = 24;
    stage.sampling.temperature = 0.7;
    stage.sampling.top_p = 0.9;
    stage.seed = 3;
    std::vector<EvalRecord> records = sample_outputs(opened(model), prompts, stage, 1, {});
    judge_records(records, *judge, prompts);
    return records;
  };
  const auto ours = outputs(place().model, style);
  std::set<std::string> different;
  for (const auto& [opponent, thought] : std::vector<std::pair<std::string, std::string>>{
           {place().other, "none"}, {place().model, "none"}, {place().model, style}}) {
    CAPTURE(opponent);
    CAPTURE(thought);
    const auto theirs = outputs(opponent, thought);
    Json expected = win_summary_to_json(summarise_wins(contests_of(ours, theirs, WinBy::higher_score), 3));
    expected["parse_rate"] = summarise(theirs, 3).parse_rate;
    const Outcome outcome = done(joined({"eval",       place().model, "--prompts",     folder / "prompts.jsonl",
                                         "--judge",    "rule",        "--out",         out,
                                         "--max-new",  "24",          "--temperature", "0.7",
                                         "--top-p",    "0.9",         "--seed",        "3",
                                         "--resample", "1",           "--quiet",       "--thought",
                                         style,        "--against",   opponent},
                                        thought == "none" ? Words{} : Words{"--against-thought", thought}));
    const Json against = outcome.lines().at(0)["against"];
    CHECK(against == Json::parse(dump_json(expected)));
    CHECK_MESSAGE(different.insert(against.dump()).second, "plays as another one does");
    std::vector<Json> written;
    for (const EvalRecord& r : ours) written.push_back(eval_to_json(r));
    write_jsonl(folder / "expected", written);
    CHECK(read_text_file(out) == read_text_file(folder / "expected"));
  }
}
