#include "tpo/report/experiment.h"

#include <filesystem>
#include <set>

#include "tensor/check.h"
#include "tensor/file.h"

namespace thinker {

namespace {

namespace fs = std::filesystem;

constexpr const char* kSetUp = "set-up";
constexpr const char* kFinding = "finding";

/// "runs/demo/thought" -> "thought".
std::string last_part(const std::string& folder) {
  const fs::path path = fs::path(folder).lexically_normal();
  const std::string name = (path.has_filename() ? path : path.parent_path()).filename().string();
  return name.empty() || name == "." ? fs::absolute(path).lexically_normal().parent_path().filename().string() : name;
}

/// The objects of a list, each with its place: "experiment.json: arms[0]".
std::vector<JsonLine> objects(const JsonLine& in, const std::string& key) {
  const Json& list = in.at(key);
  if (!list.is_array()) in.error("\"" + key + "\" is a list of objects");
  std::vector<JsonLine> all;
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string place = concat(in.place(), ": ", key, "[", i, "]");
    if (!list[i].is_object()) fail(place, ": is a ", list[i].type_name(), ", not an object");
    all.emplace_back(list[i], place);
  }
  return all;
}

std::vector<std::string> strings(const JsonLine& in, const std::string& key) {
  const Json& list = in.at(key);
  if (!list.is_array()) in.error("\"" + key + "\" is a list of strings");
  std::vector<std::string> all;
  for (const Json& item : list) {
    if (!item.is_string()) in.error("\"" + key + "\" is a list of strings");
    all.push_back(item.get<std::string>());
  }
  return all;
}

ExperimentArm arm_of(const JsonLine& line, const fs::path& folder) {
  ExperimentArm arm{line.string("name"), {}, strings(line, "runs")};
  arm.label = line.has("label") ? line.string("label") : arm.name;
  if (arm.runs.empty()) line.error("\"runs\" is empty; name at least one run's folder");
  for (std::string& run : arm.runs) run = (folder / run).string();  // an absolute one stays
  return arm;
}

Claim claim_of(const JsonLine& line) {
  Claim claim{line.string("id"), Claim::Kind::finding, false, line.string("text")};
  const std::string kind = line.string("kind");
  if (kind != kSetUp && kind != kFinding)
    line.error(concat("\"kind\" is \"", kind, "\"; write \"", kSetUp, "\" or \"", kFinding, "\""));
  if (kind == kSetUp) claim.kind = Claim::Kind::set_up;
  if (!line.at("held").is_boolean()) line.error("\"held\" is true or false");
  claim.held = line.at("held").get<bool>();
  return claim;
}

}  // namespace

Json experiment_to_json(const Experiment& e) {
  Json json{{"title", e.title},
            {"introduction", e.introduction},
            {"seed_recipe", e.seed_recipe},
            {"arms", Json::array()},
            {"claims", Json::array()}};
  for (const ExperimentArm& arm : e.arms)
    json["arms"].push_back({{"name", arm.name}, {"label", arm.label}, {"runs", arm.runs}});
  for (const Claim& c : e.claims) {
    json["claims"].push_back({{"id", c.id},
                              {"kind", c.kind == Claim::Kind::set_up ? kSetUp : kFinding},
                              {"held", c.held},
                              {"text", c.text}});
  }
  return json;
}

Experiment read_experiment(const std::string& folder) {
  const std::string file = (fs::path(folder) / "experiment.json").string();
  const Json json = parse_json(read_text_file(file), file);
  if (!json.is_object()) fail(file, ": an experiment is a JSON object");
  const JsonLine line(json, file);
  Experiment e;
  e.title = line.string("title");
  if (line.has("introduction")) e.introduction = strings(line, "introduction");
  if (line.has("seed_recipe")) {
    e.seed_recipe = line.at("seed_recipe");
    if (!e.seed_recipe.is_object()) line.error("\"seed_recipe\" is an object or null");
  }
  std::set<std::string> names;
  for (const JsonLine& arm : objects(line, "arms")) {
    e.arms.push_back(arm_of(arm, folder));
    if (!names.insert(e.arms.back().name).second) arm.error("a second arm named \"" + e.arms.back().name + "\"");
  }
  if (e.arms.empty()) line.error("\"arms\" is empty; name at least one arm with its runs");
  if (line.has("claims"))
    for (const JsonLine& claim : objects(line, "claims")) e.claims.push_back(claim_of(claim));
  return e;
}

Experiment experiment_of_runs(const std::vector<std::string>& folders, const std::string& title) {
  if (folders.empty()) fail("report: give at least one run's folder");
  std::set<std::string> names;
  for (const std::string& folder : folders) names.insert(last_part(folder));
  const bool told_apart = names.size() == folders.size();
  Experiment e;
  std::string joined;
  for (const std::string& folder : folders) {
    const std::string name = told_apart ? last_part(folder) : folder;
    e.arms.push_back({name, name, {folder}});
    joined += (joined.empty() ? "" : ", ") + name;
  }
  e.title = title.empty() ? "Thought Preference Optimization: " + joined : title;
  return e;
}

}  // namespace thinker
