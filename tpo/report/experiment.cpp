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

ExperimentArm arm_of(const JsonLine& line, const fs::path& folder) {
  ExperimentArm arm{line.string("name"), {}, line.strings("runs")};
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

Exhibit exhibit_of(const JsonLine& line) {
  Exhibit exhibit{line.string("title"), line.string("words"), line.string("y_title"), {}, line.strings("headers"), {}};
  for (const JsonLine& curve : line.objects("lines"))
    exhibit.lines.push_back({curve.string("name"), curve.numbers("values")});
  for (const JsonLine& row : line.objects("rows")) {
    exhibit.rows.push_back(row.strings("cells"));
    if (exhibit.rows.back().size() != exhibit.headers.size())
      row.error(concat("has ", exhibit.rows.back().size(), " cells under ", exhibit.headers.size(), " headers"));
  }
  return exhibit;
}

Json exhibit_to_json(const Exhibit& e) {
  Json json{{"title", e.title},     {"words", e.words},       {"y_title", e.y_title},
            {"headers", e.headers}, {"lines", Json::array()}, {"rows", Json::array()}};
  for (const Exhibit::Line& line : e.lines) json["lines"].push_back({{"name", line.name}, {"values", line.values}});
  for (const auto& row : e.rows) json["rows"].push_back({{"cells", row}});
  return json;
}

}  // namespace

Json experiment_to_json(const Experiment& e) {
  Json json{{"title", e.title},      {"introduction", e.introduction}, {"seed_recipe", e.seed_recipe},
            {"arms", Json::array()}, {"claims", Json::array()},        {"exhibits", Json::array()}};
  for (const ExperimentArm& arm : e.arms)
    json["arms"].push_back({{"name", arm.name}, {"label", arm.label}, {"runs", arm.runs}});
  for (const Claim& c : e.claims) {
    json["claims"].push_back({{"id", c.id},
                              {"kind", c.kind == Claim::Kind::set_up ? kSetUp : kFinding},
                              {"held", c.held},
                              {"text", c.text}});
  }
  for (const Exhibit& exhibit : e.exhibits) json["exhibits"].push_back(exhibit_to_json(exhibit));
  return json;
}

Experiment read_experiment(const std::string& folder) {
  const std::string file = (fs::path(folder) / "experiment.json").string();
  const Json json = parse_json(read_text_file(file), file);
  if (!json.is_object()) fail(file, ": an experiment is a JSON object");
  const JsonLine line(json, file);
  Experiment e;
  e.title = line.string("title");
  if (line.has("introduction")) e.introduction = line.strings("introduction");
  if (line.has("seed_recipe")) {
    e.seed_recipe = line.at("seed_recipe");
    if (!e.seed_recipe.is_object()) line.error("\"seed_recipe\" is an object or null");
  }
  std::set<std::string> names;
  for (const JsonLine& arm : line.objects("arms")) {
    e.arms.push_back(arm_of(arm, folder));
    if (!names.insert(e.arms.back().name).second) arm.error("a second arm named \"" + e.arms.back().name + "\"");
  }
  if (e.arms.empty()) line.error("\"arms\" is empty; name at least one arm with its runs");
  if (line.has("claims"))
    for (const JsonLine& claim : line.objects("claims")) e.claims.push_back(claim_of(claim));
  if (line.has("exhibits"))
    for (const JsonLine& exhibit : line.objects("exhibits")) e.exhibits.push_back(exhibit_of(exhibit));
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
