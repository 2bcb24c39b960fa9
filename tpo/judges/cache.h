// Verdicts that were paid for once: an append-only JSONL file of {"key", "judge", "verdict" or "error", "answer"}. The
// key is a hash of everything that the verdict depends on: who judges, how it is asked, what it was shown. A run that
// was interrupted, and another that asks the same, find it there and ask nobody.
#pragma once

#include <fstream>
#include <string>
#include <unordered_map>

#include "tpo/judge.h"

namespace thinker {

class VerdictCache {
 public:
  /// Reads the file where there is one. A torn last line (the process died while writing) is cut off. An empty path
  /// keeps verdicts in memory only. Throws Error "FILE:LINE: reason" on damage elsewhere.
  explicit VerdictCache(std::string path);

  /// Null when the key is not there.
  const PairJudged* find(const std::string& key) const;

  /// Keeps a verdict, on disk before it returns. `judge` is for a person who reads the file. Throws Error when it
  /// cannot be written.
  void add(const std::string& key, const std::string& judge, const PairJudged& judged);

 private:
  void read();

  std::string path_;
  std::ofstream file_;
  std::unordered_map<std::string, PairJudged> verdicts_;
};

}  // namespace thinker
