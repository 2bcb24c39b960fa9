// The `thinker` program.
#include <unistd.h>

#include <csignal>
#include <cstdlib>

#include "tools/command_line.h"
#include "tools/process.h"

namespace {

/// libgomp's waiting threads spin for milliseconds, which is ruinous when another program wants the processor. It reads
/// its settings when it is loaded, so the program starts itself once more with a shorter spin, unless the user has
/// chosen.
void limit_spinning(char** argv) {
  if (std::getenv("GOMP_SPINCOUNT") || std::getenv("OMP_WAIT_POLICY")) return;
  setenv("GOMP_SPINCOUNT", "2000", 1);
  execv("/proc/self/exe", argv);  // returns only where that is not possible; then all goes on as it is
}

}  // namespace

int main(int argc, char** argv) {
  thinker::keep_standard_streams();
  limit_spinning(argv);
  std::signal(SIGPIPE, SIG_IGN);  // a reader that goes away is an error of the write, not the end of the program
  std::signal(SIGXFSZ, SIG_IGN);  // and so is a limit on the size of files
  thinker::limit_threads();
  return thinker::run_command_line(argc, argv);
}
