// Attention forward: one task for each segment (or samples on one prompt), key/value head (or all of them, in decoding)
// and block of queries, so that every output has one writer. A task walks the key blocks that its queries see with a
// running softmax and never stores the score matrix:
//   m' = max(m, scores),  p = exp(scores - m'),  l' = l exp(m - m') + sum p,  o' = o exp(m - m') + p v
// and in the end out = o / l, lse = m + log l (Milakov & Gimelshein, arXiv 1805.02867).
// A single query (decoding) takes another way to its scores: rows of k are read as they lie, for all query heads of
// the key/value head at once. Single queries on one prefix (the samples of a prompt) meet it as a block, then each its
// own keys. A few single queries that share none are cut into tasks by their keys.
#include "tensor/cpu/attention.h"

#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/exp.h"

namespace thinker {

namespace {

struct Task {
  int64_t segment, segments;       // the first; several where single queries share a prefix
  int64_t kv_begin, kv_end;        // key/value heads: one, or all where there are single queries
  int64_t query_begin, query_end;  // counted from the first segment's first
  int64_t cost;                    // queries times keys times key/value heads
};

template <class T>
struct Forward {
  const AttentionShape& s;
  T *out, *lse;
  const T *q, *k, *v;
  bool rounded;  // factors of products, to bf16

  int64_t group() const { return s.heads / s.kv_heads; }
  const T* query(int64_t row, int64_t head) const { return q + (row * s.heads + head) * s.head_dim; }
  const T* key(int64_t row, int64_t kv_head) const { return k + (row * s.kv_heads + kv_head) * s.head_dim; }
  const T* value(int64_t row, int64_t kv_head) const { return v + (row * s.kv_heads + kv_head) * s.head_dim; }
};

/// What one task keeps while it walks over the keys. Rows are (head of the task, query).
template <class T>
struct Working {
  T *scores, *keys, *values, *o, *m, *l;

  static int64_t score_rows(const AttentionShape& s) { return std::max(kAttentionTile, s.heads / s.kv_heads); }
  static int64_t rows(const Task& task, const AttentionShape& s) {
    return (task.kv_end - task.kv_begin) * (s.heads / s.kv_heads) * (task.query_end - task.query_begin);
  }
  static int64_t size(std::span<const Task> tasks, const AttentionShape& s) {
    int64_t most = 0;
    for (const Task& task : tasks) most = std::max(most, rows(task, s));
    const int64_t size = most * (s.head_dim + 2) + kAttentionTile * score_rows(s) + 2 * right_size<T>(s.head_dim);
    return padded<T>(size);  // the next thread's begins as well aligned
  }
  Working(T* memory, const Task& task, const AttentionShape& s) {
    const int64_t n = rows(task, s);
    scores = memory;
    keys = scores + score_rows(s) * kAttentionTile;
    values = keys + right_size<T>(s.head_dim);
    o = values + right_size<T>(s.head_dim);
    m = o + n * s.head_dim;
    l = m + n;
    std::fill(o, o + n * s.head_dim, T(0));
    std::fill(m, m + n, -std::numeric_limits<T>::infinity());
    std::fill(l, l + n, T(0));
  }
};

/// Turns the scores of one query into weights and updates its running maximum m and sum l. Returns exp(m - m').
template <class T>
T softmax_step(T* scores, int64_t visible, int64_t width, T scale, T& m, T& l) {
  // NaN is skipped by the maximum and returns in the sum.
  T highest = m;
#pragma omp simd reduction(max : highest)
  for (int64_t j = 0; j < width; ++j) {
    const T x = j < visible ? scores[j] * scale : -std::numeric_limits<T>::infinity();
    scores[j] = x;
    highest = x > highest ? x : highest;
  }
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < width; ++j) {
    const T p = cpu::exp(scores[j] - highest);
    scores[j] = p;
    sum += p;
  }
  const T fade = cpu::exp(m - highest);
  m = highest;
  l = l * fade + sum;
  return fade;
}

template <class T>
void scale_row(T* x, T factor, int64_t n) {
#pragma omp simd
  for (int64_t d = 0; d < n; ++d) x[d] *= factor;
}

/// One query against a block of keys as they lie. Its state for the task's heads is in rows row, row + stride, ... The
/// heads of a row of k and v lie side by side in memory.
template <class T>
void walk_single(const Forward<T>& f, const Working<T>& w, int64_t query, const Task& task, const KeyBlock& block,
                 int64_t first_row, int64_t row_stride) {
  const int64_t D = f.s.head_dim, stride = f.s.kv_heads * D;
  for (int64_t kv_head = task.kv_begin; kv_head < task.kv_end; ++kv_head) {
    const T* keys = f.key(block.begin, kv_head);
    const int64_t head_row = first_row + (kv_head - task.kv_begin) * f.group() * row_stride;
    for (int64_t g = 0; g < f.group(); ++g) {
      const int64_t row = head_row + g * row_stride;
      T* scores = w.scores + g * kAttentionTile;
      const T* q = f.query(query, kv_head * f.group() + g);
      for (int64_t j = 0; j < block.length; j += kLanes<T>)
        store(scores + j, dots<T, 1>(q, 0, 1, keys + j * stride, stride, block.length - j, D));
      const T fade =
          softmax_step(scores, block.length, padded<T>(block.length), static_cast<T>(f.s.scale), w.m[row], w.l[row]);
      scale_row(w.o + row * D, fade, D);
    }
    multiply(w.o + head_row * D, row_stride * D, Strided<T>{w.scores, kAttentionTile, 1}, f.value(block.begin, kv_head),
             stride, f.group(), D, block.length, Write::add);
  }
}

/// A block of queries against a block of keys of one head.
template <class T>
void walk_key_block(const Forward<T>& f, const Working<T>& w, const Segment& segment, const Task& task,
                    const KeyBlock& block, int64_t kv_head) {
  const int64_t D = f.s.head_dim, stride = f.s.kv_heads * D, queries = task.query_end - task.query_begin;
  const RightFactor<T> keys = right_of_columns(w.keys, f.key(block.begin, kv_head), stride, D, block.length, f.rounded);
  const RightFactor<T> values =
      right_of_rows(w.values, f.value(block.begin, kv_head), stride, block.length, D, f.rounded);
  for (int64_t g = 0; g < f.group(); ++g)
    for_query_bands(block, task.query_begin, queries, f.rounded, [&](int64_t i, int64_t rows, int64_t visible) {
      const int64_t at = segment.query_begin + task.query_begin + i, columns = padded<T>(visible);
      const T* q = f.query(at, kv_head * f.group() + g);
      multiply(w.scores, kAttentionTile, Strided<T>{q, f.s.heads * D, 1}, keys, rows, columns, D, Write::set);
      const int64_t row = ((kv_head - task.kv_begin) * f.group() + g) * queries + i;
      T* o = w.o + row * D;
      for (int64_t r = 0; r < rows; ++r) {
        const T fade = softmax_step(w.scores + r * kAttentionTile, block.visible(task.query_begin + i + r), columns,
                                    static_cast<T>(f.s.scale), w.m[row + r], w.l[row + r]);
        scale_row(o + r * D, fade, D);
      }
      multiply(o, D, Strided<T>{w.scores, kAttentionTile, 1}, values, rows, D, visible, Write::add);
    });
}

/// A block of queries.
template <class T>
void walk_block(const Forward<T>& f, const Working<T>& w, const Segment& segment, const Task& task) {
  for_key_blocks(segment, task.query_end, [&](const KeyBlock& block) {
    for (int64_t kv_head = task.kv_begin; kv_head < task.kv_end; ++kv_head)
      walk_key_block(f, w, segment, task, block, kv_head);
  });
}

/// Single queries that share a prefix: a block where they see the same keys, one by one where they do not.
template <class T>
void walk_shared(const Forward<T>& f, const Working<T>& w, const Segment* segments, const Task& task) {
  Segment prefix = segments[0];
  prefix.query_len = static_cast<int32_t>(task.segments);
  prefix.own_len = 0;
  walk_block(f, w, prefix, task);
  for (int64_t i = 0; i < task.segments; ++i) {
    Segment own = segments[i];
    own.prefix_len = 0;
    for_key_blocks(own, 1,
                   [&](const KeyBlock& block) { walk_single(f, w, own.query_begin, task, block, i, task.segments); });
  }
}

/// The results of a task that has met all its keys. segment: its first.
template <class T>
void write_out(const Forward<T>& f, const Working<T>& w, const Segment& segment, const Task& task) {
  const int64_t D = f.s.head_dim, queries = task.query_end - task.query_begin;
  const int64_t heads = (task.kv_end - task.kv_begin) * f.group();
  for (int64_t g = 0; g < heads; ++g)
    for (int64_t i = 0; i < queries; ++i) {
      const int64_t row = g * queries + i;
      const int64_t at = (segment.query_begin + task.query_begin + i) * f.s.heads + task.kv_begin * f.group() + g;
      const T inverse = T(1) / w.l[row];
#pragma omp simd
      for (int64_t d = 0; d < D; ++d) f.out[at * D + d] = w.o[row * D + d] * inverse;
      f.lse[at] = w.m[row] + std::log(w.l[row]);
    }
}

template <class T>
void run(const Forward<T>& f, const Segment* segments, const Task& task, T* memory) {
  const Segment& segment = segments[0];
  const Working<T> w(memory, task, f.s);
  const tiles::Unit unit(f.rounded);
  if (task.segments > 1)
    walk_shared(f, w, segments, task);
  else if (segment.query_len == 1)
    for_key_blocks(segment, 1,
                   [&](const KeyBlock& block) { walk_single(f, w, segment.query_begin, task, block, 0, 1); });
  else
    walk_block(f, w, segment, task);
  write_out(f, w, segment, task);
}

/// w = what w and another have met.
template <class T>
void merge(const Working<T>& w, const Working<T>& other, int64_t rows, int64_t D) {
  for (int64_t row = 0; row < rows; ++row) {
    const T m = std::max(w.m[row], other.m[row]), ours = cpu::exp(w.m[row] - m), theirs = cpu::exp(other.m[row] - m);
    w.m[row] = m;
    w.l[row] = w.l[row] * ours + other.l[row] * theirs;
    T* o = w.o + row * D;
    const T* added = other.o + row * D;
#pragma omp simd
    for (int64_t d = 0; d < D; ++d) o[d] = o[d] * ours + added[d] * theirs;
  }
}

/// A block of keys that a single query meets, with all heads as they lie in memory.
struct Part {
  int64_t segment;
  KeyBlock block;
  int64_t cost;  // as a task's
};

/// Few single queries that share no prefix (a chat): whole queries would make too few tasks for all threads, and not of
/// one size. Each part is a task; then those of a query are merged.
template <class T>
void run_in_parts(const Forward<T>& f, const Segment* segments, std::span<const Part> parts, Scratch& scratch) {
  const Task whole{0, 1, 0, f.s.kv_heads, 0, 1, 0};
  const int64_t size = Working<T>::size({&whole, 1}, f.s), count = static_cast<int64_t>(parts.size());
  T* memory = scratch.take<T>(count * size);
  std::vector<Working<T>> working;
  for (int64_t i = 0; i < count; ++i) working.emplace_back(memory + i * size, whole, f.s);
#pragma omp parallel for schedule(dynamic, 1) if (worth_threads(parts, f.s))
  for (int64_t i = 0; i < count; ++i)
    walk_single(f, working[i], segments[parts[i].segment].query_begin, whole, parts[i].block, 0, 1);
  for (int64_t i = 0; i < count;) {
    const int64_t first = i, segment = parts[i].segment;
    while (++i < count && parts[i].segment == segment) merge(working[first], working[i], f.s.heads, f.s.head_dim);
    write_out(f, working[first], segments[segment], whole);
  }
}

/// How many segments from the first are single queries, one after the other, on a prefix worth sharing.
int64_t sharing(const Segment* first, int64_t left) {
  constexpr int32_t kWorthSharing = 16;  // keys
  int64_t n = 0;
  while (n < std::min(left, kAttentionTile) && first[n].query_len == 1 &&
         first[n].query_begin == first->query_begin + n && first[n].prefix_begin == first->prefix_begin &&
         first[n].prefix_len == first->prefix_len)
    ++n;
  return first->prefix_len >= kWorthSharing ? n : std::min<int64_t>(n, 1);
}

/// Segments that are walked alone, and groups that share a prefix.
int64_t groups_of(const Segment* segments, const AttentionShape& s) {
  int64_t groups = 0;
  for (int64_t i = 0; i < s.segments; i += std::max<int64_t>(1, sharing(segments + i, s.segments - i))) ++groups;
  return groups;
}

/// The parts of all segments where they are single queries, few, without a prefix worth sharing, and make more tasks
/// than their heads would; otherwise none.
std::vector<Part> parts_of(const Segment* segments, const AttentionShape& s) {
  constexpr int64_t kFew = 4;
  const auto is_single = [](const Segment& g) { return g.query_len == 1; };
  if (s.segments > kFew || !std::all_of(segments, segments + s.segments, is_single)) return {};
  if (groups_of(segments, s) != s.segments) return {};
  std::vector<Part> parts;
  for (int64_t i = 0; i < s.segments; ++i)
    for_key_blocks(segments[i], 1, [&](const KeyBlock& block) {
      parts.push_back({i, block, block.length * s.kv_heads});
    });
  if (static_cast<int64_t>(parts.size()) <= s.segments * s.kv_heads) return {};
  return parts;
}

/// The longest tasks first: the threads then end together. Which thread takes a task changes no bit.
std::vector<Task> plan(const Segment* segments, const AttentionShape& s) {
  // In decoding enough of them, a task takes all heads: it reads memory in order.
  const bool all_heads = groups_of(segments, s) >= 4 * omp_get_max_threads();
  std::vector<Task> tasks;
  for (int64_t i = 0; i < s.segments; ++i) {
    const Segment& g = segments[i];
    const int64_t together = g.query_len == 1 && all_heads ? s.kv_heads : 1;
    if (const int64_t n = sharing(&g, s.segments - i); n > 1) {
      int64_t keys = 0;
      for (int64_t j = 0; j < n; ++j) keys += segments[i + j].prefix_len + segments[i + j].own_len;
      for (int64_t head = 0; head < s.kv_heads; head += together)
        tasks.push_back({i, n, head, head + together, 0, n, keys * together});
      i += n - 1;
      continue;
    }
    for (int64_t begin = 0; begin < g.query_len; begin += kAttentionTile) {
      const int64_t end = std::min<int64_t>(g.query_len, begin + kAttentionTile);
      const int64_t keys = g.prefix_len + g.own_len - g.query_len + end;
      for (int64_t head = 0; head < s.kv_heads; head += together)
        tasks.push_back({i, 1, head, head + together, begin, end, (end - begin) * keys * together});
    }
  }
  std::stable_sort(tasks.begin(), tasks.end(), [](const Task& a, const Task& b) { return a.cost > b.cost; });
  return tasks;
}

}  // namespace

void CpuBackend::attention_forward(void* out, void* lse, const void* q, const void* k, const void* v,
                                   const Segment* segments, const AttentionShape& s, DType t) {
  with_scalar("attention", t, [&]<class T>(T) {
    const Forward<T> f{s,
                       static_cast<T*>(out),
                       static_cast<T*>(lse),
                       static_cast<const T*>(q),
                       static_cast<const T*>(k),
                       static_cast<const T*>(v),
                       kRounds<T> && tiles::multiplies(factor_dtype_)};
    if (const std::vector<Part> parts = parts_of(segments, s); !parts.empty())
      return run_in_parts(f, segments, std::span(parts), scratch_);
    const std::vector<Task> tasks = plan(segments, s);
    const int64_t size = Working<T>::size(tasks, s);
    T* memory = scratch_.take<T>(omp_get_max_threads() * size);
    const int64_t count = static_cast<int64_t>(tasks.size());
#pragma omp parallel for schedule(dynamic, 1) if (worth_threads(tasks, s))
    for (int64_t i = 0; i < count; ++i)
      run(f, segments + tasks[i].segment, tasks[i], memory + omp_get_thread_num() * size);
  });
}

}  // namespace thinker
