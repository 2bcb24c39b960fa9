#include "tpo/judges/cache.h"

#include <filesystem>

#include "tensor/check.h"
#include "tensor/file.h"

namespace thinker {

namespace fs = std::filesystem;

VerdictCache::VerdictCache(std::string path) : path_(std::move(path)) {
  if (path_.empty()) return;
  if (fs::exists(path_)) read();
  file_.open(path_, std::ios::binary | std::ios::app);
  if (!file_) fail(path_, ": the judge's cache cannot be written; name another with \"cache\"");
}

void VerdictCache::read() {
  const std::string text = read_text_file(path_);
  const size_t whole = text.rfind('\n') == std::string::npos ? 0 : text.rfind('\n') + 1;
  if (whole != text.size()) fs::resize_file(path_, whole);
  int64_t number = 0;
  for (size_t begin = 0, end; begin < whole; begin = end + 1) {
    end = text.find('\n', begin);
    const std::string place = concat(path_, ":", ++number);
    const JsonLine line(parse_json(text.substr(begin, end - begin), place), place);
    PairJudged judged = parse_verdict(line);
    verdicts_[line.string("key")] = std::move(judged);
  }
}

const PairJudged* VerdictCache::find(const std::string& key) const {
  const auto found = verdicts_.find(key);
  return found == verdicts_.end() ? nullptr : &found->second;
}

void VerdictCache::add(const std::string& key, const std::string& judge, const PairJudged& judged) {
  verdicts_[key] = judged;
  if (path_.empty()) return;
  Json line{{"key", key}, {"judge", judge}};
  line.update(verdict_to_json(judged));
  file_ << dump_json(line) << "\n" << std::flush;
  if (!file_) fail(path_, ": cannot be written (is the disk full?)");
}

}  // namespace thinker
