#include "tpo/run.h"

#include <algorithm>
#include <filesystem>

#include "tensor/file.h"
#include "tpo/judges/opponent.h"
#include "tpo/judges/pairwise.h"
#include "tpo/provenance.h"
#include "tpo/recipe_stages.h"
#include "tpo/run_log.h"
#include "tpo/stages/forced_format.h"
#include "tpo/stages/judge.h"
#include "tpo/stages/train_state.h"
#include "tpo/step_log.h"
#include "tpo/supervised.h"

namespace thinker {

namespace {

namespace fs = std::filesystem;

/// Below this share of parsed outputs an iteration has too little to learn from.
constexpr double kLeastParsed = 0.1;

class Run {
 public:
  Run(const Recipe& recipe, Model& model, const PromptSets& prompts, const RunOptions& options)
      : recipe_(recipe),
        model_(model),
        prompts_(prompts),
        options_(options),
        style_(thought_style(recipe.thought)),
        lock_(options.folder),
        log_(options.folder + "/log.jsonl", tensorboard_folder(), options.on_log) {
    make_judges();
  }

  RunResult run() {
    check_run_prompts(recipe_, model_, prompts_);
    open_folder();
    start_ = options_.folder + "/iter-0";
    fs::create_directories(start_);
    if (!prompts_.test.empty()) write_prompts(prompts_.test, start_ + "/prompts.jsonl");
    prepare_selection();
    if (style_.thinks())
      evaluate_as(0, "seed, direct", start_ + "/eval_direct.jsonl", thought_style("none"), Format::free);
    evaluate_as(0, style_.thinks() ? "seed, thinking" : "seed", start_ + "/eval.jsonl", style_, recipe_.format);
    if (style_.thinks() && recipe_.warmup.samples > 0) warm_up();
    for (int64_t t = 1; t <= recipe_.iterations; ++t) iterate(t);
    return std::move(result_);
  }

 private:
  std::string tensorboard_folder() const {
    const bool wanted = std::find(recipe_.log.begin(), recipe_.log.end(), "tensorboard") != recipe_.log.end();
    return wanted ? options_.folder + "/tensorboard" : "";
  }

  std::string folder_of(int64_t t) const { return options_.folder + "/iter-" + std::to_string(t); }

  void open_folder() {
    const std::string path = options_.folder + "/recipe.json";
    const Json recorded = recorded_recipe(recipe_);
    if (fs::exists(path)) {
      if (options_.resume == Resume::no) {
        fail(options_.folder, ": holds a run already; continue it with --resume, or give the recipe another name");
      }
      const std::string change = change_of(parse_json(read_text_file(path), path), recorded);
      if (!change.empty())
        fail(path, ": ", change, "; a run is resumed with what it began with: use another folder, or remove this one");
      return;
    }
    fs::create_directories(options_.folder);
    write_file_atomically(path, recorded.dump(2) + "\n");
  }

  void make_judges() {
    if (!is_pairwise(recipe_.judge)) {
      judge_ = make_judge(recipe_.judge);
      return;
    }
    score_rule_ = parse_pairwise(recipe_.judge).rule;
    pair_judge_ = make_pair_judge(recipe_.judge, options_.folder);
    auto opponent = std::make_unique<OpponentJudge>(*pair_judge_);
    opponent_ = opponent.get();
    judge_ = std::move(opponent);
  }

  /// A pairwise judge scores held-out outputs by games against the seed model's direct ones: on the test prompts those
  /// of the first evaluation; here those for the selection of epochs. Called while the model is the seed.
  void prepare_selection() {
    if (!opponent_ || recipe_.select == Select::last || prompts_.select.empty()) return;
    const std::string path = start_ + "/select_direct.jsonl";
    if (!fs::exists(path)) {
      const auto records = outputs_on(prompts_.select, thought_style("none"), Format::free, 0, "the seed, as opponent");
      write_jsonl(path, outputs_of(records), sample_to_json);
    }
    opponent_->add(prompts_.select, read_samples(path));
  }

  /// Where the seed's direct outputs on the test prompts are.
  std::string opponent_path() const { return start_ + (style_.thinks() ? "/eval_direct.jsonl" : "/eval.jsonl"); }

  int64_t parameters() const { return model_.net.parameters(); }

  std::vector<EvalRecord> outputs_on(const std::vector<Prompt>& prompts, const ThoughtStyle& style, Format format,
                                     int64_t iteration, const std::string& what) const {
    const SampleStage stage = evaluation_of(recipe_, style, format, iteration, parameters());
    return sample_outputs(model_, prompts, watched(stage), recipe_.eval.resample, named(what));
  }

  /// Evaluates the current model on the test prompts, or reads what an earlier run left; adds a row to the table.
  void evaluate_as(int64_t iteration, const std::string& label, const std::string& path, const ThoughtStyle& style,
                   Format format) {
    if (prompts_.test.empty()) return;
    if (!fs::exists(path)) {
      log_.begin(iteration, fs::path(path).parent_path().filename().string() + "/" + fs::path(path).stem().string());
      std::vector<EvalRecord> records = outputs_on(prompts_.test, style, format, iteration, "evaluate: " + label);
      if (opponent_ && path == opponent_path()) opponent_->add(prompts_.test, outputs_of(records));
      judge_records(records, *judge_, prompts_.test, lowest_, named("judge"));
      Json fields{{"label", label}};
      fields.update(summary_to_json(summarise(records, recipe_.seed)));
      log_.write(fields);
      write_jsonl(path, records, eval_to_json);
    }
    const std::vector<EvalRecord> records = read_evals(path);
    if (opponent_ && path == opponent_path()) opponent_->add(prompts_.test, outputs_of(records));
    lowest_ = lowest_score(records, lowest_);
    result_.rows.push_back({iteration, label, summarise(records, recipe_.seed)});
  }

  void load(const std::string& checkpoint) {
    model_.net = load_huggingface(model_.net.device(), checkpoint, model_.net.dtype());
    result_.checkpoint = checkpoint;
  }

  // ---- warm-up of the format: supervised training on forced samples of the model's own ----

  void warm_up() {
    const std::string folder = options_.folder + "/warmup";
    fs::create_directories(folder);
    if (!fs::exists(folder + "/checkpoint/model.safetensors")) {
      const SampleStage stage = warm_up_sampling_of(recipe_, style_, parameters());
      log_.begin(0, "warmup");
      const std::vector<Prompt> prompts = prompts_.train(0, recipe_.warmup.samples);
      const std::vector<SampleRecord> samples =
          sample_once(prompts, stage, folder + "/samples.jsonl", "warm-up: sample");
      std::vector<SftExample> examples;
      for (const SampleRecord& s : samples) {
        if (s.valid()) examples.push_back(to_example(s.prompt_ids, s.ids));
      }
      log_.write({{"samples", samples.size()}, {"kept", examples.size()}});
      if (static_cast<int64_t>(examples.size()) < kLeastWarmUp) {
        fail("warm-up: only ", examples.size(), " of ", samples.size(), " forced samples have a complete response, ",
             kLeastWarmUp, " are needed; raise warmup.samples or sampling.max_new, or lower thought_budget");
      }
      train_warm_up(examples);
      fs::remove_all(folder + "/checkpoint.new");
      model_.save(folder + "/checkpoint.new");
      if (recipe_.lora) save_adapter(folder + "/checkpoint.new/adapter", model_.net, recipe_.model);
      fs::rename(folder + "/checkpoint.new", folder + "/checkpoint");
    }
    load(folder + "/checkpoint");
    evaluate_as(0, "after the warm-up", folder + "/eval.jsonl", style_, recipe_.format);
  }

  void train_warm_up(const std::vector<SftExample>& examples) {
    const TrainOptions train = warm_up_training_of(recipe_);
    const int64_t steps = total_steps(static_cast<int64_t>(examples.size()), train);
    const Progress progress = named("warm-up: train");
    TrainHooks hooks;
    hooks.on_step = [&](const StepLog& step) {
      log_.write(sft_step_to_json(step));
      progress("", step.step, steps);
    };
    progress("", 0, steps);
    if (recipe_.lora) add_lora(model_.net, *recipe_.lora, recipe_.seed, 0);
    model_.net.set_recompute(recipe_.checkpoint_blocks ? Recompute::blocks : Recompute::nothing);
    train_sft(model_.net, examples, train, hooks);
    model_.net.set_recompute(Recompute::nothing);
  }

  // ---- one iteration ----

  void iterate(int64_t t) {
    const std::string folder = folder_of(t);
    const Resume begun = fs::exists(folder) ? Resume::yes : Resume::no;
    if (options_.on_iteration) options_.on_iteration(t, recipe_.iterations, begun);
    fs::create_directories(folder);
    if (!fs::exists(folder + "/checkpoint/model.safetensors")) {
      const std::vector<Prompt> prompts = fresh_prompts(t, folder + "/prompts.jsonl");
      const std::vector<SampleRecord> samples = sample(t, prompts, folder + "/samples.jsonl");
      const std::vector<JudgmentRecord> judgments = judge(t, prompts, samples, folder + "/judgments.jsonl");
      pair(t, prompts, samples, judgments, folder + "/pairs.jsonl");
      train(t, folder);
    }
    TrainStateFolder(folder).remove();
    load(folder + "/checkpoint");
    evaluate_as(t, "iteration " + std::to_string(t), folder + "/eval.jsonl", style_, recipe_.format);
  }

  std::vector<Prompt> fresh_prompts(int64_t t, const std::string& path) {
    const std::vector<Prompt> prompts =
        prompts_.train((t - 1) * recipe_.prompts_per_iteration, recipe_.prompts_per_iteration);
    write_prompts(prompts, path);
    return prompts;
  }

  /// What was asked, beside what was answered: a run's folder is read without the recipe's prompt files.
  static void write_prompts(const std::vector<Prompt>& prompts, const std::string& path) {
    write_jsonl(path, prompts, prompt_to_json);
  }

  std::vector<SampleRecord> sample(int64_t t, const std::vector<Prompt>& prompts, const std::string& path) {
    SampleStage stage = sampling_of(recipe_, style_, recipe_.format, parameters());
    stage.iteration = static_cast<uint32_t>(t);
    const auto samples = sample_once(prompts, stage, path, "sample");
    if (fs::exists(fs::path(path).replace_filename("judgments.jsonl"))) return samples;  // and so the log has them too
    log_.begin(t, "sample");
    std::map<std::string, int64_t> reasons;
    for (const SampleRecord& s : samples) ++reasons[name(s.split.parse)];
    const double parsed = static_cast<double>(reasons["ok"]) / static_cast<double>(samples.size());
    log_.write({{"samples", samples.size()}, {"parse_rate", parsed}, {"parse", reasons}});
    if (parsed < kLeastParsed) {
      fs::remove(path);
      fail("iteration ", t, ": only ", static_cast<int>(100 * parsed),
           " % of the outputs parse; raise warmup.samples, ",
           "warmup.epochs or sampling.max_new, or set \"format\": \"forced\"");
    }
    return samples;
  }

  std::vector<JudgmentRecord> judge(int64_t t, const std::vector<Prompt>& prompts,
                                    const std::vector<SampleRecord>& samples, const std::string& path) {
    if (!fs::exists(path)) {
      log_.begin(t, "judge");
      if (pair_judge_)
        play(prompts, samples, path);
      else
        score(prompts, samples, path);
    }
    const auto judgments = read_judgments(path, score_rule_);    // with the file's digits, as a resumed run sees them
    if (!pair_judge_) lowest_judged_ = lowest_score(judgments);  // a tournament's scores are on another scale
    return judgments;
  }

  void score(const std::vector<Prompt>& prompts, const std::vector<SampleRecord>& samples, const std::string& path) {
    const std::vector<JudgmentRecord> judgments = judge_samples(*judge_, prompts, samples, named("judge"));
    std::vector<double> scores;
    for (const JudgmentRecord& j : judgments)
      if (j.judged.score) scores.push_back(*j.judged.score);
    log_.write({{"judged", judgments.size()}, {"errors", judgments.size() - scores.size()}, {"score", mean(scores)}});
    write_jsonl(path, judgments, judgment_to_json);
  }

  void play(const std::vector<Prompt>& prompts, const std::vector<SampleRecord>& samples, const std::string& path) {
    const std::vector<GameRecord> games = play_games(*pair_judge_, prompts, samples, named("judge"));
    log_.write(game_summary_to_json(summarise_games(games)));
    write_jsonl(path, games, game_to_json);
  }

  void pair(int64_t t, const std::vector<Prompt>& prompts, const std::vector<SampleRecord>& samples,
            const std::vector<JudgmentRecord>& judgments, const std::string& path) {
    if (fs::exists(path)) return;
    log_.begin(t, "pair");
    const PairResult result = pair_samples(prompts, samples, judgments, pairing_of(recipe_, style_), &model_.text,
                                           {folder_of(t) + "/samples.jsonl", folder_of(t) + "/judgments.jsonl"});
    Json line = counts_to_json(result);
    line["rho_trials"] = trials_to_json(result.trials);
    log_.write(line);
    if (result.pairs.empty()) {
      fail("iteration ", t, ": no pair could be built ", why_no_pair(result.counts, judgments),
           "; use more or harder prompts");
    }
    write_jsonl(path, result.pairs, pair_to_json);
  }

  void train(int64_t t, const std::string& folder) {
    const int64_t finished = TrainStateFolder(folder).finished_epochs();
    log_.begin(t, "train", finished);
    PreferenceStage stage = training_of(recipe_, t);
    stage.base = result_.checkpoint.empty() ? recipe_.model : result_.checkpoint;
    stage.reference_folder = recipe_.dpo.reference == Reference::seed && t > 1 ? seed_checkpoint() : "";
    const std::vector<IdPair> pairs = read_id_pairs(folder + "/pairs.jsonl", model_.text);
    const auto n = static_cast<int64_t>(pairs.size());
    const Progress progress = named("train");
    stage.on_step = [&](const StepLog& step, int64_t steps) {
      log_.write(dpo_step_to_json(step));
      progress("", step.step, steps);
    };
    progress("", steps_per_epoch(n, stage.train) * finished, total_steps(n, stage.train));
    if (recipe_.select == Select::judge && !prompts_.select.empty())
      stage.select = [this, t](int64_t epoch) { return score_of_epoch(t, epoch); };
    train_on_pairs(model_, pairs, stage, folder);
  }

  /// The judge's mean score of the policy as it is, on the prompts for the selection of epochs.
  double score_of_epoch(int64_t t, int64_t epoch) {
    std::vector<EvalRecord> records = outputs_on(prompts_.select, style_, recipe_.format, t, "select");
    judge_records(records, *judge_, prompts_.select, std::min(lowest_, lowest_judged_), named("judge"));
    const EvalSummary summary = summarise(records, recipe_.seed);
    log_.write({{"select_epoch", epoch},
                {"score", summary.score},
                {"low", summary.interval.low},
                {"high", summary.interval.high},
                {"parse_rate", summary.parse_rate}});
    return summary.score;
  }

  /// The policy's own beginning: after the warm-up, or the recipe's model.
  std::string seed_checkpoint() const {
    const std::string warm = options_.folder + "/warmup/checkpoint";
    return fs::exists(warm) ? warm : recipe_.model;
  }

  /// The samples of an earlier run's file, or fresh ones.
  std::vector<SampleRecord> sample_once(const std::vector<Prompt>& prompts, const SampleStage& stage,
                                        const std::string& path, const std::string& what) {
    if (!fs::exists(path)) return sample_to_file(model_, sample_prompts_of(prompts), watched(stage), path, named(what));
    fs::remove(path + ".part");
    return read_samples(path);
  }

  SampleStage watched(SampleStage stage) const {
    stage.on_token = options_.on_token;
    return stage;
  }

  Progress named(const std::string& what) const {
    return [this, what](const std::string&, int64_t done, int64_t total) {
      if (options_.progress) options_.progress(what, done, total);
    };
  }

  const Recipe& recipe_;
  Model& model_;
  const PromptSets& prompts_;
  const RunOptions& options_;
  ThoughtStyle style_;
  std::unique_ptr<Judge> judge_;           // of held-out outputs, and of a pointwise recipe's samples
  std::unique_ptr<PairJudge> pair_judge_;  // of a pairwise recipe, as are the next two
  ScoreRule score_rule_;
  OpponentJudge* opponent_ = nullptr;  // judge_
  // What outputs score that do not parse: the lowest of all evaluations so far, and of the iteration's own samples.
  double lowest_ = 0.0, lowest_judged_ = 0.0;
  FolderLock lock_;
  RunLog log_;
  std::string start_;
  RunResult result_;
};

}  // namespace

namespace {

/// Where the sampler writes the markers (always in the warm-up), an output must not end before its response.
void check_forced_room(const Recipe& recipe, const Model& model, const ThoughtStyle& style) {
  if (!style.thinks() || (recipe.format == Format::free && recipe.warmup.samples == 0)) return;
  const SampleStage stage = sampling_of(recipe, style, Format::forced, model.net.parameters());
  const int64_t least = FormatForcer(model.text, stage).least_max_new();
  if (stage.max_new < least)
    fail("sampling.max_new: is ", stage.max_new, ", which leaves no room for a response: with a thought_budget of ",
         stage.thought_budget, " and the markers of ", recipe.format == Format::free ? "the warm-up" : "the format",
         " it must be at least ", least);
}

}  // namespace

int64_t check_run_prompts(const Recipe& recipe, const Model& model, const PromptSets& prompts) {
  const ThoughtStyle style = thought_style(recipe.thought);
  check_forced_room(recipe, model, style);
  const int64_t warmup = style.thinks() ? recipe.warmup.samples : 0;
  const int64_t asked = std::max(warmup, recipe.iterations * recipe.prompts_per_iteration);
  int64_t longest = 0;
  for (const std::vector<Prompt>& set : {prompts.train(0, asked), prompts.select, prompts.test})
    longest = std::max(longest, check_prompts(model, sample_prompts_of(set), style));
  return longest;
}

RunResult run_loop(const Recipe& recipe, Model& model, const PromptSets& prompts, const RunOptions& options) {
  return Run(recipe, model, prompts, options).run();
}

}  // namespace thinker
