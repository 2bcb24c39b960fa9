// What recordings of decoding rely on: steps of as many rows start the same kernels with the same arguments, however
// long the samples are by now, and do nothing else between the upload of their inputs and the drawing of tokens.
#include "nn/recorded_steps.h"

#include <set>

#include "nn/generate.h"
#include "tensor/dry_backend.h"
#include "tests/nn/models.h"

using namespace thinker;

namespace {

/// Writes down the kernels of each step, and plays a device that records.
class WatchedBackend final : public DryBackend {
 public:
  WatchedBackend() : DryBackend(nullptr) {}

  std::map<int64_t, std::set<std::string>> steps;  // by their rows: all lists of kernels that there were
  std::map<int64_t, int64_t> replays;
  bool recording = false;

  std::unique_ptr<Recording> record(const std::function<void()>& work) override {
    recording = true;
    work();
    recording = false;
    struct Replay final : Recording {
      bool& replayed;
      explicit Replay(bool& r) : replayed(r) {}
      void run() override { replayed = true; }
    };
    return std::make_unique<Replay>(replayed_);
  }
  void sample(int32_t* ids, float* logprobs, const void* logits, const SampleRow* rows, const int32_t* end_ids,
              int64_t number_of_end_ids, const SamplingOptions& options, int64_t n, int64_t v) override {
    note("sample", logits);
    if (replayed_) ++replays[n];
    if (kernels_.find("attention") != std::string::npos) steps[n].insert(kernels_);  // a replay has none
    replayed_ = false;
    DryBackend::sample(ids, logprobs, logits, rows, end_ids, number_of_end_ids, options, n, v);
  }

  void* allocate(int64_t bytes, const char* what) override {
    CHECK_FALSE(recording);
    return DryBackend::allocate(bytes, what);
  }
  void copy_to_host(void* host_dst, const void* src, int64_t bytes) override {
    CHECK_FALSE(recording);
    DryBackend::copy_to_host(host_dst, src, bytes);
  }
  void copy_from_host(void*, const void*, int64_t) override {
    CHECK_FALSE(recording);
    kernels_.clear();  // the last upload of a step comes before its first kernel
  }
  void synchronize() override { CHECK_FALSE(recording); }

  void copy(void* dst, const void* src, int64_t bytes) override { note("copy", dst, src, bytes); }
  void fill_zero(void* dst, int64_t bytes) override { note("fill_zero", dst, bytes); }
  void matmul(void* out, const void* a, const void* b, int64_t m, int64_t n, int64_t k, Transpose, Transpose, DType,
              DType, Write) override {
    note("matmul", out, a, b, m, n, k);
  }
  void bias_forward(void* y, const void* bias, int64_t n, int64_t c, DType) override { note("bias", y, bias, n, c); }
  void gather_forward(void* y, const void* x, const int32_t* index, int64_t n, int64_t c, DType) override {
    note("gather", y, x, index, n, c);
  }
  void append_to_cache(void* keys, void* values, const void* k, const void* v, const int32_t* index, int64_t n,
                       int64_t c, DType) override {
    note("append", keys, values, k, v, index, n, c);
  }
  void accumulate(void* dst, const void* src, int64_t n, DType, Write) override { note("accumulate", dst, src, n); }
  void swiglu_forward(void* y, const void* gate, const void* up, int64_t n, DType) override {
    note("swiglu", y, gate, up, n);
  }
  void rmsnorm_forward(void* y, void* rstd, const void* x, const void* w, int64_t n, int64_t c, double,
                       DType) override {
    note("rmsnorm", y, rstd, x, w, n, c);
  }
  void rope_angles(void* angles, const int32_t* position, const void* frequency, int64_t n, int64_t d, DType) override {
    note("angles", angles, position, frequency, n, d);
  }
  void rope(void* q, void* k, const void* angles, int64_t n, int64_t hq, int64_t hk, int64_t d, int, DType) override {
    note("rope", q, k, angles, n, hq, hk, d);
  }
  void attention_forward(void* out, void* lse, const void* q, const void* k, const void* v, const Segment* segments,
                         const AttentionShape& s, DType) override {
    note("attention", out, lse, q, k, v, segments, s.n, s.key_rows, s.segments, s.longest_sequence);
  }

 private:
  static std::string text(const void* p) { return std::to_string(reinterpret_cast<uintptr_t>(p)); }
  static std::string text(int64_t n) { return std::to_string(n); }
  template <class... Arguments>
  void note(const char* kernel, const Arguments&... arguments) {
    kernels_ += kernel;
    ((kernels_ += " " + text(arguments)), ...);
    kernels_ += "\n";
  }

  std::string kernels_;
  bool replayed_ = false;
};

}  // namespace

TEST_CASE("recorded steps: the kernels of a step depend on its number of rows only") {
  for (const Config& config : {tiny_config(), tiny_qwen_config(), tiny_qwen3_config()}) {
    auto owned = std::make_unique<WatchedBackend>();
    WatchedBackend& watched = *owned;
    Device device(std::move(owned));
    const Transformer model(device, config, DType::BF16);
    model.visit([](const std::string&, const Tensor& w) { w.raw(); });  // else they get their memory in the first step
    Rng rng(1, Purpose::generate_data);
    std::vector<GenerateRequest> requests;
    for (int64_t i = 0; i < 5; ++i) requests.push_back({random_ids(rng, 1 + 9 * i), i, 2, 0});
    generate(model, requests, {.max_new = 12, .max_rows = 4});
    // Ten samples: twice four rows, then two.
    CHECK(watched.steps.size() == 2);
    for (const auto& [rows, lists] : watched.steps) {
      CAPTURE(rows);
      CHECK(lists.size() == 1);
      CHECK(lists.begin()->find("attention") != std::string::npos);
    }
    CHECK(watched.replays[4] == 24 - 3);  // the first recorded step is replayed, too
    CHECK(watched.replays[2] == 12 - 3);
  }
}

TEST_CASE("recorded steps: each key has its own recording, and a device without recordings works as ever") {
  WatchedBackend watched;
  RecordedSteps steps;
  int64_t done = 0;
  const auto work = [&] { ++done; };
  for (int i = 0; i < 10; ++i) steps.run(watched, {4, 4, 4, 0, nullptr, nullptr}, work);
  CHECK(done == 4);
  for (int i = 0; i < 3; ++i) steps.run(watched, {3, 3, 3, 0, nullptr, nullptr}, work);
  CHECK(done == 7);
  steps.run(watched, {4, 4, 4, 0, nullptr, &done}, work);  // other memory
  CHECK(done == 8);
  DryBackend plain(nullptr);
  RecordedSteps never;
  for (int i = 0; i < 10; ++i) never.run(plain, {4, 4, 4, 0, nullptr, nullptr}, work);
  CHECK(done == 18);
}
