#include "tpo/provenance.h"

#include <filesystem>
#include <vector>

#include "tensor/file.h"
#include "tpo/fingerprint.h"

namespace thinker {

namespace {

namespace fs = std::filesystem;

std::vector<std::string> input_files(const Recipe& recipe) {
  std::vector<std::string> files;
  const auto add_model = [&](const std::string& path) {
    if (!fs::is_directory(path)) return files.push_back(path);
    for (const char* name : {"config.json", "model.safetensors", "model.safetensors.index.json", "tokenizer.json"}) {
      files.push_back(path + "/" + name);
    }
  };
  add_model(recipe.model);
  if (const auto model = recipe.judge.find("model"); model != recipe.judge.end() && model->is_string())
    add_model(model->get<std::string>());
  for (const PromptSource* source : {&recipe.prompts.train, &recipe.prompts.select, &recipe.prompts.test}) {
    if (!source->file.empty()) files.push_back(source->file);
  }
  files.push_back(recipe.thought);
  // A pairwise judge's template, unless its format is one of ours.
  if (const auto format = recipe.judge.find("format"); format != recipe.judge.end() && format->is_string())
    files.push_back(format->get<std::string>());
  std::erase_if(files, [](const std::string& path) { return !fs::is_regular_file(path); });
  return files;
}

}  // namespace

const char* version() {
  return "0.1.0";
}

Json provenance(const Recipe& recipe) {
  Json inputs = Json::object();
  for (const std::string& path : input_files(recipe)) inputs[path] = "sha256:" + sha256(MappedFile(path).bytes());
  return {{"version", version()}, {"inputs", inputs}};
}

Json recorded_recipe(const Recipe& recipe) {
  Json json = recipe_to_json(recipe);
  json.update(provenance(recipe));
  return json;
}

}  // namespace thinker
