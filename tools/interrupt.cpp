#include "tools/interrupt.h"

#include <signal.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string_view>

#include "tensor/check.h"

namespace thinker {

namespace {

constexpr std::array kSignals = {SIGINT, SIGTERM};

// All that a signal handler may touch: the one place where a global is needed.
volatile sig_atomic_t requests = 0;
volatile sig_atomic_t catching = 0;

void on_signal(int signal) {
  const int error = errno;
  if (requests != 0) {
    ::signal(signal, SIG_DFL);
    ::raise(signal);  // it waits until this handler returns, and then ends the program
  } else {
    requests = 1;
    constexpr std::string_view kNote = "stopping at the next safe point; once more stops at once\n";
    // On a terminal it stands behind the ^C of the keyboard.
    if (::isatty(STDERR_FILENO)) (void)!::write(STDERR_FILENO, " ", 1);
    (void)!::write(STDERR_FILENO, kNote.data(), kNote.size());
  }
  errno = error;
}

void set_handler(int signal, void (*handler)(int)) {
  struct sigaction old;
  if (::sigaction(signal, nullptr, &old) == 0 && old.sa_handler == SIG_IGN) return;
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;  // reads and writes go on; a wait in poll() ends, and its caller looks around
  ::sigaction(signal, &action, nullptr);
}

}  // namespace

Interrupt::Interrupt() {
  ENSURE(catching == 0, "Ctrl-C is being waited for already");
  catching = 1;
  requests = 0;
  for (int signal : kSignals) set_handler(signal, on_signal);
}

Interrupt::~Interrupt() {
  for (int signal : kSignals) set_handler(signal, SIG_DFL);
  catching = 0;
}

bool Interrupt::requested() const {
  return requests != 0;
}

}  // namespace thinker
