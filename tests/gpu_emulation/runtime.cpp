// The emulated GPU's memory, streams and launches. It is as strict as CUDA may be:
// - Work waits in its stream until somebody synchronizes; only then is pinned memory of the host read.
// - Memory of the device is not there for the host: touching it outside of a kernel or a copy is a segmentation fault,
//   and so is running past the end of an array. It begins as NaN.
// - While a stream is captured nothing may be allocated, freed or waited for.
// - A block has the shared memory that the smallest of the supported GPUs has, and must ask for more than 48 KiB.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>

#include "tests/gpu_emulation/cuda_runtime.h"
#include "tests/gpu_emulation/stream.h"

namespace thinker {
// The dynamic shared memory of kernel.cuh.
extern thread_local char shared_memory[];
}  // namespace thinker

namespace emulation {

namespace {

constexpr size_t kSharedBytes = 99 << 10, kSharedUnasked = 48 << 10;
constexpr size_t kDeviceBytes = size_t{4} << 30;
constexpr size_t kAligned = 256;
constexpr size_t kPoisoned = 1 << 20;  // of an array: a larger one would take long

struct Array {
  void* mapping;
  size_t mapped;
};

struct Gpu {
  std::map<void*, Array> arrays;
  std::map<const char*, size_t> pinned;
  std::set<cudaStream_t> streams;
  std::map<const void*, size_t> shared_bytes;  // that kernels have asked for
  size_t used = 0;
};

Gpu& gpu() {
  static Gpu one;
  return one;
}

/// Device memory is there as long as this is.
class Access {
 public:
  Access() { protect(PROT_READ | PROT_WRITE); }
  ~Access() { protect(PROT_NONE); }

 private:
  static void protect(int how) {
    for (const auto& [p, array] : gpu().arrays) mprotect(array.mapping, array.mapped, how);
  }
};

cudaError_t run_all(Stream& stream) {
  if (stream.waiting.empty()) return cudaSuccess;
  const Access access;
  try {
    for (const Work& work : stream.waiting) work();
  } catch (const std::exception& e) {
    std::fprintf(stderr, "emulated GPU: %s\n", e.what());
    stream.waiting.clear();
    return cudaErrorLaunchFailure;
  }
  stream.waiting.clear();
  return cudaSuccess;
}

/// For calls that a capture does not allow, and that otherwise wait for all work.
cudaError_t finish_all() {
  cudaError_t result = cudaSuccess;
  for (Stream* stream : gpu().streams)
    if (stream->captures) {
      stream->capture_failed = true;
      return cudaErrorStreamCaptureUnsupported;
    }
  for (Stream* stream : gpu().streams)
    if (const cudaError_t status = run_all(*stream); status != cudaSuccess) result = status;
  return result;
}

bool is_pinned(const void* p) {
  const auto* at = static_cast<const char*>(p);
  auto next = gpu().pinned.upper_bound(at);
  if (next == gpu().pinned.begin()) return false;
  const auto& [begin, bytes] = *--next;
  return at < begin + bytes;
}

}  // namespace

cudaError_t launch(const cudaLaunchConfig_t& config, const void* kernel, std::function<void()> body) {
  const unsigned blocks = config.gridDim.x, threads = config.blockDim.x;
  const size_t shared = config.dynamicSmemBytes;
  const auto asked = gpu().shared_bytes.find(kernel);
  const size_t allowed = asked == gpu().shared_bytes.end() ? kSharedUnasked : asked->second;
  if (blocks == 0 || threads == 0 || threads % kWarp != 0 || threads > kMostThreads || shared > allowed)
    return cudaErrorInvalidConfiguration;
  config.stream->add([=, body = std::move(body)] {
    std::exception_ptr failure;
#pragma omp parallel for schedule(dynamic, 1) if (blocks > 1)
    for (unsigned number = 0; number < blocks; ++number) {
      try {
        std::memset(thinker::shared_memory, 0xff, shared);
        run_block(number, static_cast<int>(threads), body);
      } catch (...) {
#pragma omp critical
        failure = std::current_exception();
      }
    }
    if (failure) std::rethrow_exception(failure);
  });
  return cudaSuccess;
}

}  // namespace emulation

using namespace emulation;

thread_local char thinker::shared_memory[kSharedBytes] __attribute__((aligned(1024)));

const char* cudaGetErrorString(cudaError_t status) {
  switch (status) {
    case cudaSuccess: return "no error";
    case cudaErrorMemoryAllocation: return "out of memory";
    case cudaErrorInvalidConfiguration: return "invalid configuration argument";
    case cudaErrorLaunchFailure: return "unspecified launch failure";
    case cudaErrorStreamCaptureUnsupported: return "operation not permitted when stream is capturing";
    case cudaErrorStreamCaptureInvalidated: return "operation failed due to a previous error during capture";
    default: return "invalid argument";
  }
}
const char* cudaGetErrorName(cudaError_t status) {
  return cudaGetErrorString(status);
}
cudaError_t cudaGetLastError() {
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  std::snprintf(properties->name, sizeof properties->name, "a GPU in software");
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  return device == 0 ? cudaSuccess : cudaErrorInvalidValue;
}

// An array ends at the end of its mapping, but for its alignment; a page that nobody may touch follows.
cudaError_t cudaMalloc(void** p, size_t bytes) {
  if (const cudaError_t status = finish_all(); status != cudaSuccess) return status;
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE)), size = (bytes + kAligned - 1) / kAligned * kAligned;
  const size_t mapped = (size + page - 1) / page * page;
  if (gpu().used + mapped > kDeviceBytes) return cudaErrorMemoryAllocation;
  void* mapping = mmap(nullptr, mapped + page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) return cudaErrorMemoryAllocation;
  *p = static_cast<char*>(mapping) + mapped - size;
  gpu().arrays[*p] = {mapping, mapped};
  gpu().used += mapped;
  const Access access;
  std::memset(*p, 0xff, std::min(bytes, kPoisoned));
  return cudaSuccess;
}

cudaError_t cudaFree(void* p) {
  if (!p) return cudaSuccess;
  if (const cudaError_t status = finish_all(); status != cudaSuccess) return status;
  const auto at = gpu().arrays.find(p);
  if (at == gpu().arrays.end()) return cudaErrorInvalidValue;
  munmap(at->second.mapping, at->second.mapped + static_cast<size_t>(sysconf(_SC_PAGESIZE)));
  gpu().used -= at->second.mapped;
  gpu().arrays.erase(at);
  return cudaSuccess;
}

cudaError_t cudaMallocHost(void** p, size_t bytes) {
  *p = std::malloc(bytes);
  if (!*p) return cudaErrorMemoryAllocation;
  gpu().pinned[static_cast<char*>(*p)] = bytes;
  return cudaSuccess;
}

cudaError_t cudaFreeHost(void* p) {
  const cudaError_t status = finish_all();
  gpu().pinned.erase(static_cast<char*>(p));
  std::free(p);
  return status;
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  *total = kDeviceBytes;
  *free = kDeviceBytes - gpu().used;
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  if (kind == cudaMemcpyHostToDevice && !is_pinned(from)) {
    const auto* begin = static_cast<const char*>(from);
    stream->add(
        [to, copied = std::vector<char>(begin, begin + bytes)] { std::memcpy(to, copied.data(), copied.size()); });
  } else {
    stream->add([=] { std::memmove(to, from, bytes); });
  }
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* p, int value, size_t bytes, cudaStream_t stream) {
  stream->add([=] { std::memset(p, value, bytes); });
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = new Stream;
  gpu().streams.insert(*stream);
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const cudaError_t status = run_all(*stream);
  gpu().streams.erase(stream);
  delete stream;
  return status;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (stream->captures) {
    stream->capture_failed = true;
    return cudaErrorStreamCaptureUnsupported;
  }
  return run_all(*stream);
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  stream->captures = true;
  stream->capture_failed = false;
  stream->captured.work.clear();
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = nullptr;
  stream->captures = false;
  if (stream->capture_failed) return cudaErrorStreamCaptureInvalidated;
  *graph = new Graph(std::move(stream->captured));
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  *executable = new Graph(*graph);
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  for (const Work& work : executable->work) stream->add(work);
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t* event) {
  *event = nullptr;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t) {
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t) {
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t) {
  return finish_all();
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t, cudaEvent_t) {
  *milliseconds = 0;
  return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute, int value) {
  if (value < 0 || static_cast<size_t>(value) > kSharedBytes) return cudaErrorInvalidValue;
  gpu().shared_bytes[kernel] = static_cast<size_t>(value);
  return cudaSuccess;
}
