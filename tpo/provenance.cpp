#include "tpo/provenance.h"

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <vector>

#include "tensor/file.h"

namespace thinker {

namespace {

namespace fs = std::filesystem;

/// 64-bit FNV-1a over words of eight bytes: it tells accidental differences, not forgeries, apart.
std::string hash_of(const std::string& path) {
  const MappedFile file(path);
  const std::span<const std::byte> bytes = file.bytes();
  uint64_t hash = 14695981039346656037u;
  auto mix = [&](uint64_t word) { hash = (hash ^ word) * 1099511628211u; };
  size_t i = 0;
  for (; i + 8 <= bytes.size(); i += 8) {
    uint64_t word;
    std::memcpy(&word, bytes.data() + i, 8);
    mix(word);
  }
  for (; i < bytes.size(); ++i) mix(static_cast<uint64_t>(bytes[i]));
  mix(bytes.size());
  char text[32];
  std::snprintf(text, sizeof text, "fnv1a:%016llx", static_cast<unsigned long long>(hash));
  return text;
}

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
  for (const std::string& path : input_files(recipe)) inputs[path] = hash_of(path);
  return {{"version", version()}, {"inputs", inputs}};
}

Json recorded_recipe(const Recipe& recipe) {
  Json json = recipe_to_json(recipe);
  json.update(provenance(recipe));
  return json;
}

}  // namespace thinker
