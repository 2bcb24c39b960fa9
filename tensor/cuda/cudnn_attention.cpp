// cuDNN's attention as graphs of cudnn-frontend. A graph is built for each shape when it is first met, and kept. Arrays
// are "ragged": (B, H, S, D) with the sequences behind each other, each as long as it is, told by its length and by
// where it begins. The log-sum-exp that cuDNN calls statistics is the one of Backend::attention_forward, and is kept
// where that keeps it, so that either's backward follows either's forward.
#define NV_CUDNN_FRONTEND_USE_DYNAMIC_LOADING
#include "tensor/cuda/cudnn_attention.h"

#include <cudnn_frontend.h>
#include <dlfcn.h>

#include <cstdlib>
#include <exception>
#include <map>
#include <unordered_map>

#include "tensor/cuda/cuda_check.h"

namespace cudnn_frontend {
void* cudnn_dlhandle = nullptr;  // cudnn-frontend looks up all of cuDNN's functions in it
}

namespace thinker {

namespace fe = cudnn_frontend;

namespace {

// A backward with sums in a fixed order asks for memory that grows with the square of the longest sequence. Beyond this
// we have better use for it.
constexpr int64_t kMostWorkspace = int64_t{1} << 30;
// On capability 9 cuDNN 9.25 has a slower one whose memory grows with the length. cudnn-frontend takes it where the
// other's would be larger than this many bytes, which leaves room for what both need beside.
constexpr const char* kDpLimit = "536870912";

// cuDNN 9.18.0. Before it the backward over ragged sequences left parts of its workspace uninitialised.
constexpr size_t kLeastVersion = 91800;

/// Names of the arrays of a graph.
enum Array : int64_t { kQ = 1, kK, kV, kOut, kLse, kDout, kDq, kDk, kDv, kLength, kPlaceQ, kPlaceKv, kPlaceLse };

/// A graph that was built, or null with the reason: cuDNN has none, or there is no memory for its workspace.
struct Plan {
  std::shared_ptr<fe::graph::Graph> graph;
  int64_t workspace = 0;
  std::string why_not;
};

/// The reason why there is no plan, or "" where one was built.
std::string build(Plan& plan, const std::shared_ptr<fe::graph::Graph>& graph, cudnnHandle_t handle) {
  try {
    if (auto status = graph->build(handle, {fe::HeurMode_t::A}); status.is_bad()) return status.get_message();
    if (auto status = graph->get_workspace_size(plan.workspace); status.is_bad()) return status.get_message();
  } catch (const std::exception& e) {
    return e.what();  // a function that this cuDNN lacks is looked up, and missed, while building
  }
  if (plan.workspace > kMostWorkspace)
    return concat("its workspace of ", plan.workspace >> 20, " MiB is larger than ", kMostWorkspace >> 20, " MiB");
  plan.graph = graph;
  return "";
}

struct FreeMemory {
  void operator()(void* p) const { cudaFree(p); }
};

using Tensor = std::shared_ptr<fe::graph::Tensor_attributes>;

/// A graph in the making, and the arrays that forward and backward have in common.
struct Drawing {
  explicit Drawing(const PackedShape& s) : s(s), graph(std::make_shared<fe::graph::Graph>()) {
    graph->set_io_data_type(fe::DataType_t::BFLOAT16)
        .set_intermediate_data_type(fe::DataType_t::FLOAT)
        .set_compute_data_type(fe::DataType_t::FLOAT);
    length = integers(kLength, s.sequences);
    place_q = integers(kPlaceQ, s.sequences + 1);
    place_kv = integers(kPlaceKv, s.sequences + 1);
    place_lse = integers(kPlaceLse, s.sequences + 1);
  }

  Tensor integers(Array name, int64_t n) {
    return graph->tensor(fe::graph::Tensor_attributes()
                             .set_uid(name)
                             .set_dim({n, 1, 1, 1})
                             .set_stride({1, 1, 1, 1})
                             .set_data_type(fe::DataType_t::INT32));
  }
  /// Gives an array of rows of heads * d numbers its name, shape and place.
  void describe(fe::graph::Tensor_attributes& x, Array name, int64_t heads, int64_t d, const Tensor& place) const {
    x.set_uid(name)
        .set_dim({s.sequences, heads, s.longest, d})
        .set_stride({s.longest * heads * d, d, heads * d, 1})
        .set_ragged_offset(place);
  }
  Tensor input(Array name, int64_t heads, int64_t d, const Tensor& place) {
    fe::graph::Tensor_attributes x;
    describe(x, name, heads, d, place);
    if (name == kLse) x.set_data_type(fe::DataType_t::FLOAT);
    return graph->tensor(x);
  }
  void output(const Tensor& x, Array name, int64_t heads, int64_t d, const Tensor& place) const {
    describe(*x, name, heads, d, place);
    x->set_output(true);
    if (name == kLse) x->set_data_type(fe::DataType_t::FLOAT);
  }
  Tensor query_rows(Array name) { return input(name, s.heads, s.head_dim, place_q); }
  Tensor key_rows(Array name) { return input(name, s.kv_heads, s.head_dim, place_kv); }
  template <class Options>
  void set_options(Options& options) const {
    options.set_attn_scale(static_cast<float>(s.scale))
        .set_causal_mask(true)
        .set_padding_mask(true)
        .set_seq_len_q(length)
        .set_seq_len_kv(length);
  }

  const PackedShape& s;
  std::shared_ptr<fe::graph::Graph> graph;
  Tensor length, place_q, place_kv, place_lse;
};

std::shared_ptr<fe::graph::Graph> draw_forward(const PackedShape& s) {
  Drawing d(s);
  const Tensor q = d.query_rows(kQ), k = d.key_rows(kK), v = d.key_rows(kV);
  auto options = fe::graph::SDPA_attributes().set_name("attention").set_generate_stats(true);
  d.set_options(options);
  const auto [out, lse] = d.graph->sdpa(q, k, v, options);
  d.output(out, kOut, s.heads, s.head_dim, d.place_q);
  d.output(lse, kLse, s.heads, 1, d.place_lse);
  return d.graph;
}

std::shared_ptr<fe::graph::Graph> draw_backward(const PackedShape& s) {
  Drawing d(s);
  const Tensor q = d.query_rows(kQ), k = d.key_rows(kK), v = d.key_rows(kV);
  const Tensor out = d.query_rows(kOut), dout = d.query_rows(kDout), lse = d.input(kLse, s.heads, 1, d.place_lse);
  auto options = fe::graph::SDPA_backward_attributes().set_name("attention backward").set_deterministic_algorithm(true);
  d.set_options(options);
  const auto [dq, dk, dv] = d.graph->sdpa_backward(q, k, v, out, dout, lse, options);
  d.output(dq, kDq, s.heads, s.head_dim, d.place_q);
  d.output(dk, kDk, s.kv_heads, s.head_dim, d.place_kv);
  d.output(dv, kDv, s.kv_heads, s.head_dim, d.place_kv);
  return d.graph;
}

}  // namespace

struct CudnnAttention::Graphs {
  cudnnHandle_t handle = nullptr;
  std::map<PackedShape, Plan> forward, backward;
  std::unique_ptr<void, FreeMemory> workspace;
  int64_t workspace_bytes = 0;

  ~Graphs() {
    forward.clear();
    backward.clear();
    if (handle) fe::detail::destroy_handle(handle);
  }

  template <class Draw>
  Plan& plan(std::map<PackedShape, Plan>& plans, const PackedShape& s, const Draw& draw) {
    const auto known = plans.find(s);
    if (known != plans.end()) return known->second;
    Plan& plan = plans[s];
    plan.why_not = build(plan, draw(s), handle);
    return plan;
  }

  /// Makes the workspace at least that large. False where there is no memory for it.
  bool grow_workspace(int64_t bytes) {
    if (bytes <= workspace_bytes) return true;
    workspace.reset();
    workspace_bytes = 0;
    void* memory = nullptr;
    const cudaError_t status = cudaMalloc(&memory, static_cast<size_t>(bytes));
    if (status == cudaErrorMemoryAllocation) {
      cudaGetLastError();  // forgets the error
      return false;
    }
    CUDA_CHECK(status);
    workspace.reset(memory);
    workspace_bytes = bytes;
    return true;
  }

  std::string run(Plan& plan, std::unordered_map<int64_t, void*> arrays, const PackedPlaces& places) {
    if (plan.graph && !grow_workspace(plan.workspace)) {
      plan.graph.reset();  // from now on our kernel, which needs none
      plan.why_not = concat("there is no memory for its workspace of ", plan.workspace >> 20, " MiB");
    }
    if (!plan.graph) return plan.why_not;
    arrays.insert({{kLength, places.length}, {kPlaceQ, places.q}, {kPlaceKv, places.kv}, {kPlaceLse, places.lse}});
    auto status = plan.graph->execute(handle, arrays, workspace.get());
    if (status.is_bad()) fail("cuDNN: attention failed: ", status.get_message(), "; make CUDNN=0 builds without cuDNN");
    return "";
  }
};

CudnnAttention::CudnnAttention(std::unique_ptr<Graphs> graphs) : graphs_(std::move(graphs)) {}
CudnnAttention::~CudnnAttention() = default;

std::unique_ptr<CudnnAttention> CudnnAttention::open(cudaStream_t stream, std::string& why_not) {
  if (!fe::cudnn_dlhandle) fe::cudnn_dlhandle = dlopen("libcudnn.so.9", RTLD_NOW | RTLD_GLOBAL);
  if (!fe::cudnn_dlhandle) {
    why_not = "libcudnn.so.9 is not installed";
    return nullptr;
  }
  if (fe::detail::get_backend_version() < kLeastVersion) {
    why_not = concat("cuDNN ", fe::detail::get_backend_version_string(), " is older than 9.18.0");
    return nullptr;
  }
  // On others the backward takes no ragged statistics, and has no fixed order.
  int gpu = 0, major = 0;
  CUDA_CHECK(cudaGetDevice(&gpu));
  CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, gpu));
  if (major != 9 && major != 10) {
    why_not = concat("it needs a GPU of compute capability 9 or 10, this one has ", major);
    return nullptr;
  }
  setenv("CUDNN_FRONTEND_ATTN_DP_WORKSPACE_LIMIT", kDpLimit, 0);  // read while a graph is built
  auto graphs = std::make_unique<Graphs>();
  if (fe::detail::create_handle(&graphs->handle) != CUDNN_STATUS_SUCCESS ||
      fe::detail::set_stream(graphs->handle, stream) != CUDNN_STATUS_SUCCESS) {
    why_not = "it does not start on this GPU";
    return nullptr;
  }
  return std::unique_ptr<CudnnAttention>(new CudnnAttention(std::move(graphs)));
}

std::string CudnnAttention::version() const {
  return concat("cuDNN ", fe::detail::get_backend_version_string());
}

std::string CudnnAttention::forward(void* out, void* lse, const void* q, const void* k, const void* v,
                                    const PackedPlaces& places, const PackedShape& s) {
  const auto array = [](const void* p) { return const_cast<void*>(p); };  // cuDNN's tables of arrays are not const
  return graphs_->run(graphs_->plan(graphs_->forward, s, draw_forward),
                      {{kQ, array(q)}, {kK, array(k)}, {kV, array(v)}, {kOut, out}, {kLse, lse}}, places);
}

std::string CudnnAttention::backward(void* dq, void* dk, void* dv, const void* dout, const void* out, const void* lse,
                                     const void* q, const void* k, const void* v, const PackedPlaces& places,
                                     const PackedShape& s) {
  const auto array = [](const void* p) { return const_cast<void*>(p); };
  return graphs_->run(graphs_->plan(graphs_->backward, s, draw_backward),
                      {{kQ, array(q)},
                       {kK, array(k)},
                       {kV, array(v)},
                       {kOut, array(out)},
                       {kLse, array(lse)},
                       {kDout, array(dout)},
                       {kDq, dq},
                       {kDk, dk},
                       {kDv, dv}},
                      places);
}

}  // namespace thinker
