// The configuration in its three written forms: config.json (read, write) and GGUF metadata (read).
#include <algorithm>
#include <cmath>
#include <filesystem>

#include "nn/json_file.h"
#include "nn/load.h"
#include "nn/lora.h"
#include "nn/weight_file.h"

namespace thinker {

namespace {

using nlohmann::json;
using nlohmann::ordered_json;

/// The stretch that "rope_scaling" or transformers 5's "rope_parameters" asks for; nothing where the object says
/// "default", or no kind.
std::optional<RopeScaling> read_rope_scaling(const Keys& rope) {
  const char* named = rope.find("rope_type") ? "rope_type" : rope.find("type") ? "type" : nullptr;
  if (!named && rope.find("factor")) fail(rope.path(), ": has a \"factor\" but no \"rope_type\"");
  const std::string kind = named ? rope.text(named) : "default";
  if (kind == "default") return std::nullopt;
  if (kind != "llama3") fail(rope.path(), ": rope scaling \"", kind, "\" is not supported; llama3 is");
  return RopeScaling{rope.number_or("factor", 8.0), rope.number_or("low_freq_factor", 1.0),
                     rope.number_or("high_freq_factor", 4.0), rope.integer("original_max_position_embeddings")};
}

/// rope_theta and the stretch, which transformers 5 moved into one object.
void read_rope(Config& c, const Keys& keys) {
  c.rope_theta = keys.number_or("rope_theta", 10000.0);
  // Which of two transformers follows depends on its version.
  if (keys.find("rope_parameters") && keys.find("rope_scaling"))
    fail(keys.path(), ": has both \"rope_parameters\" and \"rope_scaling\"; leave one of them");
  for (const char* name : {"rope_parameters", "rope_scaling"}) {
    const json* object = keys.find(name);
    if (!object) continue;
    if (!object->is_object()) fail(keys.path(), ": \"", name, "\" is not an object");
    const Keys rope(*object, keys.path() + ": " + name);
    for (const auto& [key, value] : object->items()) {
      if (value.is_object()) fail(rope.path(), ": angles that differ by layer (\"", key, "\") are not supported");
    }
    if (rope.number_or("partial_rotary_factor", 1.0) != 1.0)
      fail(rope.path(), ": \"partial_rotary_factor\" is not supported");
    c.rope_theta = rope.number_or("rope_theta", c.rope_theta);
    if (const auto scaling = read_rope_scaling(rope)) c.rope_scaling = scaling;
  }
  constexpr const char* kOriginal = "original_max_position_embeddings";
  if (c.rope_scaling &&
      keys.integer_or(kOriginal, c.rope_scaling->original_context) != c.rope_scaling->original_context)
    fail(keys.path(), ": \"", kOriginal, "\" is given twice, with two values");
}

bool is_supported(const std::string& model_type) {
  return model_type == "llama" || model_type == "qwen2" || model_type == "qwen3";
}

/// GGUF keeps Llama-3.1's stretch as one divisor a frequency. The greatest is the factor; the other three numbers are
/// the same in every published model, and it is checked that they give the file's divisors.
void read_rope_divisors(Config& config, const GgufFile& file, const GgufTensor& tensor) {
  std::vector<float> divisors(tensor.shape.numel());
  file.to_f32(divisors.data(), tensor);
  const std::vector<double> plain = inverse_frequencies(config);
  bool fits = divisors.size() == plain.size();
  if (fits) {
    config.rope_scaling = RopeScaling{.factor = *std::max_element(divisors.begin(), divisors.end())};
    const std::vector<double> stretched = inverse_frequencies(config);
    for (size_t j = 0; j < plain.size(); ++j)
      fits = fits && std::fabs(plain[j] / stretched[j] / divisors[j] - 1.0) < 1e-3;
  }
  if (!fits) fail(file.path(), ": rope_freqs.weight is not Llama-3.1's stretch; other kinds are not supported");
}

/// What llama.cpp computes otherwise than we would, told by keys: such a file would give wrong numbers without a word.
void check_is_plain(const GgufFile& file, const std::string& architecture, const Config& c) {
  const auto refuse = [&](const std::string& key, auto value) {
    fail(file.path(), ": ", key, " = ", value, " is not supported");
  };
  const auto expect = [&](const char* name, int64_t wanted) {
    const std::string key = architecture + "." + name;
    const int64_t value = file.find<int64_t>(key).value_or(wanted);
    if (value != wanted) refuse(key, value);
  };
  expect("expert_count", 0);
  expect("rope.dimension_count", c.head_dim);
  expect("attention.value_length", c.head_dim);
  const std::string scaling = architecture + ".rope.scaling.";
  const std::string kind = file.find<std::string>(scaling + "type").value_or("linear");
  if (kind != "none" && kind != "linear") refuse(scaling + "type", kind);
  for (const std::string& key : {scaling + "factor", architecture + ".rope.scale_linear"}) {
    const double factor = file.find<double>(key).value_or(1.0);  // 0 is none, too
    if (kind == "linear" && factor != 0.0 && factor != 1.0) refuse(key, factor);
  }
}

}  // namespace

Config read_config(const std::string& folder) {
  return read_config_file(folder + "/config.json");
}

Config read_config_file(const std::string& path) {
  const json object = read_object(path);
  const Keys keys(object, path);
  Config c;
  c.model_type = keys.text("model_type");
  if (!is_supported(c.model_type)) {
    fail(path, ": model_type \"", c.model_type, "\" is not supported; llama, qwen2 and qwen3 are");
  }
  if (keys.find("hidden_act") && keys.text("hidden_act") != "silu") {
    fail(path, ": hidden_act \"", keys.text("hidden_act"), "\" is not supported; silu is");
  }
  if (keys.flag_or("mlp_bias", false)) fail(path, ": mlp_bias is not supported");
  if (keys.flag_or("use_sliding_window", false)) fail(path, ": use_sliding_window is not supported");
  c.vocab = keys.integer("vocab_size");
  c.width = keys.integer("hidden_size");
  c.layers = keys.integer("num_hidden_layers");
  c.heads = keys.integer("num_attention_heads");
  c.kv_heads = keys.integer_or("num_key_value_heads", c.heads);
  const int64_t even_share = c.heads > 0 ? c.width / c.heads : 0;
  c.head_dim = keys.integer_or("head_dim", c.model_type == "qwen3" ? 128 : even_share);
  c.ffn = keys.integer("intermediate_size");
  c.context = keys.integer_or("max_position_embeddings", c.context);
  c.norm_eps = keys.number_or("rms_norm_eps", 1e-6);
  c.tied_head = keys.flag_or("tie_word_embeddings", false);
  c.attention_bias = c.model_type == "qwen2" || keys.flag_or("attention_bias", false);
  if (c.model_type != "qwen2" && c.attention_bias)
    fail(path, ": attention_bias of a ", c.model_type, " model is not supported");
  c.head_norms = c.model_type == "qwen3";
  read_rope(c, keys);
  c.validate(path);
  return c;
}

Head read_head(const std::string& folder) {
  const std::string path = folder + "/config.json";
  const json object = read_object(path);
  const Keys keys(object, path);
  const json* names = keys.find("architectures");
  const bool named = names && names->is_array() && !names->empty() && names->front().is_string();
  if (!named || !names->front().get<std::string>().ends_with("ForSequenceClassification")) return Head::language;
  // transformers writes a label's name for each, and nothing at all for the two labels that are its default.
  const json* labels = keys.find("id2label");
  const int64_t n =
      labels && labels->is_object() ? static_cast<int64_t>(labels->size()) : keys.integer_or("num_labels", 2);
  if (n != 1)
    fail(path, ": is a classifier with ", n, " labels; a reward model has one (\"id2label\", \"num_labels\")");
  return Head::reward;
}

Config read_config(const GgufFile& file) {
  const auto architecture = file.get<std::string>("general.architecture");
  if (!is_supported(architecture)) {
    fail(file.path(), ": architecture \"", architecture, "\" is not supported; llama, qwen2 and qwen3 are");
  }
  auto key = [&](const char* name) { return architecture + "." + name; };
  Config c;
  c.model_type = architecture;
  c.vocab = file.tensor("token_embd.weight").shape[0];
  c.width = file.get<int64_t>(key("embedding_length"));
  c.layers = file.get<int64_t>(key("block_count"));
  c.heads = file.get<int64_t>(key("attention.head_count"));
  c.kv_heads = file.find<int64_t>(key("attention.head_count_kv")).value_or(c.heads);
  c.head_dim = file.find<int64_t>(key("attention.key_length")).value_or(c.heads > 0 ? c.width / c.heads : 0);
  c.ffn = file.get<int64_t>(key("feed_forward_length"));
  c.context = file.find<int64_t>(key("context_length")).value_or(c.context);
  c.norm_eps = file.get<double>(key("attention.layer_norm_rms_epsilon"));
  c.rope_theta = file.find<double>(key("rope.freq_base")).value_or(10000.0);
  c.tied_head = file.find_tensor("output.weight") == nullptr;
  c.attention_bias = architecture == "qwen2";
  c.head_norms = architecture == "qwen3";
  c.validate(file.path());
  check_is_plain(file, architecture, c);
  if (const GgufTensor* divisors = file.find_tensor("rope_freqs.weight")) read_rope_divisors(c, file, *divisors);
  return c;
}

namespace {

/// config.json without the ids of special tokens. A reward model has no output head to tie.
ordered_json config_to_json(const Config& c, Head head, StoredAs stored_as) {
  const std::string family = c.model_type == "llama" ? "Llama" : c.model_type == "qwen2" ? "Qwen2" : "Qwen3";
  ordered_json config{
      {"architectures", {family + (head == Head::language ? "ForCausalLM" : "ForSequenceClassification")}},
      {"model_type", c.model_type},
      {"vocab_size", c.vocab},
      {"hidden_size", c.width},
      {"num_hidden_layers", c.layers},
      {"num_attention_heads", c.heads},
      {"num_key_value_heads", c.kv_heads},
      {"head_dim", c.head_dim},
      {"intermediate_size", c.ffn},
      {"hidden_act", "silu"},
      {"max_position_embeddings", c.context},
      {"rms_norm_eps", c.norm_eps},
      {"rope_theta", c.rope_theta},
      {"tie_word_embeddings", head == Head::language && c.tied_head},
      {"torch_dtype", stored_as == StoredAs::f32 ? "float32" : "bfloat16"}};
  if (c.model_type != "qwen2") config["attention_bias"] = false;
  if (c.model_type == "llama") config["mlp_bias"] = false;
  if (c.rope_scaling) {
    const RopeScaling& s = *c.rope_scaling;
    config["rope_scaling"] = {{"rope_type", "llama3"},
                              {"factor", s.factor},
                              {"low_freq_factor", s.low_frequency_factor},
                              {"high_freq_factor", s.high_frequency_factor},
                              {"original_max_position_embeddings", s.original_context}};
  }
  if (head == Head::reward) {
    config["id2label"] = {{"0", "LABEL_0"}};
    config["label2id"] = {{"LABEL_0", 0}};
  }
  return config;
}

void write_settings(const std::string& folder, ordered_json config, const GenerationDefaults& defaults) {
  std::filesystem::create_directories(folder);
  ordered_json generation = ordered_json::object();
  if (defaults.bos >= 0) config["bos_token_id"] = generation["bos_token_id"] = defaults.bos;
  if (!defaults.end_ids.empty()) {
    const bool one = defaults.end_ids.size() == 1;
    generation["eos_token_id"] = one ? ordered_json(defaults.end_ids[0]) : ordered_json(defaults.end_ids);
    config["eos_token_id"] = generation["eos_token_id"];
  }
  if (defaults.pad >= 0) config["pad_token_id"] = generation["pad_token_id"] = defaults.pad;
  write_file_atomically(folder + "/config.json", config.dump(2) + "\n");
  write_file_atomically(folder + "/generation_config.json", generation.dump(2) + "\n");
}

template <class Model>
NamedWeights weights_of(const Model& model) {
  NamedWeights weights;
  model.visit([&](const std::string& name, const Tensor& w) { weights.emplace_back(name, w); });
  return weights;
}

}  // namespace

void save_checkpoint(const std::string& folder, const Transformer& model, const GenerationDefaults& defaults,
                     StoredAs stored_as) {
  write_settings(folder, config_to_json(model.config(), Head::language, stored_as), defaults);
  write_weights(folder + "/model.safetensors", weights_of(model), stored_as,
                [&](const Tensor& weight) { return merged(model, weight); });
}

void save_checkpoint(const std::string& folder, const RewardModel& model, const GenerationDefaults& defaults,
                     StoredAs stored_as) {
  write_settings(folder, config_to_json(model.body().config(), Head::reward, stored_as), defaults);
  write_weights(folder + "/model.safetensors", weights_of(model), stored_as,
                [&](const Tensor& weight) { return merged(model.body(), weight); });
}

}  // namespace thinker
