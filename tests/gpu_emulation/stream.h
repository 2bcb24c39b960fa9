// Work for the emulated GPU, in the order in which it was given.
#pragma once

#include <cuda_runtime_api.h>

#include <functional>
#include <vector>

namespace emulation {

using Work = std::function<void()>;

struct Graph {
  std::vector<Work> work;
};

struct Stream {
  std::vector<Work> waiting;  // until somebody synchronizes
  bool captures = false, capture_failed = false;
  Graph captured;

  void add(Work work) { (captures ? captured.work : waiting).push_back(std::move(work)); }
};

}  // namespace emulation
