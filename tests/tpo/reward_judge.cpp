// What a reward model learns from a known rule, as a file for transformers and as a judge.
#include "tensor/file.h"
#include "tests/tpo/tiny_world.h"
#include "tpo/judges/reward.h"
#include "tpo/stages/reward.h"

using namespace thinker;

namespace {

JudgeView view_of(const Messages& prompt, const std::string& response) {
  Prompt p;
  p.messages = prompt;
  return make_judge_view(p, {std::nullopt, response, Parse::ok});
}

/// The rule: the response with an "h" in it is the better one. Nothing else tells the two apart.
std::string answer_with(Rng& rng, const std::string& letter) {
  std::string text = tiny::letters(rng, "abcdefg ", 8);
  text.insert(rng.below(static_cast<int64_t>(text.size()) + 1), letter);
  return "e" + text;  // no white space at the ends: a judge's view is trimmed
}

std::vector<RewardPair> rule_pairs(const ChatTokenizer& text, int64_t n) {
  Rng rng(21, Purpose::generate_data);
  std::vector<RewardPair> pairs;
  for (const Prompt& p : tiny::prompts(n, 31)) {
    const std::string better = answer_with(rng, "h"), worse = answer_with(rng, "a");
    pairs.push_back(
        {text.prompt_ids(p.messages), text.completion_ids(better + "b"), text.completion_ids(worse + "b"), 0.0});
  }
  return pairs;
}

/// A reward model of the tiny world in a folder, trained on the rule or new.
class RuleModel {
 public:
  RuleModel() : device_(open_device("cpu")) {
    const Model model = tiny::untrained_model(*device_);
    model.save(folder / "language");
    TextRewardModel reward = open_reward_model(*device_, folder / "language", DType::F32, NoScore::zeros);
    HeldOut pairs = hold_out(rule_pairs(reward.text, 500), 0.2, 1);
    held_out = std::move(pairs.held_out);
    AdamW optimizer(reward.net, options.adamw);
    train_reward(reward.net, optimizer, pairs.train, 0.01, options, {});
    report = reward_report(held_out, pair_rewards(reward.net, held_out, options), 0.01);
    reward.save(folder / "reward");
  }

  Json recipe() const { return {{"kind", "reward"}, {"model", folder / "reward"}, {"device", "cpu"}}; }
  TextRewardModel open() const { return open_reward_model(*device_, folder / "reward", DType::F32, NoScore::refused); }

  TempFolder folder;
  const TrainOptions options{.lr = 1e-2, .batch = 16, .epochs = 3};
  std::vector<RewardPair> held_out;
  Json report;

 private:
  std::unique_ptr<Device> device_;
};

const RuleModel& rule_model() {
  static const RuleModel model;
  return model;
}

double plain_reward(const TextRewardModel& model, const Messages& prompt, const std::string& response) {
  Batch batch;
  batch.add_response(batch.add_prompt(model.text.prompt_ids(prompt)), model.text.completion_ids(response));
  Tape tape(model.net.device(), Tape::Mode::no_grad);
  return model.net.rewards(tape, batch).to_host<float>()[0];
}

}  // namespace

TEST_CASE("reward model: a known rule is learned to 95 % and more of held-out pairs") {
  const Json& report = rule_model().report;
  INFO(report.dump());
  CHECK(report["pairs"] == 100);
  CHECK(report["accuracy"].get<double>() >= 0.95);
  CHECK(report["margin"].get<double>() > 1);
  CHECK(report["ece"].get<double>() < 0.1);
  CHECK(report["loss"].get<double>() < 0.3);
  int64_t pairs = 0;
  for (const Json& bin : report["bins"]) pairs += bin["pairs"].get<int64_t>();
  CHECK(pairs == 100);
}

TEST_CASE("reward model: saved, opened and trained on; its pad token is not the end of a turn") {
  const RuleModel& rule = rule_model();
  const TextRewardModel model = rule.open();
  const auto rewards = pair_rewards(model.net, rule.held_out, rule.options);  // in the same batches
  CHECK(reward_report(rule.held_out, rewards, 0.01).dump() == rule.report.dump());
  const Json config = parse_json(read_text_file(rule.folder / "reward/config.json"), "config.json");
  // transformers reads the last token that is not padding. The tiny alphabet has no second control token.
  CHECK(!config.contains("pad_token_id"));
  const auto device = open_device("cpu");
  TextRewardModel again = open_reward_model(*device, rule.folder / "reward", DType::F32, NoScore::zeros);
  CHECK(weights_of(again.net) == weights_of(model.net));  // a reward model goes on from its own score

  const std::string language = rule.folder / "language";
  const auto refused = [&] { open_reward_model(*device, language, DType::F32, NoScore::refused); };
  CHECK(holds(error_of(refused), language + ": is a language model, not a reward model; `thinker reward` makes one"));
  CHECK(holds(error_of([&] { open_model(*device, rule.folder / "reward", DType::F32); }), "is a reward model"));
}

TEST_CASE("reward judge: scores are the model's rewards, whatever else is judged beside") {
  const RuleModel& rule = rule_model();
  const TextRewardModel model = rule.open();
  const auto judge = make_judge(rule.recipe());
  Rng rng(3, Purpose::generate_data);
  std::vector<JudgeView> views;
  std::vector<double> expected;
  for (const Prompt& p : tiny::prompts(120, 5)) {
    for (int k = 0; k < 3; ++k) {
      const std::string response = answer_with(rng, k == 0 ? "h" : "a") + "b";
      views.push_back(view_of(p.messages, response));
      expected.push_back(plain_reward(model, p.messages, response));
    }
  }
  const std::vector<Judged> all = judge->judge(views);
  REQUIRE(all.size() == views.size());
  int64_t best = 0;
  for (size_t i = 0; i < views.size(); ++i) {
    REQUIRE(all[i].score);
    CHECK(all[i].error == "");
    CHECK(std::fabs(*all[i].score - expected[i]) <= 1e-5);
    if (i % 3 == 0) best += *all[i].score > *all[i + 1].score && *all[i].score > *all[i + 2].score;
    if (i % 37 == 0) CHECK(std::fabs(*judge->judge({&views[i], 1})[0].score - *all[i].score) <= 1e-5);
  }
  CHECK(best >= 114);  // 95 %
  CHECK(judge->judge({}).empty());
}

TEST_CASE("reward judge: what cannot be read is that view's error; a wrong set-up is one line") {
  const RuleModel& rule = rule_model();
  const auto judge = make_judge(rule.recipe());
  const std::vector<JudgeView> views = {view_of({{"user", "ab?"}}, "abc"), view_of({{"user", "ab?"}}, "caf\xC3\xA9"),
                                        view_of({{"user", "ab?"}}, std::string(200, 'a')),
                                        view_of({{"user", "ab?"}}, "bch")};
  const auto judged = judge->judge(views);
  CHECK(judged[0].score);
  CHECK(!judged[1].score);
  CHECK(judged[1].error != "");
  CHECK(holds(judged[2].error, "tokens; the reward model's context is 128"));
  CHECK(judged[3].score);

  const auto bad = [](const Json& recipe, const std::string& message) {
    const std::string error = error_of([&] { make_judge(recipe); });
    CHECK(holds(error, message));
    CHECK(!holds(error, "\n"));
  };
  bad({{"kind", "reward"}}, "judge.model: the reward judge needs a reward model's folder");
  bad({{"kind", "reward"}, {"model", 3}}, "judge.model");
  bad({{"kind", "reward"}, {"model", "/nonexistent"}}, "/nonexistent: no such file or folder");
  bad({{"kind", "reward"}, {"model", rule.folder / "language"}}, "is a language model, not a reward model");
  bad({{"kind", "reward"}, {"model", rule.folder / "reward"}, {"device", "gpu"}}, "judge.device: \"gpu\" is unknown");
  bad({{"kind", "reward"}, {"modle", "x"}}, "judge.modle: unknown key; did you mean judge.model?");
}
