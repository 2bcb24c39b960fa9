// Adapter folders in PEFT's layout. What PEFT can do beyond plain low-rank adapters is refused by its key, unknown
// keys of later versions included: an adapter that is half understood computes something else.
#include <algorithm>
#include <filesystem>
#include <set>

#include "nn/json_file.h"
#include "nn/lora.h"
#include "nn/weight_file.h"
#include "tensor/safetensors.h"

namespace thinker {

namespace {

using nlohmann::json;
using nlohmann::ordered_json;

/// Keys that say nothing about what is computed, and those that read_options reads.
const std::set<std::string> kPlainKeys{"auto_mapping",
                                       "base_model_name_or_path",
                                       "inference_mode",
                                       "layers_pattern",
                                       "lora_alpha",
                                       "lora_dropout",
                                       "megatron_core",
                                       "peft_type",
                                       "peft_version",
                                       "qalora_group_size",
                                       "r",
                                       "revision",
                                       "runtime_config",
                                       "target_modules",
                                       "task_type"};

/// Whether a value asks for nothing: each feature's default.
bool asks_nothing(const std::string& key, const json& value) {
  if (key == "bias") return value == "none";
  if (key == "init_lora_weights") return value.is_null() || value.is_boolean() || value == "gaussian";
  return value.is_null() || value == false || ((value.is_array() || value.is_object()) && value.empty());
}

std::string all_targets() {
  std::string text;
  for (const std::string& target : lora_targets()) text += (text.empty() ? "" : ", ") + target;
  return text;
}

/// In the model's order, without repetition.
std::vector<std::string> read_targets(const json* value, const std::string& path) {
  if (!value || !value->is_array() || value->empty())
    fail(path, ": \"target_modules\" is missing or not a list of layers' names");
  std::set<std::string> named;
  for (const json& item : *value) {
    const auto& all = lora_targets();
    const std::string target = item.is_string() ? item.get<std::string>() : item.dump();
    if (std::find(all.begin(), all.end(), target) == all.end())
      fail(path, ": target module ", printable(target), " is not supported; ", all_targets(), " are");
    named.insert(target);
  }
  std::vector<std::string> targets;
  for (const std::string& target : lora_targets())
    if (named.contains(target)) targets.push_back(target);
  return targets;
}

LoraOptions read_options(const std::string& path) {
  const json object = read_object(path);
  const Keys keys(object, path);
  if (keys.text("peft_type") != "LORA")
    fail(path, ": peft_type ", printable(keys.text("peft_type")), " is not supported; LORA is");
  for (const auto& [key, value] : object.items()) {
    if (!kPlainKeys.contains(key) && !asks_nothing(key, value))
      fail(path, ": ", printable(key), " is set, which is not supported: plain adapters of linear layers are");
  }
  LoraOptions options;
  options.rank = keys.integer("r");
  options.alpha = keys.number_or("lora_alpha", 0.0);
  options.targets = read_targets(keys.find("target_modules"), path);
  if (options.rank < 1 || options.rank > kGreatestLoraRank)
    fail(path, ": \"r\" is ", options.rank, "; it must be from 1 to ", kGreatestLoraRank);
  if (!(options.alpha > 0.0)) fail(path, ": \"lora_alpha\" is missing or not above 0");
  return options;
}

}  // namespace

void save_adapter(const std::string& folder, const Transformer& model, const std::string& base) {
  ENSURE(model.lora(), "save_adapter of a model without adapters");
  const Lora& lora = *model.lora();
  const LoraOptions& options = lora.options();
  const auto whole = static_cast<int64_t>(options.alpha);
  const ordered_json config{
      {"peft_type", "LORA"},
      {"task_type", "CAUSAL_LM"},
      {"base_model_name_or_path", base},
      {"r", options.rank},
      {"lora_alpha", static_cast<double>(whole) == options.alpha ? ordered_json(whole) : ordered_json(options.alpha)},
      {"lora_dropout", 0.0},
      {"target_modules", options.targets},
      {"bias", "none"},
      {"fan_in_fan_out", false},
      {"inference_mode", true},
      {"init_lora_weights", true},
      {"modules_to_save", nullptr},
      {"use_dora", false},
      {"use_rslora", false}};
  std::filesystem::create_directories(folder);
  write_file_atomically(folder + "/adapter_config.json", config.dump(2) + "\n");
  NamedWeights weights;
  lora.visit([&](const std::string& name, const Tensor& x) { weights.emplace_back(name, x); });
  write_weights(folder + "/adapter_model.safetensors", weights, StoredAs::f32, [](const Tensor& x) { return x; });
}

std::shared_ptr<const Lora> read_adapter(const std::string& folder, const Transformer& model) {
  const std::string path = folder + "/adapter_model.safetensors";
  const LoraOptions options = read_options(folder + "/adapter_config.json");
  const SafetensorsFile file(path);
  const auto lora = std::make_shared<const Lora>(model, options);
  std::set<std::string> known;
  lora->visit([&](const std::string& name, const Tensor& x) {
    known.insert(name);
    const auto found = file.tensors().find(name);
    if (found == file.tensors().end())
      fail(path, ": tensor ", printable(name), " is missing; adapter_config.json names its layer");
    if (!(found->second.shape == x.shape()))
      fail(path, ": tensor ", printable(name), " has shape ", found->second.shape,
           "; the model and \"r\": ", options.rank, " ask for ", x.shape());
    std::vector<float> values(x.numel());
    to_f32(values.data(), found->second);
    assign(x, values);
  });
  for (const auto& [name, tensor] : file.tensors())
    if (!known.contains(name))
      fail(path, ": tensor ", printable(name), " belongs to no layer that adapter_config.json and the model have");
  return lora;
}

}  // namespace thinker
