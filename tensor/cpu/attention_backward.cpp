// Attention backward. The probabilities are computed again from lse; with di = dout.out of a row and head
//   p = exp(scale q.k - lse),  dv += p dout,  ds = scale p (dout.v - di),  dq += ds k,  dk += ds q.
// Segments that share key rows (the completions of one prompt, and the prompt) form a family. A task is a family and a
// key/value head: no other task writes its rows, and it runs through them in one order.
#include <algorithm>
#include <numeric>
#include <vector>

#include "tensor/cpu/attention.h"
#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/exp.h"

namespace thinker {

namespace {

/// Segments whose key rows overlap, directly or by way of others; in the order of their first segments.
std::vector<std::vector<int64_t>> families_of(const Segment* segments, int64_t count) {
  std::vector<int64_t> leader(count);
  std::iota(leader.begin(), leader.end(), 0);
  const auto find = [&](int64_t i) {
    while (leader[i] != i) i = leader[i] = leader[leader[i]];
    return i;
  };
  struct Range {
    int64_t begin, end, segment;
  };
  std::vector<Range> ranges;
  for (int64_t i = 0; i < count; ++i) {
    const Segment& s = segments[i];
    if (s.prefix_len > 0) ranges.push_back({s.prefix_begin, s.prefix_begin + s.prefix_len, i});
    if (s.own_len > 0) ranges.push_back({s.own_begin, s.own_begin + s.own_len, i});
  }
  std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) {
    return std::tie(a.begin, a.segment, a.end) < std::tie(b.begin, b.segment, b.end);
  });
  // In order of their begin, a range overlaps an earlier one exactly when it begins before the furthest end so far.
  for (size_t i = 1, furthest = 0; i < ranges.size(); ++i) {
    if (ranges[i].begin < ranges[furthest].end) {
      const int64_t a = find(ranges[i].segment), b = find(ranges[furthest].segment);
      leader[std::max(a, b)] = std::min(a, b);
    }
    if (ranges[i].end > ranges[furthest].end) furthest = i;
  }
  std::vector<std::vector<int64_t>> families;
  std::vector<int64_t> number(count, -1);
  for (int64_t i = 0; i < count; ++i) {
    int64_t& family = number[find(i)];
    if (family < 0) {
      family = static_cast<int64_t>(families.size());
      families.emplace_back();
    }
    families[family].push_back(i);
  }
  return families;
}

template <class T>
struct Backward {
  const AttentionShape& s;
  T *dq, *dk, *dv;
  const T *dout, *lse, *q, *k, *v, *di;  // di, lse (N, H)
  bool rounded;                          // factors of products, to bf16

  int64_t group() const { return s.heads / s.kv_heads; }
};

/// One task's tiles: p and ds by (query, key), the sums for the block's own dk and dv, and right factors: k and v
/// turned to (D, key), k by rows, q and dout.
template <class T>
struct Tiles {
  T *p, *ds, *dk, *dv, *keys, *values, *key_rows, *q, *dout;

  static int64_t size(const AttentionShape& s) {
    return padded<T>(2 * kAttentionTile * (kAttentionTile + s.head_dim) + 5 * right_size<T>(s.head_dim));
  }
  Tiles(T* memory, const AttentionShape& s) {
    const int64_t size = right_size<T>(s.head_dim);
    p = memory;
    ds = p + kAttentionTile * kAttentionTile;
    dk = ds + kAttentionTile * kAttentionTile;
    dv = dk + kAttentionTile * s.head_dim;
    keys = dv + kAttentionTile * s.head_dim;
    values = keys + size;
    key_rows = values + size;
    q = key_rows + size;
    dout = q + size;
  }
};

/// A block's keys and values as right factors.
template <class T>
struct Keys {
  RightFactor<T> turned, values, rows;
};

/// p: scores -> probabilities. ds: dout.v -> gradient of the unscaled scores. Invisible keys get 0.
template <class T>
void probabilities(T* p, T* ds, int64_t visible, int64_t width, T scale, T lse, T di) {
#pragma omp simd
  for (int64_t j = 0; j < width; ++j) {
    const T x = j < visible ? cpu::exp(p[j] * scale - lse) : T(0);
    p[j] = x;
    ds[j] = j < visible ? x * (ds[j] - di) * scale : T(0);
  }
}

template <class T>
void add_rows(T* to, int64_t stride, const T* from, int64_t rows, int64_t cols) {
  for (int64_t i = 0; i < rows; ++i) {
#pragma omp simd
    for (int64_t j = 0; j < cols; ++j) to[i * stride + j] += from[i * cols + j];
  }
}

/// A block of keys against `queries` rows from `row` of one head; query is the first's number in its segment.
template <class T>
void add_tile(const Backward<T>& b, const Tiles<T>& w, const KeyBlock& block, const Keys<T>& keys, int64_t head,
              int64_t row, int64_t query, int64_t queries) {
  const int64_t D = b.s.head_dim, stride = b.s.heads * D;
  const int64_t at = (row * b.s.heads + head) * D;
  const Strided<T> q{b.q + at, stride, 1}, dout{b.dout + at, stride, 1};
  for_query_bands(block, query, queries, b.rounded, [&](int64_t i, int64_t rows, int64_t visible) {
    const int64_t columns = padded<T>(visible);
    T *p = w.p + i * kAttentionTile, *ds = w.ds + i * kAttentionTile;
    multiply(p, kAttentionTile, q.from(i, 0), keys.turned, rows, columns, D, Write::set);
    multiply(ds, kAttentionTile, dout.from(i, 0), keys.values, rows, columns, D, Write::set);
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t index = (row + i + r) * b.s.heads + head;
      probabilities(p + r * kAttentionTile, ds + r * kAttentionTile, block.visible(query + i + r), columns,
                    static_cast<T>(b.s.scale), b.lse[index], b.di[index]);
    }
    multiply(b.dq + at + i * stride, stride, Strided<T>{ds, kAttentionTile, 1}, keys.rows, rows, D, visible,
             Write::add);
  });
  const RightFactor<T> queries_right = right_of_rows(w.q, q.data, stride, queries, D, b.rounded);
  const RightFactor<T> dout_right = right_of_rows(w.dout, dout.data, stride, queries, D, b.rounded);
  // Bands of keys, as wide as what bands of queries are filled up to: all that is read has been written.
  const int64_t seen = block.visible(query + queries - 1);
  const int64_t band = b.rounded || block.visible(query) == block.length ? seen : kLanes<T>;
  for (int64_t j = 0; j < seen; j += band) {
    const int64_t seeing = std::clamp<int64_t>(block.first + j - query, 0, queries);  // the first query that sees key j
    const Strided<T> p{w.p + seeing * kAttentionTile + j, 1, kAttentionTile};
    const Strided<T> ds{w.ds + seeing * kAttentionTile + j, 1, kAttentionTile};
    const int64_t rows = std::min(band, seen - j), depth = queries - seeing;
    multiply(w.dv + j * D, D, p, dout_right.below(seeing), rows, D, depth, Write::add);
    multiply(w.dk + j * D, D, ds, queries_right.below(seeing), rows, D, depth, Write::add);
  }
}

template <class T>
void run(const Backward<T>& b, const Segment* segments, const std::vector<int64_t>& family, int64_t kv_head,
         T* memory) {
  const Tiles<T> w(memory, b.s);
  const tiles::Unit unit(b.rounded);
  const int64_t D = b.s.head_dim, stride = b.s.kv_heads * D;
  for (const int64_t index : family) {
    const Segment& segment = segments[index];
    for_key_blocks(segment, segment.query_len, [&](const KeyBlock& block) {
      const int64_t at = (block.begin * b.s.kv_heads + kv_head) * D;
      const Keys<T> keys{right_of_columns(w.keys, b.k + at, stride, D, block.length, b.rounded),
                         right_of_columns(w.values, b.v + at, stride, D, block.length, b.rounded),
                         right_of_rows(w.key_rows, b.k + at, stride, block.length, D, b.rounded)};
      std::fill(w.dk, w.dk + 2 * kAttentionTile * D, T(0));  // dv follows dk
      const int64_t first = std::max<int64_t>(0, block.first);
      for (int64_t head = kv_head * b.group(); head < (kv_head + 1) * b.group(); ++head)
        for (int64_t i = first; i < segment.query_len; i += kAttentionTile)
          add_tile(b, w, block, keys, head, segment.query_begin + i, i,
                   std::min<int64_t>(kAttentionTile, segment.query_len - i));
      add_rows(b.dk + at, stride, w.dk, block.length, D);
      add_rows(b.dv + at, stride, w.dv, block.length, D);
    });
  }
}

struct Task {
  int64_t family, kv_head;
  int64_t cost;  // queries times keys
};

/// The longest tasks first: the threads then end together. Which thread takes a task changes no bit.
std::vector<Task> plan(const std::vector<std::vector<int64_t>>& families, const Segment* segments, int64_t kv_heads) {
  std::vector<Task> tasks;
  for (int64_t f = 0; f < static_cast<int64_t>(families.size()); ++f) {
    int64_t cost = 0;
    for (const int64_t i : families[f])
      cost += segments[i].query_len * (segments[i].prefix_len + segments[i].own_len - segments[i].query_len / 2);
    for (int64_t head = 0; head < kv_heads; ++head) tasks.push_back({f, head, cost});
  }
  std::stable_sort(tasks.begin(), tasks.end(), [](const Task& a, const Task& b) { return a.cost > b.cost; });
  return tasks;
}

/// di (rows) = dout . out, over rows of head_dim: a register full of rows at a time, so that their lanes are added up
/// together.
template <class T>
void row_dots(T* di, const T* dout, const T* out, int64_t rows, int64_t head_dim) {
  constexpr int64_t kLane = kLanes<T>;
  parallel_ranges(rows, head_dim, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i += kLane) {
      const int64_t count = std::min(kLane, end - i);
      Vector<T> sum[kLane] = {};
      T tile[kLane];
      for (int64_t r = 0; r < count; ++r) {
        const T *x = dout + (i + r) * head_dim, *y = out + (i + r) * head_dim;
        int64_t d = 0;
        for (; d + kLane <= head_dim; d += kLane) sum[r] += load(x + d) * load(y + d);
        for (; d < head_dim; ++d) sum[r][0] += x[d] * y[d];
      }
      store(tile, sums_of<T>(sum));
      std::copy(tile, tile + count, di + i);
    }
  });
}

}  // namespace

void CpuBackend::attention_backward(void* dq, void* dk, void* dv, const void* dout, const void* out, const void* lse,
                                    const void* q, const void* k, const void* v, const Segment* segments,
                                    const AttentionShape& s, DType t, Write write_q, Write write_k, Write write_v) {
  const int64_t query_bytes = s.n * s.heads * s.head_dim * size_of(t);
  const int64_t key_bytes = s.key_rows * s.kv_heads * s.head_dim * size_of(t);
  if (write_q == Write::set) fill_zero(dq, query_bytes);
  if (write_k == Write::set) fill_zero(dk, key_bytes);
  if (write_v == Write::set) fill_zero(dv, key_bytes);
  with_scalar("attention", t, [&]<class T>(T) {
    const int64_t size = Tiles<T>::size(s), rows = s.n * s.heads;
    T* di = scratch_.take<T>(padded<T>(rows) + omp_get_max_threads() * size);
    T* memory = di + padded<T>(rows);
    row_dots(di, static_cast<const T*>(dout), static_cast<const T*>(out), rows, s.head_dim);
    const Backward<T> b{s,
                        static_cast<T*>(dq),
                        static_cast<T*>(dk),
                        static_cast<T*>(dv),
                        static_cast<const T*>(dout),
                        static_cast<const T*>(lse),
                        static_cast<const T*>(q),
                        static_cast<const T*>(k),
                        static_cast<const T*>(v),
                        di,
                        kRounds<T> && tiles::multiplies(factor_dtype_)};
    const auto families = families_of(segments, s.segments);
    const std::vector<Task> tasks = plan(families, segments, s.kv_heads);
    const int64_t count = static_cast<int64_t>(tasks.size());
#pragma omp parallel for schedule(dynamic, 1) if (worth_threads(tasks, s))
    for (int64_t i = 0; i < count; ++i)
      run(b, segments, families[tasks[i].family], tasks[i].kv_head, memory + omp_get_thread_num() * size);
  });
}

}  // namespace thinker
