// The stages one by one: forced format, chunks of sampling, evaluation, pairs as files, supervised data, damaged lines.
#include <filesystem>
#include <functional>

#include "tensor/file.h"
#include "tests/tpo/tiny_world.h"
#include "tpo/stages/judge.h"
#include "tpo/stages/pair.h"
#include "tpo/stages/preference.h"
#include "tpo/stages/train_state.h"
#include "tpo/supervised.h"

using namespace thinker;

namespace {

const tiny::World& world() {
  static const tiny::World shared;
  return shared;
}

SampleStage stage_of(int64_t k = 4) {
  SampleStage stage;
  stage.style = world().style;
  stage.k = k;
  stage.max_new = 24;
  stage.max_rows = 256;
  stage.sampling.temperature = 1.0;
  stage.sampling.top_p = 1.0;
  stage.seed = 7;
  return stage;
}

/// Gives 1, fails for answers of one letter, and counts what it saw.
class PickyJudge : public Judge {
 public:
  std::vector<Judged> judge(std::span<const JudgeView> views, const OnJudged&) override {
    std::vector<Judged> all;
    for (const JudgeView& v : views) {
      ++seen;
      all.push_back(v.response().size() == 1 ? Judged{std::nullopt, "too short", ""} : Judged{1.0, "", ""});
    }
    return all;
  }
  int64_t seen = 0;
};

const char* const kSample =
    R"({"id":1,"sample":0,"prompt_ids":[1],"ids":[2,0],"logprobs":[-1,-1],"text":"m|a","thought":"m","response":"a","parse":"ok","stop":"end"})";

/// The error of reading a file whose second line has one key replaced; "" deletes the key.
template <class Read>
std::string error_with(const char* good, const std::string& key, const std::string& value, Read&& read) {
  const TempFolder folder;
  Json bad = Json::parse(good);
  bad["id"] = 2;
  if (value.empty())
    bad.erase(key);
  else
    bad[key] = Json::parse(value);
  const std::string path = folder.write("F", std::string(good) + "\n" + bad.dump() + "\n");
  return error_of([&] { read(path); });
}

std::vector<IdPair> six_pairs() {
  std::vector<IdPair> pairs;
  for (int32_t i = 0; i < 6; ++i) pairs.push_back({{1, 2, 3 + i}, {4, 5, 0}, {6 + i, 0}});
  return pairs;
}

/// Two steps an epoch of six pairs.
PreferenceStage preference_stage(int64_t epochs) {
  PreferenceStage stage;
  stage.train.epochs = epochs;
  stage.train.batch = 3;
  stage.train.lr = 1e-3;
  return stage;
}

}  // namespace

TEST_CASE(
    "sample: forced format writes the marker after the budget, forbids an early end, and says which tokens it wrote") {
  const Model model = world().open();
  SampleStage stage = stage_of();
  stage.format = Format::forced;
  stage.thought_budget = 3;
  stage.style = parse_thought_style(R"({"instruction": "{query}\n", "open": "mm", "split": "|"})", "own");
  const Ids open = model.text.tokenizer.encode("mm", SpecialText::Plain),
            split = model.text.tokenizer.encode("\n\n|\n", SpecialText::Plain);
  int64_t written = 0, by_itself = 0;
  for (const SampleRecord& s : sample_prompts(model, sample_prompts_of(tiny::prompts(8, 4)), stage)) {
    REQUIRE(!s.forced.empty());
    CHECK(s.forced[0] == std::pair<int64_t, int64_t>(0, 2));
    CHECK(Ids(s.ids.begin(), s.ids.begin() + 2) == open);
    const auto marker = static_cast<int64_t>(s.text.find('|'));
    REQUIRE(s.text.find('|') != std::string::npos);
    if (s.forced.size() == 2) {
      ++written;
      CHECK(s.forced[1] == std::pair<int64_t, int64_t>(5, 9));
      CHECK(Ids(s.ids.begin() + 5, s.ids.begin() + 9) == split);
    } else {
      ++by_itself;
      CHECK(marker < 5);
    }
    for (int64_t t = 0; t < marker; ++t) CHECK(s.ids[t] != 0);
    CHECK(s.ids.size() == s.logprobs.size());
    if (s.stop == Stop::length) CHECK(s.ids.back() != 0);  // trap 21
    CHECK(parse_sample(JsonLine(parse_json(dump_json(sample_to_json(s)), "x"), "x")).forced == s.forced);
  }
  CHECK(written > 0);
  CHECK(by_itself > 0);
}

TEST_CASE("sample: an interrupted file is continued from its whole chunks, and ends with the same bytes") {
  const Model model = world().open();
  const auto prompts = sample_prompts_of(tiny::prompts(70, 5));  // a chunk of 64 and a partial one
  SampleStage stage = stage_of(2);
  stage.max_rows = 16;
  stage.max_new = 8;
  const std::string path = world().folder / "samples.jsonl", part = path + ".part";
  sample_to_file(model, prompts, stage, path, {});
  const std::string expected = read_text_file(path);
  CHECK(!std::filesystem::exists(part));
  // What is left of the work of `begun` when it is interrupted after the first chunk.
  auto interrupted = [&](const Model& with, const std::vector<SamplePrompt>& of, const SampleStage& begun) {
    std::filesystem::remove(path);
    auto stop = [](const std::string&, int64_t done, int64_t) {
      if (done > 0) fail("stopped");
    };
    CHECK_THROWS_AS(sample_to_file(with, of, begun, path, stop), Error);
    return read_text_file(part);
  };
  const std::string left = interrupted(model, prompts, stage);
  const std::string header = left.substr(0, left.find('\n') + 1);
  const size_t first_chunk = [&] {
    size_t at = 0;
    for (int i = 0; i < 128; ++i) at = expected.find('\n', at) + 1;
    return at;
  }();
  std::string damaged = expected;
  damaged.replace(first_chunk / 2, 3, "\"\"\"");
  REQUIRE(left == header + expected.substr(0, first_chunk));
  SampleStage warmer = stage;
  warmer.sampling.temperature = 0.9;
  auto other_prompts = prompts;
  other_prompts[3].messages.back().content += "?";
  Model other_model = world().open();
  other_model.net.initialise(4);
  const std::pair<std::string, int64_t> parts[] = {{left, 1},
                                                   {header + expected.substr(0, first_chunk + 40), 1},  // a torn line
                                                   {header + expected.substr(0, first_chunk - 1), 2},
                                                   {header + expected, 1},
                                                   {header + expected + expected, 1},
                                                   {header + damaged, 2},
                                                   {expected, 2},
                                                   {interrupted(model, prompts, warmer), 2},
                                                   {interrupted(model, other_prompts, stage), 2},
                                                   {interrupted(other_model, prompts, stage), 2},
                                                   {"", 2}};
  for (const auto& [text, chunks] : parts) {
    std::filesystem::remove(path);
    write_file_atomically(part, text);
    int64_t sampled = -1;  // the first report is of what was found
    sample_to_file(model, prompts, stage, path, [&](const std::string&, int64_t, int64_t) { ++sampled; });
    CHECK(sampled == chunks);
    CHECK(read_text_file(path) == expected);
  }
}

TEST_CASE("train: what an interrupted training left is not continued with other pairs or another model (trap 15)") {
  const std::string folder = world().folder / "iteration";
  const std::vector<IdPair> pairs = six_pairs();
  PreferenceStage stage = preference_stage(2);
  stage.on_step = [](const StepLog& step, int64_t) {
    if (step.step == 3) fail("stopped");  // in the second epoch
  };
  Model begun = world().open();
  CHECK_THROWS_AS(train_on_pairs(begun, pairs, stage, folder), Error);
  stage.on_step = {};
  auto refused = [&](Model& model, const std::vector<IdPair>& with) {
    try {
      train_on_pairs(model, with, stage, folder);
    } catch (const Error& e) {
      return std::string(e.what()).find("other pairs or another model") != std::string::npos;
    }
    return false;
  };
  auto changed = pairs;
  changed[2].rejected[0] += 1;
  Model same = world().open(), other = world().open();
  other.net.initialise(4);
  CHECK(refused(same, changed));
  CHECK(refused(other, pairs));
  train_on_pairs(same, pairs, stage, folder);
  CHECK(std::filesystem::exists(folder + "/checkpoint/model.safetensors"));
}

TEST_CASE("train: killed while one epoch's state takes the place of another's, it goes on from whichever is whole") {
  namespace fs = std::filesystem;
  const std::vector<IdPair> pairs = six_pairs();
  PreferenceStage stage = preference_stage(2);
  const auto trained = [&](const std::string& folder) {
    Model model = world().open();
    train_on_pairs(model, pairs, stage, folder);
    return read_text_file(folder + "/checkpoint/model.safetensors");
  };
  const std::string straight = trained(world().folder / "straight");
  const std::string folder = world().folder / "killed", state = folder + "/train_state";
  const std::function<void()> kills[] = {
      [&] { fs::create_directories(state + ".new"); },  // while the next one was written
      [&] {                                             // between the two renames
        fs::create_directories(state + ".old");
        fs::rename(state, state + ".new");
      },
      [&] {  // while the last one was removed: its state.json may go after the rest
        fs::create_directories(state + ".old");
        fs::copy_file(state + "/state.json", state + ".old/state.json");
      }};
  for (const auto& kill : kills) {
    int64_t steps = 0;
    stage.on_step = [](const StepLog& step, int64_t) {
      if (step.step == 3) fail("stopped");  // in the second epoch
    };
    CHECK_THROWS_AS(trained(folder), Error);
    kill();
    stage.on_step = [&](const StepLog&, int64_t) { ++steps; };
    CHECK(TrainStateFolder(folder).finished_epochs() == 1);
    CHECK(trained(folder) == straight);
    CHECK(steps == 2);
    for (const char* part : {"", ".new", ".old"}) CHECK(!fs::exists(state + part));
    fs::remove_all(folder);
  }
}

TEST_CASE("evaluate: failures are drawn again, then lose; what the judge could not score is left out") {
  const Model model = world().open();
  const auto prompts = tiny::prompts(40, 6);
  SampleStage stage = stage_of();
  stage.max_new = 8;
  PickyJudge judge;
  const auto evaluate = [&](int64_t resample) {
    std::vector<EvalRecord> records = sample_outputs(model, prompts, stage, resample, {});
    judge_records(records, judge, prompts);
    return records;
  };
  const auto once = evaluate(0);
  int64_t valid = 0;
  for (const EvalRecord& r : once) {
    valid += r.sample.valid();
    CHECK(r.attempts == 1);
    if (!r.sample.valid()) CHECK(r.judged.score == 0.0);
  }
  CHECK(judge.seen == valid);
  REQUIRE(valid < 40);
  const auto thrice = evaluate(2);
  int64_t parsed_at_once = 0, unjudged = 0;
  double sum = 0;
  for (size_t i = 0; i < 40; ++i) {
    const EvalRecord& r = thrice[i];
    CHECK(r.sample.id == *prompts[i].id);
    CHECK(r.category == prompts[i].category);
    CHECK(r.sample.sample == r.attempts - 1);
    CHECK((r.sample.valid() || r.attempts == 3));
    if (once[i].sample.valid()) CHECK(r.sample.ids == once[i].sample.ids);
    parsed_at_once += r.sample.valid() && r.attempts == 1;
    unjudged += !r.judged.score;
    sum += r.judged.score.value_or(0);
  }
  CHECK(parsed_at_once == valid);
  REQUIRE(unjudged > 0);
  const EvalSummary s = summarise(thrice, 1);
  CHECK(s.unjudged == unjudged);
  CHECK(s.score == doctest::Approx(sum / static_cast<double>(40 - unjudged)));
  CHECK(s.parse_rate == doctest::Approx(static_cast<double>(valid) / 40));
  CHECK(summary_to_json(s)["score"] == s.score);

  // A judge that scored nothing has no score to tell, whatever the outputs that did not parse lost.
  std::vector<EvalRecord> unscored = thrice;
  for (EvalRecord& r : unscored)
    if (r.sample.valid()) r.judged = {std::nullopt, "broken", ""};
  const Json none = summary_to_json(summarise(unscored, 1));
  for (const char* key : {"score", "low", "high"}) CHECK(none.at(key).is_null());
  std::erase_if(unscored, [](const EvalRecord& r) { return r.sample.valid(); });
  REQUIRE(!unscored.empty());
  CHECK(summary_to_json(summarise(unscored, 1))["score"] == 0.0);  // all lost, and none was to be judged

  std::vector<Json> lines;
  for (const EvalRecord& r : thrice) lines.push_back(eval_to_json(r));
  write_jsonl(world().folder / "eval.jsonl", lines);
  CHECK(summary_to_json(summarise(read_evals(world().folder / "eval.jsonl"), 1)).dump() == summary_to_json(s).dump());
}

TEST_CASE("train: an epoch that cannot be saved leaves the best one before it") {
  const std::vector<IdPair> pairs = six_pairs();
  PreferenceStage stage = preference_stage(3);
  const auto trained = [&](const std::string& folder, const std::vector<double>& scores) {
    stage.select = [&](int64_t epoch) { return scores[epoch - 1]; };
    Model model = world().open();
    train_on_pairs(model, pairs, stage, folder);
    return read_text_file(folder + "/checkpoint/model.safetensors");
  };
  const std::string first = trained(world().folder / "first-best", {0.5, 0.3, 0.1});
  const std::string folder = world().folder / "unsaved";
  std::filesystem::create_directories(folder);
  stage.on_step = [&](const StepLog& step, int64_t) {
    if (step.step == 3) write_file_atomically(folder + "/best/2", "in the way");
  };
  CHECK_THROWS(trained(folder, {0.5, 0.9, 0.1}));
  std::filesystem::remove(folder + "/best/2");
  stage.on_step = {};
  CHECK(trained(folder, {0.5, 0.3, 0.1}) == first);  // the judge is of another mind this time
  CHECK(!std::filesystem::exists(folder + "/best"));
}

TEST_CASE("sample: a prompt that fills the context is named, and ids without a token are never drawn") {
  const Model model = world().open();
  auto prompts = tiny::prompts(3, 9);
  prompts[1].messages[0].content = std::string(200, 'a');
  CHECK(holds(error_of([&] { sample_prompts(model, sample_prompts_of(prompts), stage_of(1)); }),
              "prompt \"p9-1\": its 202 tokens fill the model's context of 128"));
  // The last prompt of a file is told by its place, before the first is drawn.
  const std::string path = world().folder / "unfit.jsonl";
  for (const char* unfit : {"its 202 tokens fill the model's context", "not in this model's alphabet"}) {
    auto last = tiny::prompts(40, 9);
    last[39].place = "prompts.jsonl:40";
    last[39].messages[0].content = *unfit == 'i' ? std::string(200, 'a') : "\x01";
    SampleStage stage = stage_of(8);
    stage.on_token = [](const GeneratedSample&) { FAIL("drawn"); };
    const std::string error = error_of([&] { sample_to_file(model, sample_prompts_of(last), stage, path, {}); });
    CHECK_MESSAGE((error.starts_with("prompts.jsonl:40: ") && holds(error, unfit)), error);
    CHECK(!std::filesystem::exists(path + ".part"));
  }
  // An embedding with rows that the tokenizer has no tokens for.
  Config padded = tiny::config();
  padded.vocab += 8;
  Model wide{Transformer(*world().device, padded, DType::F32), ChatTokenizer(Tokenizer(tiny::spec()))};
  wide.net.initialise(3);
  SampleStage stage = stage_of(4);
  stage.sampling.temperature = 5;
  for (const SampleRecord& s : sample_prompts(wide, sample_prompts_of(tiny::prompts(20, 9)), stage))
    for (int32_t id : s.ids) REQUIRE(id < wide.text.tokenizer.vocabulary_size());
}

TEST_CASE("evaluate: a cut output's length is no length of a response, with and without thoughts") {
  for (const char* style : {"none", "specific"}) {
    std::vector<EvalRecord> records(2);
    records[0].sample.text = thought_style(style).thinks() ? "hm<R>abc" : "abc";
    records[1].sample.text = std::string(1000, 'x');
    const Stop stops[] = {Stop::end, Stop::length};
    for (size_t i = 0; i < 2; ++i) {
      records[i].sample.split = split_output(records[i].sample.text, thought_style(style), stops[i]);
      records[i].judged.score = 0.0;
    }
    CHECK(summarise(records, 1).response_length == 3.0);
  }
}

// Traps 21, 23, 33, 36.
TEST_CASE("pairs: exactly the sampled ids and texts, forced runs included, and back from the file") {
  const Model model = world().open();
  SampleStage stage = stage_of(8);
  stage.format = Format::forced;
  stage.thought_budget = 2;
  const auto prompts = tiny::prompts(12, 8);
  const auto samples = sample_prompts(model, sample_prompts_of(prompts), stage);
  const auto judge = make_judge({{"kind", "rule"}});
  PairStage how;
  how.style = stage.style;
  how.options.parse_failures = Failures::reject;
  how.options.truncated = Failures::reject;
  const PairResult result = pair_samples(prompts, samples, judge_samples(*judge, prompts, samples), how, nullptr, {});
  REQUIRE(result.pairs.size() >= 3);
  std::vector<Json> lines;
  for (const PairRecord& p : result.pairs) lines.push_back(pair_to_json(p));
  const std::string path = world().folder / "pairs.jsonl";
  write_jsonl(path, lines);
  const auto read = read_id_pairs(path, model.text);
  const auto sample_of = [&](const Json& id, int64_t k) {
    for (const SampleRecord& s : samples) {
      if (s.id == id && s.sample == k) return s;
    }
    return SampleRecord{};
  };
  for (size_t i = 0; i < read.size(); ++i) {
    const PairRecord& p = result.pairs[i];
    const SampleRecord c = sample_of(p.id, p.chosen_sample), r = sample_of(p.id, p.rejected_sample);
    CHECK(read[i].prompt == c.prompt_ids);
    CHECK(read[i].prompt == model.text.prompt_ids(p.messages));
    CHECK(read[i].chosen == c.ids);
    CHECK(read[i].rejected == r.ids);
    CHECK(read[i].chosen_forced == c.forced);
    CHECK(read[i].rejected_forced == r.forced);
    CHECK(p.chosen == c.text);
    CHECK(p.rejected == r.text);
    CHECK(p.chosen != p.rejected);
    CHECK(p.messages[0].content[0] == 'Z');
    if (r.stop == Stop::length) CHECK(read[i].rejected.back() != 0);
    if (p.score_rejected) CHECK(*p.score_chosen > *p.score_rejected);
  }

  // The log line tells the lengths, their unit, and whether they balance.
  for (const LengthUnit unit : {LengthUnit::chars, LengthUnit::tokens}) {
    PairStage measured = how;
    measured.length = unit;
    measured.auto_rho = true;
    const PairResult r =
        pair_samples(prompts, samples, judge_samples(*judge, prompts, samples), measured, &model.text, {});
    const Json counts = counts_to_json(r);
    CHECK(counts["length_unit"] == (unit == LengthUnit::chars ? "chars" : "tokens"));
    CHECK(counts["balanced"] == (r.mean_chosen_length <= r.mean_rejected_length));
    CHECK(counts["rho"] == r.rho);
  }

  // Text alone is encoded by the template.
  const std::string texts =
      world().folder.write("texts.jsonl", R"({"prompt": "abc?", "chosen": "m|a", "rejected": "n|b"})"
                                          "\n");
  const IdPair encoded = read_id_pairs(texts, model.text).at(0);
  CHECK(encoded.prompt == model.text.prompt_ids({{"user", "abc?"}}));
  CHECK(encoded.chosen == model.text.completion_ids("m|a"));
  CHECK(encoded.rejected.back() == 0);

  auto unknown = samples;
  unknown[3].id = "nobody";
  unknown[3].split = unknown[3].valid() ? unknown[3].split : SplitOutput{std::nullopt, "a", Parse::ok};
  CHECK(holds(error_of([&] { judge_samples(*judge, prompts, unknown); }), "\"nobody\" belongs to no prompt"));
  CHECK(holds(error_of([&] {
                pair_samples(prompts, unknown, {}, how, nullptr, {"S", "J"});
              }),
              "S: sample \"nobody\" belongs to no prompt"));
}

// Trap 39: keys that do not match are an error, not a mean over what happens to fit.
TEST_CASE("pairs: a sample or judgment that stands twice, or a judgment of another response, is an error") {
  const Model model = world().open();
  const auto prompts = tiny::prompts(4, 8);
  const auto samples = sample_prompts(model, sample_prompts_of(prompts), stage_of(4));
  const auto judge = make_judge({{"kind", "rule"}});
  const auto judgments = judge_samples(*judge, prompts, samples);
  REQUIRE(judgments.size() >= 2);
  PairStage how;
  how.style = stage_of(4).style;
  const auto error = [&](const std::vector<SampleRecord>& s, const std::vector<JudgmentRecord>& j) {
    return error_of([&] { pair_samples(prompts, s, j, how, nullptr, {"S", "J"}); });
  };
  CHECK(error(samples, judgments).empty());
  auto spaced = samples;  // a judge sees no blanks at the ends
  for (SampleRecord& s : spaced)
    if (s.valid()) *s.split.response = " " + *s.split.response + "\n";
  CHECK(error(spaced, judgments).empty());
  auto repeated = samples;
  repeated.push_back(samples[5]);
  CHECK(error(repeated, judgments) == "S: sample 1 of prompt \"p8-1\" stands twice among the samples");
  auto contradicting = judgments;
  contradicting.push_back(judgments[1]);
  contradicting.back().judged.score = 0.25;
  CHECK(error(samples, contradicting).starts_with("J: sample "));
  CHECK(holds(error(samples, contradicting), " is judged twice"));
  auto foreign = judgments;
  foreign[1].view["response"] = "of another run";
  CHECK(error(samples, foreign).starts_with("J: sample "));
  CHECK(holds(error(samples, foreign), ": its judgment is of another response"));
  auto stray = judgments;
  stray[1].sample = 17;
  CHECK(holds(error(samples, stray), "J: sample 17 of prompt \"p8-0\" is judged, but not there"));

  // The scores of a pairwise judge's games, too.
  const auto games_of = [&](const std::string& a, const std::string& b) {
    const GameRecord game{samples[0].id,           0, 1, GameRecord::Order::ba, {{"responses", {b, a}}},
                          {Verdict::first, "", ""}};
    return scores_of_games({game});
  };
  auto two = samples;
  two.resize(2);
  for (SampleRecord& s : two) s.split = {"m", s.sample == 0 ? "alpha" : "beta", Parse::ok};
  CHECK(error(two, games_of("alpha", "beta")).empty());
  CHECK(holds(error(two, games_of("beta", "alpha")), "its judgment is of another response"));
}

TEST_CASE("pairs: lengths are of the response alone, as it was judged, in characters or tokens") {
  const Model model = world().open();
  const auto prompts = tiny::prompts(1, 9);
  std::vector<SampleRecord> samples = sample_prompts(model, sample_prompts_of(prompts), stage_of(2));
  samples[0].split = {"a long thought", "  \u00e9\U0001F600 \n", Parse::ok};
  samples[1].split = {"m", "abc", Parse::ok};
  std::vector<JudgmentRecord> judgments;
  for (const SampleRecord& s : samples) judgments.push_back({s.id, s.sample, {}, {s.sample == 0 ? 1.0 : 0.0, "", ""}});
  PairStage how;
  how.style = stage_of(2).style;
  const PairResult result = pair_samples(prompts, samples, judgments, how, nullptr, {});
  REQUIRE(result.pairs.size() == 1);
  CHECK(*result.pairs[0].length_chosen == 2);
  CHECK(*result.pairs[0].length_rejected == 3);
  samples[0].split.response = " ab ";
  how.length = LengthUnit::tokens;
  CHECK(*pair_samples(prompts, samples, judgments, how, &model.text, {}).pairs.at(0).length_chosen == 2);
}

TEST_CASE("damaged lines of samples, judgments, evaluations and pairs are named by file and line") {
  const auto samples = [](const std::string& path) { read_samples(path); };
  for (const auto& [key, value] : std::vector<std::pair<std::string, std::string>>{{"id", ""},
                                                                                   {"sample", "\"x\""},
                                                                                   {"ids", "[2,-1]"},
                                                                                   {"ids", "3"},
                                                                                   {"logprobs", "[-1]"},
                                                                                   {"text", ""},
                                                                                   {"parse", "\"fine\""},
                                                                                   {"response", "null"},
                                                                                   {"stop", "\"x\""},
                                                                                   {"forced", "[[0,3]]"},
                                                                                   {"forced", "[[1,0]]"},
                                                                                   {"forced", "7"},
                                                                                   {"forced", R"({"a":[0,1]})"}}) {
    CHECK_MESSAGE(holds(error_with(kSample, key, value, samples), "/F:2: "), key, " ", value);
  }
  CHECK(error_with(kSample, "category", "\"c\"", samples) == "");
  const auto judgments = [](const std::string& path) { read_judgments(path); };
  const char* const judgment = R"({"id":1,"sample":0,"view":{},"answer":"","score":1})";
  for (const std::string key : {"id", "sample", "view", "score"})
    CHECK_MESSAGE(holds(error_with(judgment, key, "", judgments), "/F:2: "), key);
  Json eval = Json::parse(kSample);
  eval["category"] = "c";
  eval["attempts"] = 1;
  eval["first_parse"] = "ok";
  eval["score"] = 0.5;
  const std::string evaluated = eval.dump();
  const auto evals = [](const std::string& path) { read_evals(path); };
  for (const std::string key : {"category", "attempts", "score"})
    CHECK_MESSAGE(holds(error_with(evaluated.c_str(), key, "", evals), "/F:2: "), key);
  const Model model = world().open();
  const auto pairs = [&](const std::string& path) { read_id_pairs(path, model.text); };
  const char* const pair = R"({"id":1,"prompt_ids":[1],"chosen_ids":[2,0],"rejected_ids":[3,0]})";
  for (const auto& [key, value] : std::vector<std::pair<std::string, std::string>>{{"prompt_ids", "[]"},
                                                                                   {"prompt_ids", ""},
                                                                                   {"chosen_ids", "[99]"},
                                                                                   {"rejected_ids", "[0.5]"},
                                                                                   {"chosen_forced", "[[0,2]]"},
                                                                                   {"chosen_forced", "[[0,9]]"}}) {
    CHECK_MESSAGE(holds(error_with(pair, key, value, pairs), "/F:2: "), key, " ", value);
  }
  const char* const text = R"({"id":1,"prompt":"a?","chosen":"a","rejected":"b"})";
  CHECK(holds(error_with(text, "chosen", "\"K\"", pairs), "/F:2: "));  // not in the alphabet
  CHECK(holds(error_with(text, "rejected", "", pairs), "/F:2: "));
}

TEST_CASE("supervised: chats, strings and message lists; the last answer or all of them") {
  const Model model = world().open();
  const auto example = [&](const std::string& line, TrainedTurns turns = TrainedTurns::last) {
    return to_example(JsonLine(parse_json(line, "F:1"), "F:1"), model.text, turns);
  };
  const auto trained_text = [&](const SftExample& e) {
    Ids ids;
    for (size_t i = 0; i < e.ids.size(); ++i) {
      if (e.trained[i]) ids.push_back(e.ids[i]);
    }
    return model.text.tokenizer.decode(ids, SpecialTokens::Keep);
  };
  const SftExample strings = example(R"({"prompt": "ab?", "completion": "cd"})");
  CHECK(model.text.tokenizer.decode(strings.ids, SpecialTokens::Keep) == "ab?cd<end>");
  CHECK(trained_text(strings) == "cd<end>");
  for (const char* same :
       {R"({"messages": [{"role":"user","content":"ab?"},{"role":"assistant","content":"cd"}]})",
        R"({"prompt": [{"role":"user","content":"ab?"}], "completion": [{"role":"assistant","content":"cd"}]})"}) {
    CHECK(example(same).ids == strings.ids);
    CHECK(example(same).trained == strings.trained);
    CHECK(example(same, TrainedTurns::all).trained == strings.trained);
  }
  const char* const two = R"({"messages": [{"role":"user","content":"ab?"},{"role":"assistant","content":"cd"},
                              {"role":"user","content":"e?"},{"role":"assistant","content":"f"}]})";
  CHECK(trained_text(example(two)) == "f<end>");
  CHECK(trained_text(example(two, TrainedTurns::all)) == "cd<end>f<end>");
  CHECK(example(two).ids == example(two, TrainedTurns::all).ids);
  for (const char* bad :
       {R"({"prompt": "ab?"})", R"({"messages": [{"role":"user","content":"a"}]})", R"({"completion": "a"})",
        R"({"prompt": "a", "completion": [{"role":"assistant","content":"b"}]})",
        R"({"prompt": [{"role":"user","content":"a"}], "completion": [{"role":"user","content":"b"}]})",
        R"({"prompt": "K", "completion": "a"})"}) {
    CHECK_MESSAGE(error_of([&] { example(bad); }).starts_with("F:1: "), bad);
  }
  CHECK(holds(error_of([&] { example(R"({"prompt": [{"role":"user","content":"a"}], "completion": "b"})"); }),
              "must both be texts, or both lists of messages"));
  // An end token alone has nothing before it: nothing to learn.
  for (const char* empty : {R"({"prompt": "", "completion": ""})",
                            R"({"messages": [{"role":"user","content":""},{"role":"assistant","content":""}]})"}) {
    for (TrainedTurns turns : {TrainedTurns::last, TrainedTurns::all})
      CHECK(
          holds(error_of([&] { example(empty, turns); }), "F:1: has no token to train on: the prompt and the answer"));
  }
  CHECK(trained_text(example(R"({"prompt": "", "completion": "a"})")) == "a<end>");
  CHECK(trained_text(example(R"({"prompt": "a", "completion": ""})")) == "<end>");
  const std::string chat = R"("messages": [{"role":"user","content":"a"},{"role":"assistant","content":"b"}])";
  for (const std::string other : {R"("prompt": "a")", R"("completion": "b")", R"("prompt": "a", "completion": "b")"})
    CHECK(holds(error_of([&] { example("{" + chat + ", " + other + "}"); }), "keep one of the two forms"));
}
