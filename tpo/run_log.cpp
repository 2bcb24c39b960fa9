#include "tpo/run_log.h"

#include <filesystem>

#include "tensor/check.h"
#include "tensor/file.h"

namespace thinker {

namespace {

/// Whether a line of the log belongs to the stage. A torn last line belongs to whichever stage was interrupted.
bool belongs_to(const std::string& line, int64_t iteration, const std::string& stage) {
  const nlohmann::json object = nlohmann::json::parse(line, nullptr, false);
  if (!object.is_object()) return true;
  return object.value("iteration", int64_t{-1}) == iteration && object.value("stage", "") == stage;
}

}  // namespace

RunLog::RunLog(std::string path, std::function<void(const Json&)> also) : path_(std::move(path)), also_(std::move(also)) {}

void RunLog::begin(int64_t iteration, const std::string& stage) {
  iteration_ = iteration;
  stage_ = stage;
  std::string kept;
  if (std::filesystem::exists(path_)) {
    std::ifstream old(path_, std::ios::binary);
    for (std::string line; std::getline(old, line);) {
      if (!belongs_to(line, iteration, stage)) kept += line + "\n";
    }
  }
  file_.close();
  write_file_atomically(path_, kept);
  file_.open(path_, std::ios::binary | std::ios::app);
}

void RunLog::write(const Json& fields) {
  Json line{{"iteration", iteration_}, {"stage", stage_}};
  line.update(fields);
  file_ << dump_json(line) << "\n" << std::flush;
  if (!file_) fail(path_, ": cannot be written (is the disk full?)");
  if (also_) also_(line);
}

}  // namespace thinker
