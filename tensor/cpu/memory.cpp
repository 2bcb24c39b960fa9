// Memory of the CPU backend, conversion of dtypes, and what the backend says about itself.
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <fstream>

#include "tensor/cpu/cpu_backend.h"

namespace thinker {

namespace {

constexpr int64_t kHugePage = int64_t{2} << 20;

std::string readable_size(int64_t bytes) {
  const double gib = static_cast<double>(bytes) / (1 << 30);
  std::ostringstream out;
  out.precision(3);
  if (gib >= 1)
    out << gib << " GiB";
  else if (bytes >= 1 << 20)
    out << gib * 1024 << " MiB";
  else
    out << bytes << " bytes";
  return out.str();
}

/// memcpy and memset of large ranges: one thread alone does not fill the memory's bandwidth.
void copy_bytes(void* dst, const void* src, int64_t bytes) {
  parallel_ranges(bytes, 1, [&](int64_t begin, int64_t end) {
    std::memcpy(static_cast<char*>(dst) + begin, static_cast<const char*>(src) + begin, end - begin);
  });
}

template <class To, class From>
To convert_one(From x) {
  if constexpr (std::is_same_v<To, From>)
    return x;
  else if constexpr (std::is_same_v<From, bf16>)
    return static_cast<To>(to_float(x));
  else if constexpr (std::is_same_v<To, bf16>)
    return to_bf16(static_cast<float>(x));
  else
    return static_cast<To>(x);
}

template <class To, class From>
void convert_all(void* dst, const void* src, int64_t n) {
  parallel_ranges(n, 1, [&](int64_t begin, int64_t end) {
    To* d = static_cast<To*>(dst);
    const From* s = static_cast<const From*>(src);
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) d[i] = convert_one<To>(s[i]);
  });
}

/// Calls f with a value of the C++ type of t.
template <class F>
void with_float_type(DType t, const F& f) {
  switch (t) {
    case DType::F32: return f(float{});
    case DType::F64: return f(double{});
    case DType::BF16: return f(bf16{});
    default: ENSURE(false, "[convert] does not convert ", name(t));
  }
}

}  // namespace

std::unique_ptr<Backend> make_cpu_backend() {
  return std::make_unique<CpuBackend>();
}

std::string CpuBackend::description() const {
  std::string model = "unknown processor";
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) {
      model = line.substr(colon + 2);
      break;
    }
  }
  const int threads = omp_get_max_threads();
  return concat(model, ", ", threads, threads == 1 ? " thread" : " threads");
}

int64_t CpuBackend::memory_bytes() const {
  const int64_t machine = int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE);
  // A container may be allowed less: a number, or the word max.
  int64_t allowed = 0;
  std::ifstream in("/sys/fs/cgroup/memory.max");
  return in >> allowed && allowed > 0 ? std::min(allowed, machine) : machine;
}

void* CpuBackend::allocate(int64_t bytes, const char* what) {
  ENSURE(bytes >= 0, "[allocate] negative size ", bytes);
  if (bytes > INT64_MAX - kHugePage) fail("out of memory: ", what, " asked for ", readable_size(bytes));
  // Large buffers get huge pages where the system grants them: fewer page faults, fewer misses of the address cache.
  const int64_t alignment = bytes >= 2 * kHugePage ? kHugePage : 64;
  const int64_t size = std::max(alignment, (bytes + alignment - 1) / alignment * alignment);
  void* p = std::aligned_alloc(alignment, size);
  if (!p) fail("out of memory: ", what, " asked for ", readable_size(bytes), "; use a smaller batch or model");
  if (alignment == kHugePage) madvise(p, size, MADV_HUGEPAGE);
  return p;
}

void CpuBackend::free(void* p) noexcept {
  std::free(p);
}

void CpuBackend::copy_to_host(void* host_dst, const void* src, int64_t bytes) {
  copy_bytes(host_dst, src, bytes);
}

void CpuBackend::copy_from_host(void* dst, const void* host_src, int64_t bytes) {
  copy_bytes(dst, host_src, bytes);
}

void CpuBackend::copy(void* dst, const void* src, int64_t bytes) {
  copy_bytes(dst, src, bytes);
}

void CpuBackend::fill_zero(void* dst, int64_t bytes) {
  parallel_ranges(bytes, 1,
                  [&](int64_t begin, int64_t end) { std::memset(static_cast<char*>(dst) + begin, 0, end - begin); });
}

void CpuBackend::convert(void* dst, const void* src, int64_t n, DType dst_t, DType src_t) {
  with_float_type(dst_t, [&](auto to) {
    with_float_type(src_t, [&](auto from) { convert_all<decltype(to), decltype(from)>(dst, src, n); });
  });
}

}  // namespace thinker
