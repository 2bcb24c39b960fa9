#include "tpo/report/run_data.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <set>
#include <sstream>

#include "tensor/check.h"
#include "tensor/file.h"
#include "tpo/judge_report.h"
#include "tpo/judges/pairwise.h"
#include "tpo/report/html.h"
#include "tpo/text.h"

namespace thinker::report {

namespace {

namespace fs = std::filesystem;

class RunReader {
 public:
  explicit RunReader(RunData& run) : run_(run) {}

  void read() {
    read_recipe();
    if (fs::exists(path("iter-0/prompts.jsonl"))) run_.held_out = read_prompts(path("iter-0/prompts.jsonl"));
    if (run_.thinks) evaluation(Stage::seed_direct, 0, "iter-0/eval_direct.jsonl");
    evaluation(Stage::seed, 0, "iter-0/eval.jsonl");
    if (fs::exists(run_.folder + "/warmup") || expects_warmup()) evaluation(Stage::warmup, 0, "warmup/eval.jsonl");
    read_iterations();
    read_log();
    note_missing_evaluations();
  }

 private:
  std::string path(const std::string& file) const { return run_.folder + "/" + file; }

  bool has(const std::string& file) {
    if (fs::exists(path(file))) return true;
    run_.missing.push_back(file + " is not there");
    return false;
  }

  void read_recipe() {
    const std::string file = path("recipe.json");
    if (!fs::exists(file)) fail(run_.folder, ": holds no recipe.json; give the folder of a run, such as runs/NAME");
    run_.recipe = parse_json(read_text_file(file), file);
    if (!run_.recipe.is_object()) fail(file, ": a recipe is a JSON object");
    const JsonLine recipe(run_.recipe, file);
    // The page looks into these by path, which a list has none of.
    for (const char* section : {"prompts", "warmup", "sampling", "judge", "pairs", "dpo", "lora", "eval"})
      if (recipe.has(section) && !recipe.at(section).is_object()) fail(file, ": ", section, ": is not an object");
    if (recipe.has("seed") && recipe.at("seed").is_number_unsigned()) run_.seed = recipe.at("seed").get<uint64_t>();
    run_.thinks = !recipe.has("thought") || recipe.string("thought") != "none";
    if (recipe.has("iterations")) planned_ = recipe.integer("iterations");
  }

  bool expects_warmup() const {
    const Json samples = run_.recipe.value(Json::json_pointer("/warmup/samples"), Json(0));
    return run_.thinks && samples.is_number() && samples.get<double>() > 0;
  }

  void evaluation(Stage stage, int64_t iteration, const std::string& file) {
    if (fs::exists(path(file)))
      run_.evaluations.push_back(evaluation_of(stage, iteration, file, read_evals(path(file)), run_.seed));
    else
      missing_evaluations_.push_back(file + " is not there");
  }

  /// A run without test prompts has no evaluation at all, which is one fact, not one for each file.
  void note_missing_evaluations() {
    if (run_.evaluations.empty())
      run_.missing.push_back("there is no evaluation on held-out prompts");
    else
      run_.missing.insert(run_.missing.end(), missing_evaluations_.begin(), missing_evaluations_.end());
  }

  void read_iterations() {
    std::set<int64_t> begun;
    for (const auto& entry : fs::directory_iterator(run_.folder)) {
      const std::string name = entry.path().filename().string();
      int64_t t = 0;
      if (!name.starts_with("iter-") || !entry.is_directory()) continue;
      const auto [end, error] = std::from_chars(name.data() + 5, name.data() + name.size(), t);
      if (error == std::errc() && end == name.data() + name.size() && t > 0) begun.insert(t);
    }
    for (int64_t t : begun) read_iteration(t);
    const int64_t done = begun.empty() ? 0 : *begun.rbegin();
    if (done < planned_)
      run_.missing.push_back(
          concat("of ", planned_, " planned iterations, ", done, done == 1 ? " has" : " have", " begun"));
  }

  void read_iteration(int64_t t) {
    const std::string folder = "iter-" + std::to_string(t);
    IterationData data{};
    data.iteration = t;
    if (has(folder + "/prompts.jsonl")) data.prompts = read_prompts(path(folder + "/prompts.jsonl"));
    if (has(folder + "/samples.jsonl")) data.samples = read_samples(path(folder + "/samples.jsonl"));
    if (has(folder + "/judgments.jsonl")) read_judgments_of(data, path(folder + "/judgments.jsonl"));
    if (has(folder + "/pairs.jsonl")) read_pairs(data, path(folder + "/pairs.jsonl"));
    if (!fs::exists(path(folder + "/checkpoint")) && !fs::exists(path(folder + "/eval.jsonl"))) {
      run_.missing.push_back(folder + ": the training is not finished");
    }
    for (SampleRecord& s : data.samples) {
      s.ids = s.prompt_ids = {};
      s.logprobs = {};
    }
    run_.iterations.push_back(std::move(data));
    evaluation(Stage::iteration, t, folder + "/eval.jsonl");
  }

  /// How the run made scores of games.
  ScoreRule score_rule() const {
    const auto judge = run_.recipe.find("judge");
    return judge != run_.recipe.end() && is_pairwise(*judge) ? parse_pairwise(*judge).rule : ScoreRule{};
  }

  void read_judgments_of(IterationData& data, const std::string& file) {
    Judgments judgments = read_judgment_file(file);
    if (judgments.scores.empty() && judgments.games.empty()) return;
    const ScoreRule rule = score_rule();
    data.judge = judge_report(judgments, rule);
    data.judgments = judgments.games.empty() ? std::move(judgments.scores) : scores_of_games(judgments.games, rule);
    for (JudgmentRecord& j : data.judgments) j.view = nullptr;  // large, and not shown
  }

  static void read_pairs(IterationData& data, const std::string& file) {
    JsonlReader reader(file);
    while (auto line = reader.next()) {
      data.pairs.push_back({line->at("id"), line->integer("chosen_sample"), line->integer("rejected_sample")});
    }
  }

  // ---- the log ----

  /// A killed run may leave half a line at the end of its log; a resumed one drops it, and so do we.
  void read_log() {
    if (!has("log.jsonl")) return;
    std::string log = read_text_file(path("log.jsonl"));
    const size_t whole = log.rfind('\n') + 1;  // npos + 1 is 0
    if (whole < log.size())
      run_.missing.push_back("log.jsonl ends within a line: the run is going on, or was interrupted");
    std::istringstream stream(log.substr(0, whole));
    JsonlReader reader(stream, path("log.jsonl"));
    while (auto line = reader.next()) log_line(*line);
  }

  void log_line(const JsonLine& line) {
    const std::string stage = line.string("stage");
    const int64_t t = line.integer("iteration");
    if (stage == "warmup") return warmup_line(line);
    const auto data =
        std::find_if(run_.iterations.begin(), run_.iterations.end(), [&](const auto& i) { return i.iteration == t; });
    if (data == run_.iterations.end()) return;
    if (stage == "pair") data->pairing = pairing(line);
    if (stage == "train" && line.has("step")) data->steps.push_back(train_step(line));
    if (stage == "train" && line.has("select_epoch")) {
      data->selections.push_back(
          {line.integer("select_epoch"), line.number("score"), {line.number("low"), line.number("high")}});
    }
  }

  void warmup_line(const JsonLine& line) {
    if (!run_.warmup) run_.warmup.emplace();
    if (line.has("kept")) run_.warmup->samples = line.integer("samples"), run_.warmup->kept = line.integer("kept");
    if (line.has("step")) run_.warmup->losses.push_back(line.number("loss"));
  }

  static PairingLog pairing(const JsonLine& line) {
    PairingLog log;
    log.counts.prompts = line.integer("prompts");
    log.counts.pairs = line.integer("pairs");
    log.counts.failure_pairs = line.integer("failure_pairs");
    log.counts.too_few_valid = line.integer("too_few_valid");
    log.counts.equal_scores = line.integer("equal_scores");
    log.counts.equal_texts = line.integer("equal_texts");
    log.counts.not_better = line.integer("not_better");
    log.rho = line.number("rho");
    log.mean_chosen_length = line.number("mean_chosen_length");
    log.mean_rejected_length = line.number("mean_rejected_length");
    log.balanced = log.mean_chosen_length <= log.mean_rejected_length;
    if (line.has("rho_trials"))
      for (const JsonLine& t : line.objects("rho_trials"))
        log.trials.push_back(
            {t.number("rho"), t.integer("pairs"), t.number("chosen_length"), t.number("rejected_length")});
    return log;
  }

  static TrainStep train_step(const JsonLine& line) {
    return {line.integer("step"),       line.integer("epoch"),        line.number("loss"),    line.number("margin"),
            line.number("logp_chosen"), line.number("logp_rejected"), line.number("accuracy")};
  }

  RunData& run_;
  int64_t planned_ = 0;
  std::vector<std::string> missing_evaluations_;
};

}  // namespace

Measured measure(const std::vector<double>& values, uint64_t seed) {
  if (values.empty()) return {};
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  const Interval range{*low, *high};
  // Equal values need no bootstrap, which takes most of a page's time.
  const Interval interval = *low == *high ? range : bootstrap_interval(values, seed);
  return {mean(values), interval, static_cast<int64_t>(values.size()), range};
}

Evaluation evaluation_of(Stage stage, int64_t iteration, const std::string& file, std::vector<EvalRecord> records,
                         uint64_t seed) {
  Evaluation e{stage, iteration, file, std::move(records), {}, {}, {}, {}, {}, {}};
  std::vector<double> thoughts, responses, parsed, scores;
  for (EvalRecord& r : e.records) {
    if (r.sample.split.thought) thoughts.push_back(static_cast<double>(count_code_points(*r.sample.split.thought)));
    if (r.sample.valid()) responses.push_back(static_cast<double>(count_code_points(r.sample.shown_response())));
    if (r.judged.score) scores.push_back(*r.judged.score);
    parsed.push_back(r.sample.valid() && r.attempts == 1 ? 100.0 : 0.0);
    r.sample.ids = r.sample.prompt_ids = {};
    r.sample.logprobs = {};
  }
  e.parsed = measure(parsed, seed);
  e.summary = summarise(e.records, seed);
  if (!scores.empty()) {
    const auto [low, high] = std::minmax_element(scores.begin(), scores.end());
    e.range = {*low, *high};
  }
  for (const auto& [category, c] : e.summary.categories)
    e.categories[category] = {c.score, c.interval, c.prompts, e.range};
  e.thought_length = measure(thoughts, seed);
  e.response_length = measure(responses, seed);
  return e;
}

const Evaluation* RunData::find(Stage stage, int64_t iteration) const {
  for (const Evaluation& e : evaluations)
    if (e.stage == stage && e.iteration == iteration) return &e;
  return nullptr;
}

const Evaluation* RunData::last_trained() const {
  if (evaluations.empty() || evaluations.back().stage != Stage::iteration) return nullptr;
  return &evaluations.back();
}

RunData read_run(const std::string& folder) {
  RunData run;
  run.folder = run.name = run.arm_label = folder;
  RunReader(run).read();
  return run;
}

std::string stage_name(const RunData& run, const Evaluation& evaluation) {
  return stage_name(run, evaluation.stage, evaluation.iteration);
}

std::string stage_name(const RunData& run, Stage stage, int64_t iteration) {
  switch (stage) {
    case Stage::seed_direct: return "seed, direct";
    case Stage::seed: return run.thinks ? "seed, thinking" : "seed";
    case Stage::warmup: return "after the warm-up";
    case Stage::iteration: return "iteration " + std::to_string(iteration);
  }
  return "";
}

PairedScores::PairedScores(const Evaluation& a, const Evaluation& b) {
  std::map<std::string, double> theirs;
  for (const EvalRecord& r : b.records)
    if (r.judged.score) theirs[r.sample.id.dump()] = *r.judged.score;
  for (const EvalRecord& r : a.records) {
    const auto other = theirs.find(r.sample.id.dump());
    if (!r.judged.score || other == theirs.end()) continue;
    all.push_back(*r.judged.score - other->second);
    categories[r.category].push_back(all.back());
  }
}

std::string with_interval(const Measured& value, int decimals) {
  return fixed(value.mean, decimals) + " [" + fixed(value.interval.low, decimals) + ", " +
         fixed(value.interval.high, decimals) + "]";
}

}  // namespace thinker::report
