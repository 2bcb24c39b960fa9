// Plans of cuDNN's attention, made by cuDNN's own library for a GPU that is only described, since none need be there:
//   cudnn_plans LIBCUDNN SEQUENCES LONGEST HEADS KV_HEADS HEAD_DIM ...
// prints a line for each shape, forward and backward: its workspace, or why there is no plan.
// tests/prove_cudnn_plans.sh builds and runs it.
#include <cstdio>

#include "tensor/cuda/cudnn_attention.cpp"  // its graphs

namespace fe = cudnn_frontend;

namespace {

/// An H200, as cudnn-frontend writes a device down.
constexpr const char* kDevice =
    R"({"deviceName": "NVIDIA H200", "cudaDeviceId": 0, "deviceVer": 900, "driverVer": 13000,
  "maxGridSize": [2147483647, 65535, 65535], "maxBlockSize": [1024, 1024, 64], "regsPerBlock": 65536,
  "multiProcessorCount": 132, "smClockRateKHz": 1980000, "memClockRateKHz": 3201000, "l2CacheSize": 62914560,
  "warpSize": 32, "maxSharedMemoryPerBlock": 49152, "maxSharedMemoryPerBlockOptin": 232448,
  "reservedSharedMemoryPerBlock": 1024, "maxRegistersPerSM": 65536, "pciDeviceId": 0, "maxCtasPerSM": 32,
  "maxThreadsPerBlock": 1024, "maxThreadsPerSM": 2048, "isTccDriver": 0, "supportCoopLaunch": 1,
  "totalGlobalMem": 150000000000, "isIntegrated": 0})";

/// The workspace of the graph's plan, in bytes. Throws Error with cuDNN's reason where it makes none.
int64_t plan_workspace(fe::graph::Graph& graph, const std::shared_ptr<fe::DeviceProperties>& device) {
  const auto check = [](const char* step, fe::error_t status) {
    if (status.is_bad()) thinker::fail(step, ": ", status.get_message());
  };
  graph.set_device_properties(device).set_sm_version(90);
  check("validate", graph.validate());
  check("operation graph", graph.build_operation_graph());
  check("heuristics", graph.create_execution_plans({fe::HeurMode_t::A}));
  check("support", graph.check_support());
  check("plan", graph.build_plans());
  int64_t bytes = 0;
  check("workspace", graph.get_workspace_size(bytes));
  return bytes;
}

}  // namespace

int main(int argc, char** argv) {
  fe::cudnn_dlhandle = argc > 1 ? dlopen(argv[1], RTLD_NOW | RTLD_GLOBAL) : nullptr;
  const std::string_view description = kDevice;
  const auto device = std::make_shared<fe::DeviceProperties>();
  if (!fe::cudnn_dlhandle || device->deserialize({description.begin(), description.end()}).is_bad()) {
    std::printf("cuDNN's library, or the device's description, cannot be used\n");
    return 1;
  }
  std::printf("cuDNN %s\n", fe::detail::get_backend_version_string().c_str());
  setenv("CUDNN_FRONTEND_ATTN_DP_WORKSPACE_LIMIT", thinker::kDpLimit, 0);
  int failed = 0;
  for (int i = 2; i + 4 < argc; i += 5) {
    const thinker::PackedShape s{std::atoll(argv[i]),     std::atoll(argv[i + 1]), std::atoll(argv[i + 2]),
                                 std::atoll(argv[i + 3]), std::atoll(argv[i + 4]), 0.125};
    for (const bool backward : {false, true}) {
      std::printf("%lld x %lld, heads %lld / %lld of %lld, %s: ", static_cast<long long>(s.sequences),
                  static_cast<long long>(s.longest), static_cast<long long>(s.heads),
                  static_cast<long long>(s.kv_heads), static_cast<long long>(s.head_dim),
                  backward ? "backward" : "forward");
      try {
        const auto graph = backward ? thinker::draw_backward(s) : thinker::draw_forward(s);
        std::printf("%.1f MiB\n", static_cast<double>(plan_workspace(*graph, device)) / (1 << 20));
      } catch (const std::exception& e) {
        std::printf("%s\n", e.what());
        ++failed;
      }
    }
  }
  return failed > 0;
}
