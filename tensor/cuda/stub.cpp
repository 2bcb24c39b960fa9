// Stands in for the CUDA backend in a build without CUDA.
#include "tensor/backend.h"

namespace thinker {

std::unique_ptr<Backend> make_cuda_backend(NoCuda& why_not) {
  why_not = {"this program was built without CUDA (make CUDA=1 builds it in)"};
  return nullptr;
}

}  // namespace thinker
