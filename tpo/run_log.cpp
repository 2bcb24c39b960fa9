#include "tpo/run_log.h"

#include <algorithm>
#include <filesystem>

#include "tensor/check.h"
#include "tensor/file.h"

namespace thinker {

namespace {

/// Whether the stage will write the line again. A torn last line belongs to whichever stage was interrupted.
bool is_repeated(const std::string& line, int64_t iteration, const std::string& stage, int64_t finished_epochs) {
  const Json object = Json::parse(line, nullptr, false);
  if (!object.is_object()) return true;
  const auto integer = [&](const char* key, int64_t otherwise) {
    const auto found = object.find(key);
    return found != object.end() && found->is_number_integer() ? found->get<int64_t>() : otherwise;
  };
  if (integer("iteration", -1) != iteration || object.value("stage", Json()) != stage) return false;
  const int64_t unknown = finished_epochs + 1;
  return std::min(integer("epoch", unknown), integer("select_epoch", unknown)) > finished_epochs;
}

}  // namespace

RunLog::RunLog(std::string path, const std::string& tensorboard, std::function<void(const Json&)> also)
    : path_(std::move(path)), also_(std::move(also)) {
  if (!tensorboard.empty()) tensorboard_.emplace(tensorboard);
}

void RunLog::begin(int64_t iteration, const std::string& stage, int64_t finished_epochs) {
  iteration_ = iteration;
  stage_ = stage;
  std::string text;
  std::vector<TensorBoardLog::Kept> kept;
  if (std::filesystem::exists(path_)) {
    std::ifstream old(path_, std::ios::binary);
    size_t number = 0;
    for (std::string line; std::getline(old, line); ++number) {
      if (is_repeated(line, iteration, stage, finished_epochs)) continue;
      text += line + "\n";
      kept.push_back({number, line});
    }
  }
  file_.close();
  write_file_atomically(path_, text);
  if (tensorboard_) tensorboard_->begin(kept);
  file_.open(path_, std::ios::binary | std::ios::app);
}

void RunLog::write(const Json& fields) {
  Json line{{"iteration", iteration_}, {"stage", stage_}};
  line.update(fields);
  const std::string text = dump_json(line);
  file_ << text << "\n" << std::flush;
  if (!file_) fail(path_, ": cannot be written (is the disk full?)");
  if (tensorboard_) tensorboard_->add(text);
  if (also_) also_(line);
}

}  // namespace thinker
