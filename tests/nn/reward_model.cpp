// The reward model: one number from a sequence's last token, in the layout of transformers' classifiers with one label.
#include "nn/reward_model.h"

#include "tensor/safetensors.h"
#include "tests/nn/models.h"
#include "tests/tensor/temp_folder.h"

using namespace thinker;
using nlohmann::json;

namespace {

std::vector<double> rewards_of(const RewardModel& model, const Batch& batch, Tape::Mode mode = Tape::Mode::no_grad) {
  Tape tape(model.device(), mode);
  return host_values(model.rewards(tape, batch));
}

/// Gradients of the sum of weight[i] times the i-th reward.
Values gradients_of_sum(const RewardModel& model, const Batch& batch, const std::vector<double>& weight) {
  model.zero_grad();
  Tape tape(model.device(), Tape::Mode::record);
  tape.backward<double>(model.rewards(tape, batch), weight);
  return gradients_of(model);
}

/// What transformers 5 writes for a classifier of the tiny model, with some keys changed.
json classifier_config(const json& change = json::object()) {
  const Config c = tiny_config();
  json config{{"architectures", {"LlamaForSequenceClassification"}},
              {"model_type", "llama"},
              {"vocab_size", c.vocab},
              {"hidden_size", c.width},
              {"num_hidden_layers", c.layers},
              {"num_attention_heads", c.heads},
              {"num_key_value_heads", c.kv_heads},
              {"head_dim", c.head_dim},
              {"intermediate_size", c.ffn},
              {"hidden_act", "silu"},
              {"rms_norm_eps", 1e-5},
              {"rope_parameters", {{"rope_theta", 10000.0}, {"rope_type", "default"}}},
              {"dtype", "float32"},
              {"pad_token_id", 3},
              {"tie_word_embeddings", false},
              {"id2label", {{"0", "LABEL_0"}}},
              {"label2id", {{"LABEL_0", 0}}}};
  config.update(change);
  return config;
}

}  // namespace

TEST_CASE("reward model: a new one rewards everything with 0; it has a score and no output head") {
  const auto device = open_device("cpu");
  Config config = tiny_qwen_config();
  CHECK_THROWS_AS(RewardModel(Transformer(*device, config, DType::F32)), Error);  // a head of its own
  config.tied_head = true;
  const RewardModel model(random_model(*device, config, DType::F32));
  std::vector<std::string> names;
  model.visit([&](const std::string& name, const Tensor&) { names.push_back(name); });
  CHECK(names.back() == "score.weight");
  CHECK(std::find(names.begin(), names.end(), "lm_head.weight") == names.end());
  CHECK(model.score().shape() == Shape{1, config.width});
  Batch batch;
  batch.add_response(batch.add_prompt(Ids{1, 2, 3}), Ids{4, 5});
  CHECK(rewards_of(model, batch) == std::vector<double>{0.0});
  CHECK_THROWS_AS(batch.add_response({0, 3}, Ids{}), Error);
}

TEST_CASE("reward model: responses that share a prompt equal separate sequences, in values and gradients") {
  const auto device = open_device("cpu");
  Rng rng(7, Purpose::generate_data);
  for (const Config& config : {tiny_config(), tiny_qwen_config(), tiny_qwen3_config()}) {
    const RewardModel model = random_reward_model(*device, config, DType::F64);
    for (int round = 0; round < 4; ++round) {
      Batch shared, separate;
      std::vector<double> alone, weight;
      for (int p = 0; p < 3; ++p) {
        const Ids prompt = random_ids(rng, 1 + rng.below(9));
        const Batch::Prefix prefix = shared.add_prompt(prompt);
        for (int64_t k = 1 + rng.below(3); k > 0; --k) {
          const Ids response = random_ids(rng, 1 + rng.below(7));
          shared.add_response(prefix, response);
          separate.add_response(separate.add_prompt(prompt), response);
          Batch one;
          one.add_response(one.add_prompt(prompt), response);
          alone.push_back(rewards_of(model, one)[0]);
          weight.push_back(rng.normal());
        }
      }
      CHECK(shared.offsets.size() == alone.size() + 1);
      CHECK(shared.rows.size() == alone.size());
      CHECK(shared.targets.empty());
      CHECK(difference(rewards_of(model, shared), alone) <= 1e-12);
      CHECK(difference(rewards_of(model, separate), alone) <= 1e-12);
      CHECK(rewards_of(model, shared, Tape::Mode::record) == rewards_of(model, shared));
      CHECK(relative_difference(gradients_of_sum(model, shared, weight), gradients_of_sum(model, separate, weight)) <=
            1e-12);
    }
  }
}

TEST_CASE("reward model: the last token counts, and so does each one before it") {
  const auto device = open_device("cpu");
  const RewardModel model = random_reward_model(*device, tiny_config(), DType::F64);
  const auto reward = [&](const Ids& prompt, const Ids& response) {
    Batch batch;
    batch.add_response(batch.add_prompt(prompt), response);
    return rewards_of(model, batch)[0];
  };
  const double whole = reward({1, 2, 3}, {4, 5, 6});
  CHECK(reward({1, 2, 3, 4}, {5, 6}) == doctest::Approx(whole).epsilon(1e-12));
  CHECK(reward({1, 2, 3}, {4, 5, 7}) != doctest::Approx(whole).epsilon(1e-3));
  CHECK(reward({1, 2, 3}, {8, 5, 6}) != doctest::Approx(whole).epsilon(1e-3));
  CHECK(reward({9, 2, 3}, {4, 5, 6}) != doctest::Approx(whole).epsilon(1e-3));
}

TEST_CASE("reward model: what is saved loads with the same bits; its files name a classifier with one label") {
  const auto device = open_device("cpu");
  for (const Config& config : {tiny_config(), tiny_qwen_config(), tiny_qwen3_config()}) {
    const TempFolder folder;
    const RewardModel model = random_reward_model(*device, config, DType::F32);
    save_checkpoint(folder.path(), model, {.end_ids = {96}, .bos = 95, .pad = 3}, StoredAs::f32);
    CHECK(read_head(folder.path()) == Head::reward);
    CHECK(weights_of(load_reward_model(*device, folder.path(), DType::F32)) == weights_of(model));
    const json written = read_json(folder / "config.json");
    const std::string family = config.model_type == "llama"   ? "Llama"
                               : config.model_type == "qwen2" ? "Qwen2"
                                                              : "Qwen3";
    CHECK(written["architectures"][0] == family + "ForSequenceClassification");
    CHECK(written["id2label"] == json{{"0", "LABEL_0"}});
    CHECK(written["tie_word_embeddings"] == false);
    CHECK(written["pad_token_id"] == 3);
    const SafetensorsFile file(folder / "model.safetensors");
    CHECK(file.tensors().count("lm_head.weight") == 0);
    CHECK(file.tensors().at("score.weight").shape == Shape{1, config.width});
    const std::string error = error_of([&] { load_huggingface(*device, folder.path(), DType::F32); });
    CHECK(holds(error, folder.path()));
    CHECK(holds(error, "is a reward model and writes no text"));
  }
}

TEST_CASE("reward model: configurations as transformers writes them; other classifiers and missing scores are named") {
  const auto device = open_device("cpu");
  const TempFolder folder;
  const RewardModel model = random_reward_model(*device, tiny_config(), DType::F32);
  save_checkpoint(folder.path(), model, {}, StoredAs::f32);
  folder.write("config.json", classifier_config().dump());
  CHECK(weights_of(load_reward_model(*device, folder.path(), DType::F32)) == weights_of(model));
  const auto error_with = [&](const json& change) {
    folder.write("config.json", classifier_config(change).dump());
    const std::string error = error_of([&] { read_head(folder.path()); });
    CHECK(!holds(error, "\n"));
    return error;
  };
  CHECK(error_with({{"id2label", nullptr}, {"num_labels", 1}}) == "");
  // Two labels are transformers' default, which it does not write.
  CHECK(
      holds(error_with({{"id2label", nullptr}}), "config.json: is a classifier with 2 labels; a reward model has one"));
  CHECK(holds(error_with({{"id2label", {{"0", "A"}, {"1", "B"}, {"2", "C"}}}}), "with 3 labels"));
  CHECK(error_with({{"architectures", {"LlamaForCausalLM"}}}) == "");
  CHECK(read_head(folder.path()) == Head::language);
  CHECK(error_with({{"architectures", nullptr}}) == "");

  // A language model's weights under a classifier's configuration.
  save_checkpoint(folder.path(), model.body(), {}, StoredAs::f32);
  folder.write("config.json", classifier_config().dump());
  std::string error = error_of([&] { load_reward_model(*device, folder.path(), DType::F32); });
  CHECK(holds(error, "score.weight"));
  CHECK(holds(error, folder.path()));
  CHECK(!holds(error, "\n"));
  // A score of another width.
  const std::vector<float> two(2, 1.0f);
  std::vector<NamedTensor> tensors;
  const SafetensorsFile file(folder / "model.safetensors");
  for (const auto& [name, tensor] : file.tensors()) tensors.push_back(tensor);
  tensors.push_back({{"score.weight", "F32", {1, 2}}, std::as_bytes(std::span(two))});
  const TempFolder second;
  write_safetensors(second / "model.safetensors", tensors);
  second.write("config.json", classifier_config().dump());
  error = error_of([&] { load_reward_model(*device, second.path(), DType::F32); });
  CHECK(holds(error, "weight \"score.weight\" has shape (1, 2), the configuration asks for (1, 24)"));
}

TEST_CASE("reward model: the body of a language model, its output head left out") {
  const auto device = open_device("cpu");
  const Transformer whole = load_huggingface(*device, "tests/goldens/tiny-qwen2", DType::F32);
  const Transformer body = load_huggingface(*device, "tests/goldens/tiny-qwen2", DType::F32, OutputHead::left_out);
  Values weights = weights_of(whole);
  REQUIRE(weights.erase("lm_head.weight") == 1);
  CHECK(weights_of(body) == weights);
}
