// Attention backward over segments (tensor/backend.h). Scores are computed again, tile by tile:
//   p = exp(scale q.k - lse),  dv = sum p dout,  ds = p (dout.v - dout.out),  dq = scale sum ds k,  dk = scale sum ds q
// Every gradient has one owner, so that sums have one order: a block owns the dq of a tile of readers and walks the
// keys that they see; another owns the dk and dv of a tile of keys, walks all segments in order and in each the readers
// that see its keys. Both hold their own rows left and the walked ones right, so the second computes transposed scores.
// (Dao, arXiv 2307.08691)
#include "tensor/cuda/attention.cuh"
#include "tensor/cuda/fused_attention.h"

namespace thinker {

namespace {

/// Sizes of a tile: rows that a block owns, and columns that it walks at a time.
template <class T, int D>
struct BackwardTile {
  static constexpr int kRows = kWarpRows * kTileWarps;
  static constexpr int kColumns = (D <= 64 ? 64 : 32) * 2 / static_cast<int>(sizeof(T));
  static constexpr int kStride = kTileStride<T, D>;
  // While one stage is computed with, the next arrives. fp32 tiles of 128 columns are too large for two.
  static constexpr int kStages = sizeof(T) == 4 && D > 64 ? 1 : 2;
  static constexpr int kStageSize = 2 * kColumns * kStride;
  static constexpr int64_t kSharedBytes =
      (2 * kRows * kStride + kStages * kStageSize) * static_cast<int64_t>(sizeof(T)) + kStages * kColumns * 8;
};

/// Calls load(stage, column) to start copying the columns from there on, and compute(stage, column) when they are
/// there, for begin, begin + kColumns, ... below end. All threads of the block call.
template <class Tile, class Load, class Compute>
__device__ void walk(int begin, int end, const Load& load, const Compute& compute) {
  load(0, begin);
  __pipeline_commit();
  int stage = 0;
  for (int column = begin; column < end; column += Tile::kColumns) {
    const int next = column + Tile::kColumns;
    if (Tile::kStages == 2) {
      if (next < end) load(1 - stage, next);
      __pipeline_commit();
    }
    __pipeline_wait_prior(Tile::kStages - 1);
    __syncthreads();
    compute(stage, column);
    __syncthreads();  // nobody reads the stage any more
    if (Tile::kStages == 2) {
      stage = 1 - stage;
    } else {
      if (next < end) load(0, next);
      __pipeline_commit();
    }
  }
  __pipeline_wait_prior(0);
}

/// dq, and delta (N, H) = dout.out for the other kernel: one block a tile of readers and key/value head.
template <class T, int D>
__global__ void __launch_bounds__(kTileThreads)
    attention_backward_q_kernel(T* dq, float* delta, const T* dout, const T* out, const float* lse, const T* q,
                                const T* k, const T* v, const Segment* segments, AttentionSizes s, int64_t tiles,
                                Write write, bool vectors) {
  using Tile = BackwardTile<T, D>;
  char* const shared = dynamic_shared();
  T* queries = reinterpret_cast<T*>(shared);
  T* upstream = queries + Tile::kRows * Tile::kStride;
  T* stages = upstream + Tile::kRows * Tile::kStride;

  SegmentHead head{{}, s, static_cast<int>(blockIdx.x % s.kv_heads)};
  int first = 0;
  // The last tiles of a long segment have the most keys: they begin first.
  if (!find_tile(head, first, segments, Tile::kRows, tiles - 1 - blockIdx.x / s.kv_heads)) return;
  const int seen = head.visible((min(first + Tile::kRows, head.readers()) - 1) / s.group);
  const int warp_row = static_cast<int>(threadIdx.x) / kWarp * kWarpRows;

  load_tile<D>(queries, Tile::kRows, s.d, vectors, [&](int r) { return head.reader_row(q, first + r); });
  load_tile<D>(upstream, Tile::kRows, s.d, vectors, [&](int r) { return head.reader_row(dout, first + r); });
  float log_sum[2] = {}, mean[2] = {};
  int limit[2] = {};
  for (int h = 0; h < 2; ++h) {
    const int reader = first + warp_row + fragment_row(h);
    limit[h] = head.visible_to_reader(reader);
    if (const T* row = head.reader_row(dout, reader)) {
      const T* other = head.reader_row(out, reader);
      for (int c = lane() % 4; c < s.d; c += 4) mean[h] += thinker::load(row + c) * thinker::load(other + c);
      log_sum[h] = lse[head.row_and_head(reader)] * kLog2e;
    }
    mean[h] += __shfl_xor_sync(kAllLanes, mean[h], 1);  // four lanes have a row together
    mean[h] += __shfl_xor_sync(kAllLanes, mean[h], 2);
    if (limit[h] > 0 && lane() % 4 == 0) delta[head.row_and_head(reader)] = mean[h];
  }

  Fragment<D> sum;
  sum.clear();
  const auto load = [&](int stage, int position) {
    T* keys = stages + stage * Tile::kStageSize;
    T* values = keys + Tile::kColumns * Tile::kStride;
    load_keys<D, Tile::kColumns>(keys, head, k, position, seen, vectors);
    load_keys<D, Tile::kColumns>(values, head, v, position, seen, vectors);
  };
  walk<Tile>(0, seen, load, [&](int stage, int position) {
    const T* keys = stages + stage * Tile::kStageSize;
    Fragment<Tile::kColumns> scores, dweight;
    scores.clear();
    dweight.clear();
    multiply_transposed<D>(scores, queries + warp_row * Tile::kStride, keys);
    multiply_transposed<D>(dweight, upstream + warp_row * Tile::kStride, keys + Tile::kColumns * Tile::kStride);
#pragma unroll
    for (int j = 0; j < Tile::kColumns / 8; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int h = i / 2;
        const float p = exp2f(scores.x[j][i] * (s.scale * kLog2e) - log_sum[h]);
        scores.x[j][i] = position + fragment_column(j, i % 2) < limit[h] ? p * (dweight.x[j][i] - mean[h]) : 0.0f;
      }
    }
    multiply(sum, scores, keys);
  });
  const float factor[2] = {s.scale, s.scale};
  store_fragment(sum, factor, s.d, write,
                 [&](int h) { return head.reader_row(dq, first + warp_row + fragment_row(h)); });
}

/// The rows of k and v that a block owns: rows begin to begin + kRows, one key/value head.
template <class T, int D>
struct OwnedKeys {
  T *keys, *values, *stages;  // shared memory
  float2* statistics;         // lse and delta of each column of each stage, also shared
  int64_t begin, end;
  Fragment<D> dk, dv;
};

/// The part of a segment's keys that lies among the owned ones, rows [begin, end); the first reader that sees row r is
/// max(0, r - diagonal) * group. Empty where end <= begin.
struct KeyRange {
  int64_t begin, end, diagonal;
};

__device__ inline KeyRange prefix_range(const Segment& g, int64_t begin, int64_t end) {
  return {max(begin, static_cast<int64_t>(g.prefix_begin)),
          min(end, static_cast<int64_t>(g.prefix_begin) + g.prefix_len), end};
}
__device__ inline KeyRange own_range(const Segment& g, int64_t begin, int64_t end) {
  const int64_t own_begin = g.own_begin;
  return {max(begin, own_begin), min(end, own_begin + g.own_len), own_begin + g.own_len - g.query_len};
}

/// Adds what one segment's readers give to the owned keys that lie in the range.
template <class T, int D>
__device__ void add_readers(OwnedKeys<T, D>& own, const SegmentHead& head, const KeyRange& range, const T* dout,
                            const float* lse, const float* delta, const T* q, bool vectors) {
  using Tile = BackwardTile<T, D>;
  const AttentionSizes& s = head.s;
  const int warp_row = static_cast<int>(threadIdx.x) / kWarp * kWarpRows;
  const int readers = head.readers();
  const auto first_reader = [&](int64_t row) {
    return static_cast<int>(max(row - range.diagonal, int64_t{0})) * s.group;
  };
  int first[2];
  for (int h = 0; h < 2; ++h) {
    const int64_t row = own.begin + warp_row + fragment_row(h);
    first[h] = row >= range.begin && row < range.end ? first_reader(row) : INT32_MAX;
  }
  const auto load = [&](int stage, int reader) {
    T* queries = own.stages + stage * Tile::kStageSize;
    T* upstream = queries + Tile::kColumns * Tile::kStride;
    load_readers<D, Tile::kColumns>(queries, head, q, reader, vectors);
    load_readers<D, Tile::kColumns>(upstream, head, dout, reader, vectors);
    for (int c = threadIdx.x; c < Tile::kColumns && reader + c < readers; c += kTileThreads) {
      const int64_t at = head.row_and_head(reader + c);
      own.statistics[stage * Tile::kColumns + c] = {lse[at] * kLog2e, delta[at]};
    }
  };
  walk<Tile>(first_reader(range.begin), readers, load, [&](int stage, int reader) {
    const T* queries = own.stages + stage * Tile::kStageSize;
    const T* upstream = queries + Tile::kColumns * Tile::kStride;
    Fragment<Tile::kColumns> weight, dscore;
    weight.clear();
    dscore.clear();
    multiply_transposed<D>(weight, own.keys + warp_row * Tile::kStride, queries);
    multiply_transposed<D>(dscore, own.values + warp_row * Tile::kStride, upstream);
#pragma unroll
    for (int j = 0; j < Tile::kColumns / 8; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int column = fragment_column(j, i % 2);
        const float2 statistics = own.statistics[stage * Tile::kColumns + column];
        const bool sees = reader + column >= first[i / 2] && reader + column < readers;
        const float p = sees ? exp2f(weight.x[j][i] * (s.scale * kLog2e) - statistics.x) : 0.0f;
        weight.x[j][i] = p;
        dscore.x[j][i] = sees ? p * (dscore.x[j][i] - statistics.y) : 0.0f;
      }
    }
    multiply(own.dv, weight, upstream);
    multiply(own.dk, dscore, queries);
  });
}

/// dk and dv: one block a tile of rows of k and v, and key/value head.
template <class T, int D>
__global__ void __launch_bounds__(kTileThreads)
    attention_backward_kv_kernel(T* dk, T* dv, const T* dout, const float* lse, const float* delta, const T* q,
                                 const T* k, const T* v, const Segment* segments, AttentionSizes s, int64_t key_rows,
                                 Write write_k, Write write_v, bool vectors) {
  using Tile = BackwardTile<T, D>;
  char* const shared = dynamic_shared();
  SegmentHead head{{}, s, static_cast<int>(blockIdx.x % s.kv_heads)};
  OwnedKeys<T, D> own;
  own.keys = reinterpret_cast<T*>(shared);
  own.values = own.keys + Tile::kRows * Tile::kStride;
  own.stages = own.values + Tile::kRows * Tile::kStride;
  own.statistics = reinterpret_cast<float2*>(own.stages + Tile::kStages * Tile::kStageSize);
  own.begin = blockIdx.x / s.kv_heads * static_cast<int64_t>(Tile::kRows);
  own.end = min(own.begin + Tile::kRows, key_rows);
  own.dk.clear();
  own.dv.clear();
  const auto row = [&](auto* array, int64_t r) {
    return own.begin + r < own.end ? array + ((own.begin + r) * s.kv_heads + head.kv_head) * s.d : nullptr;
  };
  load_tile<D>(own.keys, Tile::kRows, s.d, vectors, [&](int r) { return row(k, r); });
  load_tile<D>(own.values, Tile::kRows, s.d, vectors, [&](int r) { return row(v, r); });
  __pipeline_commit();

  for (int begin = 0; begin < s.segments; begin += kWarp) {
    // Most segments have none of these keys: the lanes look at 32 at once. All warps find the same.
    const int mine = begin + lane();
    bool any = false;
    if (mine < s.segments) {
      const KeyRange a = prefix_range(segments[mine], own.begin, own.end),
                     b = own_range(segments[mine], own.begin, own.end);
      any = a.begin < a.end || b.begin < b.end;
    }
    for (unsigned found = __ballot_sync(kAllLanes, any); found; found &= found - 1) {
      head.segment = segments[begin + __ffs(static_cast<int>(found)) - 1];
      for (int part = 0; part < 2; ++part) {
        const KeyRange range =
            part == 0 ? prefix_range(head.segment, own.begin, own.end) : own_range(head.segment, own.begin, own.end);
        if (range.begin < range.end) add_readers(own, head, range, dout, lse, delta, q, vectors);
      }
    }
  }
  __pipeline_wait_prior(0);

  const int warp_row = static_cast<int>(threadIdx.x) / kWarp * kWarpRows;
  const float scale[2] = {s.scale, s.scale}, one[2] = {1, 1};
  store_fragment(own.dk, scale, s.d, write_k, [&](int h) { return row(dk, warp_row + fragment_row(h)); });
  store_fragment(own.dv, one, s.d, write_v, [&](int h) { return row(dv, warp_row + fragment_row(h)); });
}

}  // namespace

void CudaBackend::attention_backward(void* dq, void* dk, void* dv, const void* dout, const void* out, const void* lse,
                                     const void* q, const void* k, const void* v, const Segment* segments,
                                     const AttentionShape& s, DType t, Write write_q, Write write_k, Write write_v) {
  if (!has_tiles(t, s))
    return attention_backward_plain(stream(), dq, dk, dv, dout, out, lse, q, k, v, segments, s, t, write_q, write_k,
                                    write_v);
  const auto ours = [&] {
    attention_backward_tiles(dq, dk, dv, dout, out, lse, q, k, v, segments, s, t, write_q, write_k, write_v);
  };
  // cuDNN only overwrites.
  const bool all_set = write_q == Write::set && write_k == Write::set && write_v == Write::set;
  if (!fused_attention_ || !all_set || !FusedAttention::takes(s, t)) return ours();
  ENSURE(FusedAttention::places_bytes(s) <= kWorkspaceBytes, "[attention] ", s.segments, " sequences at once");
  fused_attention_->backward(ours, workspace_.get(), dq, dk, dv, dout, out, lse, q, k, v, segments, s);
}

void CudaBackend::attention_backward_tiles(void* dq, void* dk, void* dv, const void* dout, const void* out,
                                           const void* lse, const void* q, const void* k, const void* v,
                                           const Segment* segments, const AttentionShape& s, DType t, Write write_q,
                                           Write write_k, Write write_v) {
  ENSURE(s.n * s.heads * 4 <= kWorkspaceBytes, "[attention] ", s.n, " rows of ", s.heads,
         " heads are too many at once; use smaller batches (--micro-tokens)");
  void* delta = workspace_.get();
  const bool vectors = rows_are_vectors(s, t, q, k, v, dout);
  for_tile_width(t, s.head_dim, [&]<class T, int D>(Type<T>, std::integral_constant<int, D>) {
    using Tile = BackwardTile<T, D>;
    const int64_t tiles = most_tiles(s, Tile::kRows), key_tiles = (s.key_rows + Tile::kRows - 1) / Tile::kRows;
    CUDA_CHECK(launch_tiles(stream(), tiles * s.kv_heads, Tile::kSharedBytes, attention_backward_q_kernel<T, D>, dq,
                            delta, dout, out, lse, q, k, v, segments, AttentionSizes(s), tiles, write_q, vectors));
    CUDA_CHECK(launch_tiles(stream(), key_tiles * s.kv_heads, Tile::kSharedBytes, attention_backward_kv_kernel<T, D>,
                            dk, dv, dout, lse, delta, q, k, v, segments, AttentionSizes(s), s.key_rows, write_k,
                            write_v, vectors));
  });
}

}  // namespace thinker
