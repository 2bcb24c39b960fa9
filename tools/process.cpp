#include "tools/process.h"

#include <fcntl.h>
#include <omp.h>
#include <unistd.h>

#include <iostream>

namespace thinker {

namespace {

/// More than one each, for those who measure what that costs.
constexpr int kThreadsPerProcessor = 4;

}  // namespace

void keep_standard_streams() {
  // In this order: a file that is opened gets the lowest number that is free.
  for (int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(stream, F_GETFD) != -1) continue;
    // Opened the wrong way round, input and output fail instead of being empty and lost.
    (void)!::open("/dev/null", stream == STDOUT_FILENO ? O_RDONLY : O_WRONLY);
  }
}

void limit_threads() {
  const int asked = omp_get_max_threads(), most = kThreadsPerProcessor * omp_get_num_procs();
  if (asked <= most) return;
  omp_set_num_threads(most);
  std::cerr << "OMP_NUM_THREADS asks for " << asked << " threads: " << most << " are used, " << kThreadsPerProcessor
            << " for each processor\n";
}

}  // namespace thinker
