// What the CUDA backend says when the GPU's memory is full. Without a GPU this is skipped, and says so.
#include <doctest/doctest.h>

#include <cstdio>
#include <memory>
#include <string>

#include "tensor/backend.h"

namespace thinker {

TEST_CASE("a GPU without memory says who has it, and how much it has been at most") {
  std::string why_not;
  const std::unique_ptr<Backend> gpu = make_cuda_backend(why_not);
  if (!gpu) {
    std::fprintf(stderr, "SKIP: a GPU without memory: %s\n", why_not.c_str());
    return;
  }
  constexpr int64_t kMiB = int64_t{1} << 20;
  void* weights = gpu->allocate(64 * kMiB, "weights");
  void* activations = gpu->allocate(48 * kMiB, "activations");
  gpu->free(activations);
  std::string message;
  try {
    gpu->allocate(gpu->memory_bytes(), "activations");
  } catch (const Error& e) {
    message = e.what();
  }
  INFO(message);
  CHECK(message.find("activations asked for ") != message.npos);
  CHECK(message.find("(activations: 0 MiB, at most 48; weights: 64 MiB, at most 64)") != message.npos);
  CHECK(message.find("--micro-tokens") != message.npos);
  gpu->free(weights);
  void* again = gpu->allocate(64 * kMiB, "weights");  // it goes on
  gpu->free(again);
}

}  // namespace thinker
