#include "tpo/stages/train_state.h"

#include <charconv>
#include <filesystem>

#include "tensor/file.h"
#include "tpo/jsonl.h"

namespace thinker {

namespace {

namespace fs = std::filesystem;

/// Exact: hexadecimal, so that a resumed run continues with the same bits.
std::string exact(double x) {
  char text[64];
  const auto end = std::to_chars(text, text + sizeof text, x, std::chars_format::hex).ptr;
  return {text, end};
}

double from_exact(const std::string& text, const std::string& path) {
  double x = 0.0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), x, std::chars_format::hex);
  if (result.ec != std::errc() || result.ptr != text.data() + text.size())
    fail(path, ": \"", text, "\" is not a number");
  return x;
}

}  // namespace

bool TrainStateFolder::exists() const {
  const std::string fresh = state_ + ".new";
  if (!fs::exists(state_) && fs::exists(fresh + "/state.json")) fs::rename(fresh, state_);
  return fs::exists(file());
}

TrainState TrainStateFolder::read(size_t pairs, const std::string& begun_from) const {
  const std::string path = file();
  const JsonLine line(parse_json(read_text_file(path), path), path);
  TrainState state;
  state.begun_from = line.string("begun_from");
  state.epoch = line.integer("epoch");
  state.best_epoch = line.integer("best_epoch");
  state.best_score = from_exact(line.string("best_score"), path);
  for (const Json& r : line.at("reference")) {
    if (!r.is_array() || r.size() != 2 || !r[0].is_string() || !r[1].is_string())
      line.error("\"reference\" is damaged");
    state.reference.push_back({from_exact(r[0].get<std::string>(), path), from_exact(r[1].get<std::string>(), path)});
  }
  if (state.begun_from != begun_from || state.reference.size() != pairs)
    line.error("belongs to other pairs or another model; remove the folder to train this iteration again");
  return state;
}

int64_t TrainStateFolder::finished_epochs() const {
  if (!exists()) return 0;
  return JsonLine(parse_json(read_text_file(file()), file()), file()).integer("epoch");
}

std::string TrainStateFolder::fresh() const {
  fs::remove_all(state_ + ".new");
  return state_ + ".new";
}

/// At any moment one of the two states is whole, under its name or (between the two renames) under that of the new one:
/// see exists().
void TrainStateFolder::replace(const TrainState& state) const {
  Json reference = Json::array();
  for (const ReferenceLogps& r : state.reference) reference.push_back({exact(r.chosen), exact(r.rejected)});
  const Json json{{"begun_from", state.begun_from},
                  {"epoch", state.epoch},
                  {"best_epoch", state.best_epoch},
                  {"best_score", exact(state.best_score)},
                  {"reference", reference}};
  const std::string fresh = state_ + ".new", old = state_ + ".old";
  write_file_atomically(fresh + "/state.json", json.dump() + "\n");  // last: it says that the folder is whole
  fs::remove_all(old);
  if (fs::exists(state_)) fs::rename(state_, old);
  fs::rename(fresh, state_);
  fs::remove_all(old);
}

void TrainStateFolder::remove_best() const {
  fs::remove_all(best_);
}

void TrainStateFolder::remove() const {
  for (const std::string& part : {state_, state_ + ".new", state_ + ".old", best_}) fs::remove_all(part);
}

}  // namespace thinker
