// What a real GPU would not forgive, the emulated one must not, either: otherwise kernels that pass here prove little.
#include <cuda_pipeline.h>
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tensor/device.h"

namespace {

struct DeviceArray {
  explicit DeviceArray(size_t count) { REQUIRE(cudaMalloc(&memory, count * sizeof(float)) == cudaSuccess); }
  ~DeviceArray() { cudaFree(memory); }
  float* get() const { return static_cast<float*>(memory); }
  void* memory = nullptr;
};

class EmulatedStream {
 public:
  EmulatedStream() { REQUIRE(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking) == cudaSuccess); }
  ~EmulatedStream() { cudaStreamDestroy(stream_); }
  cudaStream_t get() const { return stream_; }

  template <class... Parameters, class... Arguments>
  cudaError_t start(void (*kernel)(Parameters...), unsigned threads, Arguments... arguments) {
    cudaLaunchConfig_t config{};
    config.blockDim.x = threads;
    config.stream = stream_;
    return cudaLaunchKernelEx(&config, kernel, arguments...);
  }
  std::vector<float> read(const DeviceArray& from, size_t count) {
    std::vector<float> values(count);
    CHECK(cudaMemcpyAsync(values.data(), from.memory, count * sizeof(float), cudaMemcpyDeviceToHost, stream_) ==
          cudaSuccess);
    CHECK(cudaStreamSynchronize(stream_) == cudaSuccess);
    return values;
  }

 private:
  cudaStream_t stream_;
};

constexpr unsigned kBlock = 256;

/// Every thread reads what another has written.
void exchange_kernel(float* out, bool barrier) {
  __shared__ float shared[kBlock];
  shared[threadIdx.x] = -1.0f;
  __syncthreads();
  shared[threadIdx.x] = static_cast<float>(threadIdx.x);
  if (barrier) __syncthreads();
  out[threadIdx.x] = shared[kBlock - 1 - threadIdx.x];
}

void lost_lane_kernel(int* lanes_elsewhere) {
  if (threadIdx.x == 5)
    __syncthreads();
  else
    *lanes_elsewhere = __shfl_xor_sync(0xffffffffu, 1, 1);
}

void two_collectives_kernel() {
  if (threadIdx.x % 2 == 0)
    __shfl_xor_sync(0xffffffffu, 1, 1);
  else
    __ballot_sync(0xffffffffu, 1);
}

/// Warps that have ended are not waited for.
void early_end_kernel(float* out) {
  if (threadIdx.x >= 64) return;
  __syncthreads();
  out[threadIdx.x] = 1.0f;
}

void early_read_kernel(float* out, const float* from, bool waits) {
  __shared__ float shared[4] __align__(16);
  __pipeline_memcpy_async(shared, from, 16);
  __pipeline_commit();
  if (waits) __pipeline_wait_prior(0);
  out[0] = shared[3];
  __pipeline_wait_prior(0);
}

void read_vector_kernel(float* out, const float* from) {
  out[threadIdx.x] = reinterpret_cast<const float4*>(from)->w;
}

/// Whether a process of its own that does this work ends as it should.
bool survives(const std::function<void()>& work) {
  const pid_t child = fork();
  if (child == 0) {
    std::signal(SIGSEGV, SIG_DFL);
    if (!std::freopen("/dev/null", "w", stderr)) _exit(2);
    work();
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

void add_one_kernel(float* x) {
  x[threadIdx.x] += 1.0f;
}

}  // namespace

TEST_CASE("emulated GPU: threads see what others wrote after a barrier, and not before all have written") {
  EmulatedStream stream;
  const DeviceArray out(kBlock);
  for (const bool barrier : {true, false}) {
    REQUIRE(stream.start(exchange_kernel, kBlock, out.get(), barrier) == cudaSuccess);
    const std::vector<float> found = stream.read(out, kBlock);
    size_t right = 0;
    for (size_t i = 0; i < kBlock; ++i) right += found[i] == static_cast<float>(kBlock - 1 - i) ? 1 : 0;
    CHECK((right == kBlock) == barrier);
  }
}

TEST_CASE("emulated GPU: collectives in which some threads take no part are errors; warps that have ended are none") {
  EmulatedStream stream;
  const DeviceArray out(kBlock);
  REQUIRE(stream.start(lost_lane_kernel, 32, static_cast<int*>(out.memory)) == cudaSuccess);
  CHECK(cudaStreamSynchronize(stream.get()) == cudaErrorLaunchFailure);
  REQUIRE(stream.start(two_collectives_kernel, 32) == cudaSuccess);
  CHECK(cudaStreamSynchronize(stream.get()) == cudaErrorLaunchFailure);
  REQUIRE(stream.start(early_end_kernel, kBlock, out.get()) == cudaSuccess);
  CHECK(stream.read(out, 64) == std::vector<float>(64, 1.0f));
}

TEST_CASE("emulated GPU: a copy into shared memory is there after the wait for it") {
  EmulatedStream stream;
  const DeviceArray from(4), out(1);
  const std::vector<float> values{1, 2, 3, 4};
  cudaMemcpyAsync(from.memory, values.data(), 16, cudaMemcpyHostToDevice, stream.get());
  REQUIRE(stream.start(early_read_kernel, 32, out.get(), from.get(), true) == cudaSuccess);
  CHECK(stream.read(out, 1)[0] == 4.0f);
  REQUIRE(stream.start(early_read_kernel, 32, out.get(), from.get(), false) == cudaSuccess);
  CHECK(std::isnan(stream.read(out, 1)[0]));
}

TEST_CASE("emulated GPU: its memory begins as NaN, is not there for the host, and has an end") {
  EmulatedStream stream;
  const DeviceArray x(1024);
  CHECK(std::isnan(stream.read(x, 1)[0]));
  CHECK_FALSE(survives([&] { *static_cast<volatile float*>(x.memory) = 1.0f; }));
  for (const size_t place : {1024 - 32, 1024 - 31})
    CHECK(survives([&] {
            stream.start(add_one_kernel, 32, x.get() + place);
            cudaStreamSynchronize(stream.get());
          }) == (place == 1024 - 32));
}

TEST_CASE("emulated GPU: a vector that is not aligned is an error") {
  EmulatedStream stream;
  const DeviceArray out(32), from(32);
  for (const size_t place : {0, 4, 2})
    CHECK(survives([&] {
            stream.start(read_vector_kernel, 32, out.get(), static_cast<const float*>(from.get()) + place);
            cudaStreamSynchronize(stream.get());
          }) == (place % 4 == 0));
}

TEST_CASE("emulated GPU: one whose memory others have is an error for device cuda, and left alone by device auto") {
  size_t left = 0, total = 0;
  REQUIRE(cudaMemGetInfo(&left, &total) == cudaSuccess);
  const auto others = std::make_unique<DeviceArray>((left - (1 << 20)) / sizeof(float));
  CHECK(thinker::open_device("auto")->backend().kind() == "cpu");
  std::string message;
  try {
    thinker::open_device("cuda");
  } catch (const thinker::Error& e) {
    message = e.what();
  }
  INFO(message);
  CHECK(message.starts_with("device cuda: the GPU cannot be used: CUDA: out of memory: scratch memory asked for "));
  CHECK(message.find("CUDA_VISIBLE_DEVICES") != message.npos);
  CHECK(message.find("--micro-tokens") == message.npos);  // no program of ours has the memory
}

TEST_CASE("emulated GPU: work waits in its stream: pinned memory is read late, other memory of the host at once") {
  EmulatedStream stream;
  const DeviceArray x(1);
  void* pinned = nullptr;
  REQUIRE(cudaMallocHost(&pinned, sizeof(float)) == cudaSuccess);
  float value = 1.0f;
  for (void* host : {pinned, static_cast<void*>(&value)}) {
    *static_cast<float*>(host) = 1.0f;
    cudaMemcpyAsync(x.memory, host, sizeof(float), cudaMemcpyHostToDevice, stream.get());
    *static_cast<float*>(host) = 2.0f;
    CHECK(stream.read(x, 1)[0] == (host == pinned ? 2.0f : 1.0f));
  }
  cudaFreeHost(pinned);
}

TEST_CASE("emulated GPU: a capture keeps what is started, and fails where something is waited for or allocated") {
  EmulatedStream stream;
  const DeviceArray x(32);
  cudaMemsetAsync(x.memory, 0, 32 * sizeof(float), stream.get());
  cudaGraph_t graph = nullptr;
  cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal);
  REQUIRE(stream.start(add_one_kernel, 32, x.get()) == cudaSuccess);
  REQUIRE(cudaStreamEndCapture(stream.get(), &graph) == cudaSuccess);
  CHECK(stream.read(x, 1)[0] == 0.0f);
  cudaGraphExec_t executable = nullptr;
  REQUIRE(cudaGraphInstantiateWithFlags(&executable, graph, 0) == cudaSuccess);
  cudaGraphDestroy(graph);
  for (int i = 0; i < 3; ++i) cudaGraphLaunch(executable, stream.get());
  CHECK(stream.read(x, 1)[0] == 3.0f);
  cudaGraphExecDestroy(executable);

  void* p = nullptr;
  cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal);
  CHECK(cudaMalloc(&p, 4) == cudaErrorStreamCaptureUnsupported);
  CHECK(cudaStreamEndCapture(stream.get(), &graph) == cudaErrorStreamCaptureInvalidated);
  cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal);
  CHECK(cudaStreamSynchronize(stream.get()) == cudaErrorStreamCaptureUnsupported);
  CHECK(cudaStreamEndCapture(stream.get(), &graph) == cudaErrorStreamCaptureInvalidated);
}

TEST_CASE("emulated GPU: launches that CUDA refuses") {
  EmulatedStream stream;
  const DeviceArray x(32);
  CHECK(stream.start(add_one_kernel, 2048, x.get()) == cudaErrorInvalidConfiguration);
  cudaLaunchConfig_t config{};
  config.blockDim.x = 32;
  config.stream = stream.get();
  config.gridDim.x = 0;
  CHECK(cudaLaunchKernelEx(&config, add_one_kernel, x.get()) == cudaErrorInvalidConfiguration);
  config.gridDim.x = 1;
  config.dynamicSmemBytes = (48 << 10) + 1;  // more than a kernel has without asking
  CHECK(cudaLaunchKernelEx(&config, add_one_kernel, x.get()) == cudaErrorInvalidConfiguration);
  const auto* kernel = reinterpret_cast<const void*>(add_one_kernel);
  CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 64 << 10) == cudaSuccess);
  CHECK(cudaLaunchKernelEx(&config, add_one_kernel, x.get()) == cudaSuccess);
  CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 128 << 10) == cudaErrorInvalidValue);
}
