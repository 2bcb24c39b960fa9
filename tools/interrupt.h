// Ctrl-C. The first one (SIGINT, or SIGTERM) only asks the program to stop: it goes on to where nothing of value is
// half done, and ends there. The second one ends it at once. That is safe, too, since files appear only when they are
// complete; what was half done is done again.
#pragma once

#include <exception>
#include <string>

namespace thinker {

/// Thrown where the work can end. Not an Error: nobody is to take it for a failure of what was being done.
class Stopped : public std::exception {
 public:
  explicit Stopped(std::string where_and_how_to_go_on) : text_(std::move(where_and_how_to_go_on)) {}
  const char* what() const noexcept override { return text_.c_str(); }

 private:
  std::string text_;
};

/// Catches the two signals for as long as it lives. One at a time. A signal that was ignored (nohup) stays so.
class Interrupt {
 public:
  Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;
  ~Interrupt();

  bool requested() const;
};

/// Exit status of a program that Ctrl-C ended.
inline constexpr int kStoppedStatus = 130;

}  // namespace thinker
