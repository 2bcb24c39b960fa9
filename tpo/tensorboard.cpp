#include "tpo/tensorboard.h"

#include <chrono>
#include <filesystem>

#include "tensor/check.h"
#include "tensor/file.h"

namespace thinker {

namespace {

namespace fs = std::filesystem;

double now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

/// What a line's scalars are called in common: "iter-1/eval" is "eval", "warmup/eval" is "eval_warmup".
std::string group_of(const Json& line) {
  const std::string stage = line.value("stage", "");
  if (line.contains("select_epoch")) return "select";
  const size_t slash = stage.find('/');
  if (slash == stage.npos) return stage;
  const std::string place = stage.substr(0, slash), name = stage.substr(slash + 1);
  return place.starts_with("iter-") ? name : name + "_" + place;
}

}  // namespace

ScalarEvent LogScalars::event_of(const Json& line) {
  const std::string group = group_of(line);
  const bool step = line.contains("step");
  if (step && group == "train") ++steps_;
  ScalarEvent event;
  event.step = group == "train" || group == "select" ? steps_
               : step                                ? line["step"].get<int64_t>()
                                                     : line.value("iteration", int64_t{0});
  for (const auto& [name, value] : line.items()) {
    const bool place = name == "iteration" || name == "step" || name == "epoch" || name == "select_epoch";
    if (value.is_number() && !place) event.scalars.emplace_back(group + "/" + name, value.get<double>());
  }
  if (const auto categories = line.find("categories"); categories != line.end())
    for (const auto& [name, entry] : categories->items())
      event.scalars.emplace_back(group + "/score/" + name, entry.at("score").get<double>());
  return event;
}

TensorBoardLog::TensorBoardLog(std::string folder) : path_(std::move(folder) + "/events.out.tfevents.thinker") {}

void TensorBoardLog::begin(const std::vector<Kept>& lines) {
  fs::create_directories(fs::path(path_).parent_path());
  const std::string old = fs::exists(path_) ? read_text_file(path_) : "";
  const std::vector<double> times = read_wall_times(old);
  const auto time_of = [&](size_t record) { return record < times.size() ? times[record] : now(); };
  scalars_ = {};
  std::string file = version_record(time_of(0));
  for (const Kept& kept : lines) {
    ScalarEvent event = scalars_.event_of(parse_json(kept.line, path_));
    event.wall_time = time_of(kept.was + 1);
    file += event_record(event);
  }
  file_.close();
  if (file != old) write_file_atomically(path_, file);
  file_.open(path_, std::ios::binary | std::ios::app);
}

void TensorBoardLog::add(const std::string& line) {
  ScalarEvent event = scalars_.event_of(parse_json(line, path_));
  event.wall_time = now();
  file_ << event_record(event) << std::flush;
  if (!file_) fail(path_, ": cannot be written (is the disk full?)");
}

}  // namespace thinker
