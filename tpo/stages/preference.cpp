#include "tpo/stages/preference.h"

#include <filesystem>
#include <optional>

#include "tpo/fingerprint.h"
#include "tpo/stages/train_state.h"

namespace thinker {

namespace {

namespace fs = std::filesystem;

std::string fingerprint(const Transformer& model, const std::vector<IdPair>& pairs) {
  Fingerprint print;
  print.add(model);
  for (const IdPair& p : pairs) {
    for (const auto* ids : {&p.prompt, &p.chosen, &p.rejected}) print.add(std::span<const int32_t>(*ids));
    for (const auto* runs : {&p.chosen_forced, &p.rejected_forced}) print.add(std::as_bytes(std::span(*runs)));
  }
  return print.text();
}

class Training {
 public:
  Training(Model& model, const std::vector<IdPair>& pairs, const PreferenceStage& stage, const std::string& folder)
      : model_(with_adapters(model, stage)), pairs_(pairs), stage_(stage), folder_(folder), saved_(folder) {}

  void run() {
    if (saved_.exists())
      resume();
    else
      begin();
    optimizer_.emplace(model_.net, stage_.train.adamw);
    if (state_.epoch > 0) optimizer_->load(saved_.current() + "/optimizer.safetensors");
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
    saved_.remove();
  }

 private:
  static Model& with_adapters(Model& model, const PreferenceStage& stage) {
    if (stage.lora) add_lora(model.net, *stage.lora, stage.train.seed, stage.train.iteration);
    return model;
  }

  int64_t last_epoch() const { return total_epochs(static_cast<int64_t>(pairs_.size()), stage_.train); }

  void begin() {
    saved_.remove_best();
    state_.begun_from = fingerprint(model_.net, pairs_);
    if (stage_.reference_folder.empty()) {
      state_.reference = reference_logps_of_start(model_.net, pairs_, stage_.train);
      return;
    }
    const Model other = open_model(model_.net.device(), stage_.reference_folder, model_.net.dtype());
    state_.reference = reference_logps(other.net, pairs_, stage_.train);
  }

  void resume() {
    state_ = saved_.read(pairs_.size(), fingerprint(model_.net, pairs_));
    load_trained(saved_.current());
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
    if (state_.best_epoch == epoch) save_trained(saved_.best(epoch));
    const std::string fresh = saved_.fresh();
    save_trained(fresh);
    optimizer_->save(fresh + "/optimizer.safetensors");
    saved_.replace(state_);
    if (state_.best_epoch != best_before) fs::remove_all(saved_.best(best_before));
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
    if (!last_is_best) load_trained(saved_.best(state_.best_epoch));
    model_.save(fresh);
    if (stage_.lora) save_adapter(fresh + "/adapter", model_.net, stage_.base);
    fs::remove_all(folder_ + "/checkpoint");
    fs::rename(fresh, folder_ + "/checkpoint");
  }

  Model& model_;
  const std::vector<IdPair>& pairs_;
  const PreferenceStage& stage_;
  std::string folder_;
  TrainStateFolder saved_;
  std::optional<AdamW> optimizer_;  // made for the weights that training goes on from, so that there is but one
  TrainState state_;
};

}  // namespace

void train_on_pairs(Model& model, const std::vector<IdPair>& pairs, const PreferenceStage& stage,
                    const std::string& folder) {
  Training(model, pairs, stage, folder).run();
}

}  // namespace thinker
