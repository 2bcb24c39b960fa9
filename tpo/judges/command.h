// A judge of the user's own: any program that reads JSON lines and writes JSON lines.
//
//   stdin   {"id": 17, "prompt": [messages], "response": "…"}      ids are ours, and unique while the process lives
//   stdout  {"id": 17, "score": 0.8}  or  {"id": 17, "error": "…"}   in any order; higher is better
//
// Each line must be flushed.
//
// The process is started at the first use by /bin/sh and kept until the judge goes; one that ends or falls silent on
// the way is started anew, and asked again what it had not answered. What it says on stderr passes through.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "tpo/judge.h"

namespace thinker {

class CommandJudge : public Judge {
 public:
  /// timeout_s: the longest silence that is waited for while an answer is due.
  CommandJudge(std::string command, double timeout_s);
  CommandJudge(const CommandJudge&) = delete;
  CommandJudge& operator=(const CommandJudge&) = delete;
  ~CommandJudge() override;

  /// So every view has an answer of the program's own. Throws Error when a process ends or falls silent that never
  /// answered anything (the next one would not, either), with the view that it was given first; and when one breaks the
  /// protocol: a line that is not such an object, an unknown id, a second answer.
  std::vector<Judged> judge(std::span<const JudgeView> views, const OnJudged& on_judged = {}) override;

 private:
  struct Exchange;

  void start();
  void give(Exchange* exchange);
  void stop() noexcept;
  void run(Exchange* exchange, const OnJudged& on_judged);
  void take_line(const std::string& line, Exchange* exchange);
  [[noreturn]] void protocol_error(const std::string& reason, const std::string& line);
  std::string how_it_ended();

  std::string command_;
  double timeout_s_;
  pid_t pid_ = -1;  // also the process group
  int to_ = -1, from_ = -1, alive_ = -1;
  int64_t next_id_ = 1;
  std::string received_;   // what came after the last newline
  bool answered_ = false;  // anything at all, since it was started
};

}  // namespace thinker
