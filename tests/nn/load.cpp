#include "nn/load.h"

#include <filesystem>

#include "nn/weight_file.h"
#include "tensor/safetensors.h"
#include "tests/nn/models.h"
#include "tests/tensor/temp_folder.h"

using namespace thinker;
using nlohmann::json;

namespace {

const std::string kLlama = "tests/goldens/tiny-llama", kQwen = "tests/goldens/tiny-qwen2",
                  kQwen3 = "tests/goldens/tiny-qwen3";

Config llama3_config() {
  Config c = tiny_config();
  c.rope_theta = 500000.0;
  c.rope_scaling =
      RopeScaling{.factor = 32.0, .low_frequency_factor = 1.5, .high_frequency_factor = 5.0, .original_context = 4096};
  return c;
}

/// A folder with the tiny model's weights and its configuration after `change`.
std::string error_with_config(const std::function<void(json&)>& change) {
  const TempFolder folder;
  std::filesystem::copy_file(kLlama + "/model.safetensors", folder / "model.safetensors");
  json config = read_json(kLlama + "/config.json");
  change(config);
  folder.write("config.json", config.dump());
  const auto device = open_device("cpu");
  const std::string error = error_of([&] { load_huggingface(*device, folder.path(), DType::F32); });
  CHECK(holds(error, folder.path()));
  CHECK(!holds(error, "\n"));
  return error;
}

}  // namespace

TEST_CASE("checkpoint: what is saved in fp32 loads with the same bits, configuration included") {
  const auto device = open_device("cpu");
  for (const Config& config : {tiny_config(), tiny_qwen_config(), tiny_qwen3_config(), llama3_config()}) {
    const TempFolder folder;
    const Transformer model = random_model(*device, config, DType::F32);
    const GenerationDefaults defaults{.end_ids = {96, 3}, .bos = 95, .pad = 0};
    save_checkpoint(folder / "deep/checkpoint", model, defaults, StoredAs::f32);
    const Transformer again = load_huggingface(*device, folder / "deep/checkpoint", DType::F32);
    CHECK(weights_of(again) == weights_of(model));
    const Config& c = again.config();
    CHECK(c.model_type == config.model_type);
    CHECK(c.context == config.context);
    CHECK(c.head_dim == config.head_dim);
    CHECK(c.norm_eps == config.norm_eps);
    CHECK(c.tied_head == config.tied_head);
    CHECK(c.attention_bias == config.attention_bias);
    CHECK(c.head_norms == config.head_norms);
    CHECK(inverse_frequencies(c) == inverse_frequencies(config));
    const Ids prompt{1, 2, 3, 4, 5, 6, 7}, completion{8, 9, 10};
    CHECK(completion_logprobs(again, prompt, completion) == completion_logprobs(model, prompt, completion));
    for (const char* file : {"deep/checkpoint/config.json", "deep/checkpoint/generation_config.json"}) {
      const json written = read_json(folder / file);
      CHECK(written["eos_token_id"] == json({96, 3}));
      CHECK(written["bos_token_id"] == 95);
      CHECK(written["pad_token_id"] == 0);
    }
  }
}

TEST_CASE("checkpoint: bf16 halves the file and rounds to the nearest") {
  const auto device = open_device("cpu");
  const TempFolder folder;
  const Transformer model = random_model(*device, tiny_config(), DType::F32);
  save_checkpoint(folder.path(), model, {}, StoredAs::bf16);
  const SafetensorsFile file(folder / "model.safetensors");
  for (const auto& [name, tensor] : file.tensors()) CHECK(tensor.dtype_name == "BF16");
  const Values found = weights_of(load_huggingface(*device, folder.path(), DType::F32));
  for (const auto& [name, wanted] : weights_of(model)) {
    bool near = true;
    for (size_t i = 0; i < wanted.size(); ++i)
      near = near && std::fabs(found.at(name)[i] - wanted[i]) <= std::fabs(wanted[i]) * 0x1p-8;
    CHECK_MESSAGE(near, name);
  }
  CHECK(read_json(folder / "config.json")["torch_dtype"] == "bfloat16");
  CHECK(!read_json(folder / "config.json").contains("eos_token_id"));
  // Matrices that are kept in bf16 are those of the file.
  const Transformer half =
      load_huggingface(*device, folder.path(), DType::F32, OutputHead::loaded, WeightStorage::bf16);
  half.visit([&](const std::string& name, const Tensor& w) {
    REQUIRE(w.dtype() == (w.shape().rank() == 2 ? DType::BF16 : DType::F32));
    const Tensor wide = Tensor::zeros(*device, w.shape(), DType::F32);
    device->backend().convert(wide.raw(), w.raw(), w.numel(), DType::F32, w.dtype());
    CHECK_MESSAGE(host_values(wide) == found.at(name), name);
  });
  // Stored again from bf16 values nothing more is lost.
  const TempFolder second;
  save_checkpoint(second.path(), load_huggingface(*device, folder.path(), DType::F32), {}, StoredAs::bf16);
  CHECK(weights_of(load_huggingface(*device, second.path(), DType::F32)) == found);
}

TEST_CASE("checkpoint: an f64 model is stored in fp32") {
  const auto device = open_device("cpu");
  const TempFolder folder;
  const Transformer model = random_model(*device, tiny_config(), DType::F64);  // its values are fp32 values
  save_checkpoint(folder.path(), model, {}, StoredAs::f32);
  CHECK(weights_of(load_huggingface(*device, folder.path(), DType::F64)) == weights_of(model));
}

TEST_CASE("config: the published forms of the three families are read") {
  const Config llama = read_config(kLlama);
  CHECK(llama.model_type == "llama");
  CHECK(llama.head_dim == 8);
  CHECK(llama.kv_heads == 2);
  CHECK(llama.tied_head);
  CHECK(llama.norm_eps == 1e-5);
  CHECK(!llama.rope_scaling);
  const Config qwen = read_config(kQwen);
  CHECK(qwen.model_type == "qwen2");
  CHECK(qwen.head_dim == 6);  // derived
  CHECK(qwen.attention_bias);
  CHECK(!qwen.tied_head);
  CHECK(qwen.norm_eps == 1e-6);
  CHECK(qwen.rope_theta == 10000.0);  // from rope_parameters
  const Config qwen3 = read_config(kQwen3);
  CHECK(qwen3.model_type == "qwen3");
  CHECK(qwen3.head_dim == 10);
  CHECK(qwen3.head_norms);
  CHECK(!qwen3.attention_bias);
  CHECK(qwen3.rope_theta == 1e6);
  const TempFolder folder;
  json config = read_json(kQwen3 + "/config.json");
  config.erase("head_dim");
  folder.write("config.json", config.dump());
  CHECK(read_config(folder.path()).head_dim == 128);  // the family's default, not a share of the width
  config["attention_bias"] = true;
  folder.write("config.json", config.dump());
  CHECK(holds(error_of([&] { read_config(folder.path()); }), "attention_bias of a qwen3 model"));
}

TEST_CASE("checkpoint: a head of its own is not left out because the configuration ties it; the same one may be") {
  const auto device = open_device("cpu");
  const TempFolder folder;
  save_checkpoint(folder.path(), random_model(*device, tiny_qwen_config(), DType::F32), {}, StoredAs::f32);
  json config = read_json(folder / "config.json");
  REQUIRE(!config["tie_word_embeddings"].get<bool>());
  config["tie_word_embeddings"] = true;
  folder.write("config.json", config.dump());
  const auto load = [&] { return load_huggingface(*device, folder.path(), DType::F32); };
  CHECK(holds(error_of(load), "ties the output head to the embedding, but lm_head.weight has other values"));

  Config tied = tiny_qwen_config();
  tied.tied_head = true;
  const Transformer model = random_model(*device, tied, DType::F32);
  NamedWeights weights;
  model.visit([&](const std::string& name, const Tensor& w) { weights.emplace_back(name, w); });
  weights.emplace_back("lm_head.weight", weights.front().second);
  REQUIRE(weights.front().first == "model.embed_tokens.weight");
  write_weights(folder / "model.safetensors", weights, StoredAs::f32, [](const Tensor& w) { return w; });
  CHECK(weights_of(load()) == weights_of(model));
}

TEST_CASE("config: a rope of the default kind is no scaling") {
  const TempFolder folder;
  json config = read_json(kLlama + "/config.json");
  config["rope_scaling"] = {{"rope_type", "default"}};
  folder.write("config.json", config.dump());
  CHECK(!read_config(folder.path()).rope_scaling);
}

TEST_CASE("config: transformers 5 keeps llama3 scaling in rope_parameters") {
  const TempFolder folder;
  json config = read_json(kLlama + "/config-llama3.json");
  json rope = config["rope_scaling"];
  rope["rope_theta"] = 12345.0;
  config.erase("rope_scaling");
  config.erase("rope_theta");
  config["rope_parameters"] = rope;
  folder.write("config.json", config.dump());
  const Config c = read_config(folder.path());
  REQUIRE(c.rope_scaling);
  CHECK(c.rope_theta == 12345.0);
  CHECK(c.rope_scaling->factor == 8.0);
  CHECK(c.rope_scaling->original_context == 128);
}

TEST_CASE("config: what is broken or not supported is named, with file and key") {
  CHECK(holds(error_with_config([](json& c) { c.erase("hidden_size"); }), "hidden_size"));
  CHECK(holds(error_with_config([](json& c) { c["num_hidden_layers"] = "two"; }), "num_hidden_layers"));
  CHECK(holds(error_with_config([](json& c) { c["model_type"] = "gpt2"; }), "gpt2"));
  CHECK(holds(error_with_config([](json& c) { c["hidden_act"] = "gelu"; }), "gelu"));
  CHECK(holds(error_with_config([](json& c) { c["mlp_bias"] = true; }), "mlp_bias"));
  CHECK(holds(error_with_config([](json& c) { c["attention_bias"] = true; }), "attention_bias"));
  CHECK(holds(error_with_config([](json& c) { c["num_attention_heads"] = 0; }), "heads"));
  CHECK(holds(error_with_config([](json& c) { c["num_key_value_heads"] = 3; }), "key/value heads"));
  CHECK(holds(error_with_config([](json& c) { c["vocab_size"] = int64_t{1} << 40; }), "vocabulary"));
  CHECK(holds(error_with_config([](json& c) { c["rms_norm_eps"] = "tiny"; }), "rms_norm_eps"));
  CHECK(holds(error_with_config([](json& c) { c["max_position_embeddings"] = uint64_t{1} << 63; }),
              "\"max_position_embeddings\" is 9223372036854775808, which is too large"));
  CHECK(holds(error_with_config([](json& c) { c["max_position_embeddings"] = 0; }), "a context of 0 positions"));
  CHECK(holds(error_with_config([](json& c) { c["rope_scaling"] = {{"rope_type", "yarn"}}; }), "yarn"));
  CHECK(holds(error_with_config([](json& c) { c["rope_scaling"] = 8; }), "rope_scaling"));
  CHECK(holds(error_with_config([](json& c) { c["rope_scaling"] = {{"factor", 2.0}}; }), "rope_type"));
  CHECK(holds(error_with_config([](json& c) { c["rope_parameters"] = {{"type", "yarn"}, {"factor", 4.0}}; }), "yarn"));
  CHECK(holds(error_with_config([](json& c) { c["rope_parameters"] = json::array({1}); }), "rope_parameters"));
  CHECK(holds(error_with_config([](json& c) {
                c["rope_parameters"] = {{"full_attention", json::object()}};
              }),
              "full_attention"));
  CHECK(holds(error_with_config([](json& c) {
                c["rope_parameters"] = {{"partial_rotary_factor", 0.5}};
              }),
              "partial_rotary_factor"));
  CHECK(holds(error_with_config([](json& c) { c["num_attention_heads"] = c["head_dim"] = int64_t{1} << 23; }),
              "config.json: number of heads times their size"));
  CHECK(holds(error_with_config([](json& c) {
                c["rope_scaling"] = {{"rope_type", "llama3"},
                                     {"factor", 8.0},
                                     {"low_freq_factor", 4.0},
                                     {"high_freq_factor", 4.0},
                                     {"original_max_position_embeddings", 128}};
              }),
              "rope scaling"));
  CHECK(holds(error_with_config([](json& c) {
                c["rope_parameters"] = {{"rope_theta", 77.0}};
                c["rope_scaling"] = {{"rope_type", "default"}};
              }),
              "both \"rope_parameters\" and"));
  CHECK(holds(error_with_config([](json& c) {
                c["rope_scaling"] = {{"rope_type", "llama3"}, {"original_max_position_embeddings", 32}};
                c["original_max_position_embeddings"] = 64;
              }),
              "\"original_max_position_embeddings\" is given twice"));
  // The configuration and the weights disagree.
  CHECK(holds(error_with_config([](json& c) { c["vocab_size"] = 98; }), "model.embed_tokens.weight"));
  CHECK(holds(error_with_config([](json& c) { c["num_hidden_layers"] = 3; }), "model.layers.2.input_layernorm.weight"));
  CHECK(holds(error_with_config([](json& c) { c["tie_word_embeddings"] = false; }), "lm_head.weight"));
  CHECK(holds(error_with_config([](json& c) { c["num_hidden_layers"] = 1; }),
              "'model.layers.1.input_layernorm.weight' has no place"));

  const TempFolder folder;
  CHECK(holds(error_of([&] { read_config(folder.path()); }), "config.json"));
  folder.write("config.json", "{\"model_type\": ");
  CHECK(holds(error_of([&] { read_config(folder.path()); }), "is not JSON"));
  CHECK(!holds(error_of([&] { read_config(folder.path()); }), "\n"));
  folder.write("config.json", "[1, 2]");
  CHECK(holds(error_of([&] { read_config(folder.path()); }), "config.json"));
  folder.write("config.json", std::string(5000, '[') + std::string(5000, ']'));
  CHECK(holds(error_of([&] { read_config(folder.path()); }), "config.json"));
}
