// What the CUDA backend says when the GPU's memory is full, and when an attention is asked for that is not there.
// Without a GPU this is skipped, and says so.
#include <doctest/doctest.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "tensor/backend.h"

namespace thinker {

TEST_CASE("a GPU without memory says who has it, and how much it has been at most") {
  NoCuda why_not;
  const std::unique_ptr<Backend> gpu = make_cuda_backend(why_not);
  if (!gpu) {
    std::fprintf(stderr, "SKIP: a GPU without memory: %s\n", why_not.reason.c_str());
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

TEST_CASE("a GPU takes the attention that THINKER_ATTENTION names, and no other word") {
  const char* set = std::getenv("THINKER_ATTENTION");
  const std::string before = set ? set : "";
  NoCuda why_not;
  const auto error = [&](const char* name) -> std::string {
    setenv("THINKER_ATTENTION", name, 1);
    try {
      make_cuda_backend(why_not);
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  CHECK(error("own") == "");
  if (!why_not.reason.empty()) {
    std::fprintf(stderr, "SKIP: a GPU's attention by name: %s\n", why_not.reason.c_str());
  } else {
    CHECK(error("flash") == "THINKER_ATTENTION=flash: is neither own nor cudnn");
    const std::string missing = error("cudnn");
    CHECK((missing.empty() || missing.starts_with("THINKER_ATTENTION=cudnn: ")));
  }
  if (set)
    setenv("THINKER_ATTENTION", before.c_str(), 1);
  else
    unsetenv("THINKER_ATTENTION");
}

}  // namespace thinker
