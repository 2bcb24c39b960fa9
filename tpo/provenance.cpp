#include "tpo/provenance.h"

#include <algorithm>
#include <filesystem>
#include <vector>

#include "tensor/file.h"
#include "tpo/fingerprint.h"
#include "tpo/model.h"

namespace thinker {

namespace {

namespace fs = std::filesystem;

/// What a MODEL is read from.
std::vector<std::string> model_files(const std::string& path) {
  if (!fs::is_directory(path)) return {path};
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(path)) {
    const std::string name = entry.path().filename().string();
    if (is_model_file(name)) files.push_back(path + "/" + name);
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::vector<std::string> input_files(const Recipe& recipe) {
  std::vector<std::string> files = model_files(recipe.model);
  if (const auto model = recipe.judge.find("model"); model != recipe.judge.end() && model->is_string()) {
    const std::vector<std::string> judge = model_files(model->get<std::string>());
    files.insert(files.end(), judge.begin(), judge.end());
  }
  for (const PromptSource* source : {&recipe.prompts.train, &recipe.prompts.select, &recipe.prompts.test}) {
    if (!source->file.empty()) files.push_back(source->file);
  }
  files.push_back(recipe.thought);
  // A pairwise judge's template, unless its format is one of ours.
  if (const auto format = recipe.judge.find("format"); format != recipe.judge.end() && format->is_string())
    files.push_back(format->get<std::string>());
  return files;
}

/// {FILE: "sha256:…"}; what is no file is left out.
Json hashes_of(std::vector<std::string> files) {
  std::erase_if(files, [](const std::string& path) { return !fs::is_regular_file(path); });
  Json hashes = Json::object();
  for (const std::string& path : files) hashes[path] = "sha256:" + sha256(MappedFile(path).bytes());
  return hashes;
}

}  // namespace

const char* version() {
  return "0.1.0";
}

Json model_hashes(const std::string& path) {
  return hashes_of(model_files(path));
}

Json provenance(const Recipe& recipe) {
  return {{"version", version()}, {"inputs", hashes_of(input_files(recipe))}};
}

Json recorded_recipe(const Recipe& recipe) {
  Json json = recipe_to_json(recipe);
  json.update(provenance(recipe));
  return json;
}

}  // namespace thinker
