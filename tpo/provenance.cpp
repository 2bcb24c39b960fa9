#include "tpo/provenance.h"

#include <algorithm>
#include <filesystem>
#include <vector>

#include "tensor/file.h"
#include "tpo/fingerprint.h"
#include "tpo/model.h"
#include "tpo/text.h"

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

/// Of a recorded recipe, what is the recipe's.
Json settings_of(Json recorded) {
  recorded.erase("version");
  recorded.erase("inputs");
  return recorded;
}

/// As --set names a key.
std::string dotted(Json::json_pointer place) {
  std::string path = place.back();
  for (place.pop_back(); !place.empty(); place.pop_back()) path = place.back() + "." + path;
  return path;
}

std::string value_at(const Json& json, const Json::json_pointer& place) {
  return json.contains(place) ? excerpt(json.at(place).dump()) : "absent";
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

std::string change_of(const Json& then, const Json& now) {
  if (!then.is_object()) return "is no recipe";
  std::vector<std::string> keys;
  std::string first;
  for (const Json& step : Json::diff(settings_of(then), settings_of(now))) {
    const Json::json_pointer place(step.at("path").get<std::string>());
    keys.push_back(dotted(place));
    if (first.empty()) first = concat(keys[0], " was ", value_at(then, place), ", is ", value_at(now, place));
  }
  if (keys.size() == 1) return concat("is of another recipe: ", first);
  if (!keys.empty()) {
    std::string others;
    for (size_t i = 1; i < keys.size(); ++i) others += (i > 1 ? ", " : "") + keys[i];
    return concat("is of another recipe: ", first, "; also changed: ", others);
  }
  if (then.value("version", Json()) != now.at("version"))
    return concat("is of version ", then.value("version", Json()).dump(), "; this program is ",
                  now.at("version").dump());
  const Json files = Json::diff(then.value("inputs", Json::object()), now.at("inputs"));
  if (files.empty()) return "";
  return concat("is of another input file: ", Json::json_pointer(files[0].at("path").get<std::string>()).back(),
                " has changed since");
}

}  // namespace thinker
