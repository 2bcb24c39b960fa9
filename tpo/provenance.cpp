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
  if (fs::is_directory(recipe.model)) {
    for (const char* name : {"config.json", "model.safetensors", "model.safetensors.index.json", "tokenizer.json"}) {
      files.push_back(recipe.model + "/" + name);
    }
  } else {
    files.push_back(recipe.model);
  }
  for (const PromptSource* source : {&recipe.prompts.train, &recipe.prompts.select, &recipe.prompts.test}) {
    if (!source->file.empty()) files.push_back(source->file);
  }
  files.push_back(recipe.thought);
  std::erase_if(files, [](const std::string& path) { return !fs::is_regular_file(path); });
  return files;
}

}  // namespace

const char* version() {
  return "0.1.0";
}

Json provenance(const Recipe& recipe) {
  Json inputs = Json::object();
  for (const std::string& path : input_files(recipe)) inputs[path] = Fingerprint().add(MappedFile(path).bytes()).text();
  return {{"version", version()}, {"inputs", inputs}};
}

Json recorded_recipe(const Recipe& recipe) {
  Json json = recipe_to_json(recipe);
  json.update(provenance(recipe));
  return json;
}

}  // namespace thinker
