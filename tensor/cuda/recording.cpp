// Recordings of launches as CUDA graphs: what `work` starts on the stream is captured instead, and starts later as a
// whole, at a fraction of the time that single launches take.
#include <cstdio>

#include "tensor/cuda/cuda_backend.h"
#include "tensor/cuda/cuda_check.h"

namespace thinker {

namespace {

class CudaGraph final : public Recording {
 public:
  CudaGraph(cudaStream_t stream, cudaGraph_t graph) : stream_(stream) {
    CUDA_CHECK(cudaGraphInstantiateWithFlags(&executable_, graph, 0));
  }
  ~CudaGraph() override { cudaGraphExecDestroy(executable_); }
  CudaGraph(const CudaGraph&) = delete;
  CudaGraph& operator=(const CudaGraph&) = delete;

  void run() override { CUDA_CHECK(cudaGraphLaunch(executable_, stream_)); }

 private:
  cudaStream_t stream_;
  cudaGraphExec_t executable_ = nullptr;
};

/// Ends a capture with its owner, whatever became of it: else the stream would take no other work.
class Capture {
 public:
  explicit Capture(cudaStream_t stream) : stream_(stream) {
    // Other threads may go on as they like: what they do is not on this stream.
    CUDA_CHECK(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal));
  }
  ~Capture() {
    if (!ended_) cudaStreamEndCapture(stream_, &graph_);
    if (graph_) cudaGraphDestroy(graph_);
    cudaGetLastError();  // forgets what ended an unfinished capture
  }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  cudaGraph_t end() {
    ended_ = true;
    CUDA_CHECK(cudaStreamEndCapture(stream_, &graph_));
    return graph_;
  }

 private:
  cudaStream_t stream_;
  cudaGraph_t graph_ = nullptr;
  bool ended_ = false;
};

}  // namespace

std::unique_ptr<Recording> CudaBackend::record(const std::function<void()>& work) {
  if (!records_) return nullptr;
  try {
    Capture capture(stream());
    work();
    return std::make_unique<CudaGraph>(stream(), capture.end());
  } catch (const Error& e) {
    records_ = false;
    std::fprintf(stderr, "steps of decoding are not recorded: %s\n", e.what());
    return nullptr;
  }
}

}  // namespace thinker
