#include "tpo/stages/preference.h"

#include <charconv>
#include <filesystem>
#include <limits>
#include <optional>

#include "tensor/file.h"
#include "tpo/fingerprint.h"
#include "tpo/jsonl.h"

namespace thinker {

namespace {

namespace fs = std::filesystem;

/// What stands between two epochs. The folder is replaced as a whole: written beside, then renamed.
struct TrainState {
  std::string begun_from;  // the pairs and the weights that training began with: reference values hold for no others
  int64_t epoch = 0;       // finished epochs
  int64_t best_epoch = 0;
  double best_score = -std::numeric_limits<double>::infinity();
  std::vector<ReferenceLogps> reference;
};

std::string state_folder(const std::string& folder) {
  return folder + "/train_state";
}

/// Puts the state that was written beside it in the place of the last one. At any moment one of the two is whole, under
/// its name or (between the two renames) under that of the new one: see settled_state.
void replace_state(const std::string& folder) {
  const std::string state = state_folder(folder), old = state + ".old";
  fs::remove_all(old);
  if (fs::exists(state)) fs::rename(state, old);
  fs::rename(state + ".new", state);
  fs::remove_all(old);
}

/// The file of the state, which is there where a training was interrupted after an epoch.
std::string settled_state(const std::string& folder) {
  const std::string state = state_folder(folder), fresh = state + ".new";
  if (!fs::exists(state) && fs::exists(fresh + "/state.json")) fs::rename(fresh, state);
  return state + "/state.json";
}

/// Holds the best epoch's weights in a folder of the epoch's number, until a state that names another is written.
std::string best_folder(const std::string& folder) {
  return folder + "/best";
}

/// Exact: hexadecimal, so that a resumed run continues with the same bits.
std::string exact(double x) {
  char text[64];
  const auto end = std::to_chars(text, text + sizeof text, x, std::chars_format::hex).ptr;
  return {text, end};
}

double from_exact(const std::string& text, const std::string& path) {
  double x = 0.0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), x, std::chars_format::hex);
  if (result.ec != std::errc() || result.ptr != text.data() + text.size())
    fail(path, ": \"", text, "\" is not a number");
  return x;
}

void write_state(const std::string& path, const TrainState& state) {
  Json reference = Json::array();
  for (const ReferenceLogps& r : state.reference) reference.push_back({exact(r.chosen), exact(r.rejected)});
  const Json json{{"begun_from", state.begun_from},
                  {"epoch", state.epoch},
                  {"best_epoch", state.best_epoch},
                  {"best_score", exact(state.best_score)},
                  {"reference", reference}};
  write_file_atomically(path, json.dump() + "\n");
}

std::string fingerprint(const Transformer& model, const std::vector<IdPair>& pairs) {
  Fingerprint print;
  print.add(model);
  for (const IdPair& p : pairs) {
    for (const auto* ids : {&p.prompt, &p.chosen, &p.rejected}) print.add(std::span<const int32_t>(*ids));
    for (const auto* runs : {&p.chosen_forced, &p.rejected_forced}) print.add(std::as_bytes(std::span(*runs)));
  }
  return print.text();
}

TrainState read_state(const std::string& path, size_t pairs, const std::string& begun_from) {
  const JsonLine line(parse_json(read_text_file(path), path), path);
  TrainState state;
  state.begun_from = line.string("begun_from");
  state.epoch = line.integer("epoch");
  state.best_epoch = line.integer("best_epoch");
  state.best_score = from_exact(line.string("best_score"), path);
  for (const Json& r : line.at("reference")) {
    if (!r.is_array() || r.size() != 2 || !r[0].is_string() || !r[1].is_string())
      line.error("\"reference\" is damaged");
    state.reference.push_back({from_exact(r[0].get<std::string>(), path), from_exact(r[1].get<std::string>(), path)});
  }
  if (state.begun_from != begun_from || state.reference.size() != pairs)
    line.error("belongs to other pairs or another model; remove the folder to train this iteration again");
  return state;
}

class Training {
 public:
  Training(Model& model, const std::vector<IdPair>& pairs, const PreferenceStage& stage, const std::string& folder)
      : model_(with_adapters(model, stage)), pairs_(pairs), stage_(stage), folder_(folder) {}

  void run() {
    const std::string state = settled_state(folder_);
    if (fs::exists(state))
      resume(state);
    else
      begin();
    optimizer_.emplace(model_.net, stage_.train.adamw);
    if (state_.epoch > 0) optimizer_->load(current() + "/optimizer.safetensors");
    model_.net.set_recompute(stage_.recompute);
    const int64_t steps = total_steps(static_cast<int64_t>(pairs_.size()), stage_.train);
    TrainHooks hooks;
    hooks.on_step = [&](const StepLog& step) {
      if (stage_.on_step) stage_.on_step(step, steps);
    };
    hooks.on_epoch = [&](int64_t epoch) { finish_epoch(epoch); };
    const ReferenceIs is = stage_.reference_folder.empty() ? ReferenceIs::start : ReferenceIs::other;
    train_dpo(model_.net, *optimizer_, pairs_, state_.reference, is, stage_.loss, stage_.train, hooks);
    model_.net.set_recompute(Recompute::nothing);
    keep_best();
    remove_train_state(folder_);
  }

 private:
  static Model& with_adapters(Model& model, const PreferenceStage& stage) {
    if (stage.lora) add_lora(model.net, *stage.lora, stage.train.seed, stage.train.iteration);
    return model;
  }

  int64_t last_epoch() const { return total_epochs(static_cast<int64_t>(pairs_.size()), stage_.train); }
  std::string current() const { return state_folder(folder_); }
  std::string best(int64_t epoch) const { return best_folder(folder_) + "/" + std::to_string(epoch); }

  void begin() {
    fs::remove_all(best_folder(folder_));
    state_.begun_from = fingerprint(model_.net, pairs_);
    if (stage_.reference_folder.empty()) {
      state_.reference = reference_logps_of_start(model_.net, pairs_, stage_.train);
      return;
    }
    const Model other = open_model(model_.net.device(), stage_.reference_folder, model_.net.dtype());
    state_.reference = reference_logps(other.net, pairs_, stage_.train);
  }

  void resume(const std::string& state) {
    state_ = read_state(state, pairs_.size(), fingerprint(model_.net, pairs_));
    load_trained(current());
  }

  void finish_epoch(int64_t epoch) {
    const int64_t best_before = state_.best_epoch;
    state_.epoch = epoch;
    if (stage_.select) {
      const double score = stage_.select(epoch);
      if (score > state_.best_score) {
        state_.best_score = score;
        state_.best_epoch = epoch;
      }
    }
    if (epoch == last_epoch()) return;
    if (state_.best_epoch == epoch) save_trained(best(epoch));
    const std::string fresh = current() + ".new";
    fs::remove_all(fresh);
    save_trained(fresh);
    optimizer_->save(fresh + "/optimizer.safetensors");
    write_state(fresh + "/state.json", state_);  // last: it says that the folder is whole
    replace_state(folder_);
    if (state_.best_epoch != best_before) fs::remove_all(best(best_before));
  }

  /// What training has moved: all weights, or the adapters beside weights that are as at the start.
  void save_trained(const std::string& to) const {
    if (stage_.lora)
      save_adapter(to, model_.net, stage_.base);
    else
      save_checkpoint(to, model_.net, {}, StoredAs::f32);
  }

  void load_trained(const std::string& from) {
    if (stage_.lora)
      model_.net.attach(read_adapter(from, model_.net));
    else
      model_.net = load_huggingface(model_.net.device(), from, model_.net.dtype());
  }

  /// The checkpoint appears under its name only when it is complete.
  void keep_best() {
    const std::string fresh = folder_ + "/checkpoint.new";
    fs::remove_all(fresh);
    const bool last_is_best = !stage_.select || state_.best_epoch == last_epoch();
    if (!last_is_best) load_trained(best(state_.best_epoch));
    model_.save(fresh);
    if (stage_.lora) save_adapter(fresh + "/adapter", model_.net, stage_.base);
    fs::remove_all(folder_ + "/checkpoint");
    fs::rename(fresh, folder_ + "/checkpoint");
  }

  Model& model_;
  const std::vector<IdPair>& pairs_;
  const PreferenceStage& stage_;
  std::string folder_;
  std::optional<AdamW> optimizer_;  // made for the weights that training goes on from, so that there is but one
  TrainState state_;
};

}  // namespace

int64_t finished_epochs(const std::string& folder) {
  const std::string path = settled_state(folder);
  if (!fs::exists(path)) return 0;
  return JsonLine(parse_json(read_text_file(path), path), path).integer("epoch");
}

void remove_train_state(const std::string& folder) {
  const std::string state = state_folder(folder);
  for (const std::string& part : {state, state + ".new", state + ".old", best_folder(folder)}) fs::remove_all(part);
}

void train_on_pairs(Model& model, const std::vector<IdPair>& pairs, const PreferenceStage& stage,
                    const std::string& folder) {
  Training(model, pairs, stage, folder).run();
}

}  // namespace thinker
