// Attention forward over segments (tensor/backend.h). A block takes a tile of readers (attention.cuh) and walks the
// keys that they see, a tile at a time, with a running softmax; scores never leave the registers:
//   m' = max(m, scores),  p = exp(scores - m'),  l' = l exp(m - m') + sum p,  o' = o exp(m - m') + p v
// and in the end out = o / l, lse = m + log l. (Milakov & Gimelshein, arXiv 1805.02867; Dao, arXiv 2307.08691)
//
// Two forms of one kernel. With many queries a segment each warp has 16 readers of its own and all walk the same keys.
// With few (decoding) a tile has 16 readers, and each warp walks a quarter of every tile of keys. Where tiles are too
// few to fill a GPU, several blocks share one: each walks a part of its keys. Single queries (the samples of a prompt)
// meet a prefix that they share as one tile, and their own keys each in a tile of its own. All such parts keep m, l and
// o, which are joined in the order of the keys.
#include <algorithm>

#include "tensor/cuda/attention.cuh"
#include "tensor/cuda/fused_attention.h"

namespace thinker {

namespace {

// Blocks that a launch should have, and keys that a part should have, before keys are split. Fixed numbers, so that
// results do not depend on the GPU: two blocks for each multiprocessor of an H100.
constexpr int64_t kWantedBlocks = 264;
constexpr int64_t kKeysWorthABlock = 128;
constexpr int64_t kMostParts = 32;

/// Sizes of a tile.
template <class T, int D, int kRowWarps>
struct ForwardTile {
  static constexpr int kRows = kWarpRows * kRowWarps;
  static constexpr int kKeyWarps = kTileWarps / kRowWarps;
  // fp32 tiles of 128 columns are large.
  static constexpr int kKeys = kKeyWarps == 1 && sizeof(T) == 4 && D > 64 ? 32 : 64;
  static constexpr int kColumns = kKeys / kKeyWarps;  // keys of one warp
  static constexpr int kStride = kTileStride<T, D>;
  static constexpr int64_t kSharedBytes = (kRows + 2 * kKeys) * kStride * static_cast<int64_t>(sizeof(T));
};

/// What parts of the keys give: o (parts, N*H, D), m and l (parts, N*H, 2). m is in powers of two: the largest score
/// times scale * log2(e). null where each tile has one part.
struct Parts {
  float* o = nullptr;
  float* statistics = nullptr;
  int count = 1;
  int of_prefix = 0;  // so many, the first, are of the prefixes and the others of own keys; 0: they are of all keys
  int64_t rows = 0;   // N*H
};

/// The scores of a warp's readers become weights. m, l and o follow; a lane's l is the sum of its own columns only.
/// limit[h]: the reader sees the positions below; first: the position of the fragment's first column.
template <int N, int D>
__device__ void softmax_step(Fragment<N>& scores, Fragment<D>& o, float (&m)[2], float (&l)[2], const int (&limit)[2],
                             int first, float scale) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    float highest = m[h];
#pragma unroll
    for (int j = 0; j < N / 8; ++j) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        float& x = scores.x[j][2 * h + e];
        x = first + fragment_column(j, e) < limit[h] ? x * scale : -INFINITY;
        highest = fmaxf(highest, x);  // skips NaN, which returns in the sum
      }
    }
    highest = fmaxf(highest, __shfl_xor_sync(kAllLanes, highest, 1));
    highest = fmaxf(highest, __shfl_xor_sync(kAllLanes, highest, 2));
    const float shift = highest == -INFINITY ? 0.0f : highest;  // no key was seen yet
    const float fade = exp2f(m[h] - shift);
    float sum = 0;
#pragma unroll
    for (int j = 0; j < N / 8; ++j) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        float& x = scores.x[j][2 * h + e];
        x = exp2f(x - shift);
        sum += x;
      }
    }
    m[h] = highest;
    l[h] = l[h] * fade + sum;
#pragma unroll
    for (int j = 0; j < D / 8; ++j) {
      o.x[j][2 * h] *= fade;
      o.x[j][2 * h + 1] *= fade;
    }
  }
}

/// Joins what the warps have seen of the keys: warp 0 is left with all of it. `shared` has room for the o, m and l of
/// every warp.
template <int D>
__device__ void join_warps(Fragment<D>& o, float (&m)[2], float (&l)[2], float* shared) {
  constexpr int kSize = kWarpRows * (D + 2);  // of one warp
  float* mine = shared + threadIdx.x / kWarp * kSize;
  float* statistics = mine + kWarpRows * D;
  for (int h = 0; h < 2; ++h) {
    const int row = fragment_row(h);
    for (int j = 0; j < D / 8; ++j)
      store_pair(mine + row * D + fragment_column(j, 0), o.x[j][2 * h], o.x[j][2 * h + 1]);
    if (lane() % 4 == 0) store_pair(statistics + 2 * row, m[h], l[h]);
  }
  __syncthreads();
  if (threadIdx.x >= kWarp) return;
  for (int warp = 1; warp < kTileWarps; ++warp) {
    const float* other = shared + warp * kSize;
    for (int h = 0; h < 2; ++h) {
      const int row = fragment_row(h);
      const float2 theirs = *reinterpret_cast<const float2*>(other + kWarpRows * D + 2 * row);
      const float highest = fmaxf(m[h], theirs.x), shift = highest == -INFINITY ? 0.0f : highest;
      const float fade = exp2f(m[h] - shift), their_fade = exp2f(theirs.x - shift);
      m[h] = highest;
      l[h] = l[h] * fade + theirs.y * their_fade;
      for (int j = 0; j < D / 8; ++j) {
        const float2 x = *reinterpret_cast<const float2*>(other + row * D + fragment_column(j, 0));
        o.x[j][2 * h] = o.x[j][2 * h] * fade + x.x * their_fade;
        o.x[j][2 * h + 1] = o.x[j][2 * h + 1] * fade + x.y * their_fade;
      }
    }
  }
}

/// One block a tile of readers, part of its keys, and key/value head.
template <class T, int D, int kRowWarps>
__global__ void __launch_bounds__(kTileThreads)
    attention_forward_kernel(T* out, float* lse, const T* q, const T* k, const T* v, const Segment* segments,
                             AttentionSizes s, int64_t tiles, Parts parts, bool vectors) {
  using Tile = ForwardTile<T, D, kRowWarps>;
  char* const shared = dynamic_shared();
  T* queries = reinterpret_cast<T*>(shared);
  T* keys = queries + Tile::kRows * Tile::kStride;
  T* values = keys + Tile::kKeys * Tile::kStride;

  SegmentHead head{{}, s, static_cast<int>(blockIdx.x % s.kv_heads)};
  const int64_t item = blockIdx.x / s.kv_heads;
  const int part = static_cast<int>(item % parts.count);
  const bool of_prefix = part < parts.of_prefix;
  const int pieces =
      of_prefix ? parts.of_prefix : parts.count - parts.of_prefix;  // of the keys that the tile walks over
  const int piece = of_prefix ? part : part - parts.of_prefix;
  const Keys keys_seen = parts.of_prefix == 0 ? Keys::all : of_prefix ? Keys::prefix : Keys::own;
  int first = 0;
  // The last tiles of a long segment have the most keys: they begin first.
  if (!find_tile(head, first, segments, Tile::kRows, tiles - 1 - item / parts.count, keys_seen)) return;

  // This part's positions.
  const int seen = head.visible((min(first + Tile::kRows, head.readers()) - 1) / s.group);
  const int share = ((seen + pieces - 1) / pieces + Tile::kKeys - 1) / Tile::kKeys * Tile::kKeys;
  const int begin = piece * share, end = min(seen, begin + share);

  const int warp = threadIdx.x / kWarp;
  const int row_warp = kRowWarps == 1 ? 0 : warp;
  const int first_key = kRowWarps == 1 ? warp * Tile::kColumns : 0;  // of this warp, in a tile of keys
  const auto reader = [&](int h) { return first + row_warp * kWarpRows + fragment_row(h); };
  const int limit[2] = {min(head.visible_to_reader(reader(0)), end), min(head.visible_to_reader(reader(1)), end)};
  const auto load = [&](T* tile, const T* array, int position) {
    load_keys<D, Tile::kKeys>(tile, head, array, position, end, vectors);
  };

  load_tile<D>(queries, Tile::kRows, s.d, vectors, [&](int r) { return head.reader_row(q, first + r); });
  load(keys, k, begin);
  __pipeline_commit();
  load(values, v, begin);
  __pipeline_commit();
  Fragment<D> o;
  o.clear();
  float m[2] = {-INFINITY, -INFINITY}, l[2] = {0, 0};
  for (int position = begin; position < end; position += Tile::kKeys) {
    __pipeline_wait_prior(1);
    __syncthreads();  // queries and keys are there
    Fragment<Tile::kColumns> scores;
    scores.clear();
    multiply_transposed<D>(scores, queries + row_warp * kWarpRows * Tile::kStride, keys + first_key * Tile::kStride);
    __syncthreads();  // nobody reads the keys any more
    if (position + Tile::kKeys < end) load(keys, k, position + Tile::kKeys);
    __pipeline_commit();
    softmax_step(scores, o, m, l, limit, position + first_key, s.scale * kLog2e);
    __pipeline_wait_prior(1);
    __syncthreads();  // values are there
    multiply(o, scores, values + first_key * Tile::kStride);
    __syncthreads();  // nobody reads the values any more
    if (position + Tile::kKeys < end) load(values, v, position + Tile::kKeys);
    __pipeline_commit();
  }
  __pipeline_wait_prior(0);

  for (int h = 0; h < 2; ++h) {  // four lanes have a row together
    l[h] += __shfl_xor_sync(kAllLanes, l[h], 1);
    l[h] += __shfl_xor_sync(kAllLanes, l[h], 2);
  }
  if constexpr (Tile::kKeyWarps > 1) {
    __syncthreads();
    join_warps(o, m, l, reinterpret_cast<float*>(keys));  // the tiles are free now
    if (warp > 0) return;
  }
  if (parts.count > 1) {
    const float one[2] = {1, 1};
    float* part_o = parts.o + part * parts.rows * s.d;
    store_fragment(o, one, s.d, Write::set, [&](int h) { return head.reader_row(part_o, reader(h)); });
    for (int h = 0; h < 2; ++h) {
      if (reader(h) >= head.readers() || lane() % 4 != 0) continue;
      store_pair(parts.statistics + 2 * (part * parts.rows + head.row_and_head(reader(h))), m[h], l[h]);
    }
    return;
  }
  const float inverse[2] = {1 / l[0], 1 / l[1]};
  store_fragment(o, inverse, s.d, Write::set, [&](int h) { return head.reader_row(out, reader(h)); });
  for (int h = 0; h < 2; ++h) {
    if (reader(h) >= head.readers() || lane() % 4 != 0) continue;
    lse[head.row_and_head(reader(h))] = m[h] / kLog2e + logf(l[h]);
  }
}

/// One thread a number of out (N*H, D): joins the parts in the order of their keys.
template <class T>
__global__ void join_parts_kernel(T* out, float* lse, Parts parts, int64_t d) {
  const int64_t i = global_thread();
  if (i >= parts.rows * d) return;
  const int64_t row = i / d;
  const auto statistics = [&](int part) {
    return reinterpret_cast<const float2*>(parts.statistics)[part * parts.rows + row];
  };
  float highest = -INFINITY;
  for (int part = 0; part < parts.count; ++part) highest = fmaxf(highest, statistics(part).x);
  const float shift = highest == -INFINITY ? 0.0f : highest;
  float o = 0, l = 0;
  for (int part = 0; part < parts.count; ++part) {
    const float2 theirs = statistics(part);
    const float fade = exp2f(theirs.x - shift);
    o += fade * parts.o[(part * parts.rows + row) * d + i % d];
    l += fade * theirs.y;
  }
  store(out + i, o / l);
  if (i % d == 0) lse[row] = highest / kLog2e + logf(l);
}

template <class T, int D, int kRowWarps>
void forward(cudaStream_t stream, void* workspace, int64_t workspace_bytes, void* out, void* lse, const void* q,
             const void* k, const void* v, const Segment* segments, const AttentionShape& s, DType t) {
  using Tile = ForwardTile<T, D, kRowWarps>;
  const int64_t tiles = most_tiles(s, Tile::kRows);
  if (tiles == 0) return;
  Parts parts;
  parts.rows = s.n * s.heads;
  const int64_t part_bytes = parts.rows * (s.head_dim + 2) * static_cast<int64_t>(sizeof(float));
  const auto wanted_parts = [&](int64_t of_tiles) {
    return static_cast<int>(std::clamp<int64_t>(
        std::min(kWantedBlocks / (of_tiles * s.kv_heads), s.key_rows / kKeysWorthABlock), 1, kMostParts));
  };
  parts.count = wanted_parts(tiles);
  // Samples meet their prompt in full tiles, which are few where a prompt has many samples.
  const int of_prefix = wanted_parts(s.n * (s.heads / s.kv_heads) / Tile::kRows + 1);
  const bool single = kRowWarps == 1 && s.segments == s.n && s.n > 1;
  if (single && (parts.count + of_prefix) * part_bytes <= workspace_bytes) {
    parts.of_prefix = of_prefix;
    parts.count += of_prefix;
  }
  if (parts.count > 1) {
    ENSURE(parts.count * part_bytes <= workspace_bytes, "[attention] ", parts.count, " parts of ", s.n, " rows");
    parts.statistics = static_cast<float*>(workspace);
    parts.o = parts.statistics + 2 * parts.count * parts.rows;
  }
  CUDA_CHECK(launch_tiles(stream, tiles * parts.count * s.kv_heads, Tile::kSharedBytes,
                          attention_forward_kernel<T, D, kRowWarps>, out, lse, q, k, v, segments, AttentionSizes(s),
                          tiles, parts, rows_are_vectors(s, t, q, k, v)));
  if (parts.count > 1)
    CUDA_CHECK(launch(stream, blocks_for(parts.rows * s.head_dim), join_parts_kernel<T>, out, lse, parts, s.head_dim));
}

}  // namespace

void CudaBackend::attention_forward(void* out, void* lse, const void* q, const void* k, const void* v,
                                    const Segment* segments, const AttentionShape& s, DType t) {
  if (!has_tiles(t, s)) return attention_forward_plain(stream(), out, lse, q, k, v, segments, s, t);
  const auto ours = [&] { attention_forward_tiles(out, lse, q, k, v, segments, s, t); };
  if (!fused_attention_ || !FusedAttention::takes(s, t)) return ours();
  ENSURE(FusedAttention::places_bytes(s) <= kWorkspaceBytes, "[attention] ", s.segments, " sequences at once");
  fused_attention_->forward(ours, workspace_.get(), out, lse, q, k, v, segments, s);
}

void CudaBackend::attention_forward_tiles(void* out, void* lse, const void* q, const void* k, const void* v,
                                          const Segment* segments, const AttentionShape& s, DType t) {
  // How long segments are is known on the device only. If their readers fit into the smaller tile on average, most do.
  const bool few = s.n * (s.heads / s.kv_heads) <= kWarpRows * s.segments;
  for_tile_width(t, s.head_dim, [&]<class T, int D>(Type<T>, std::integral_constant<int, D>) {
    (few ? forward<T, D, 1> : forward<T, D, kTileWarps>)(stream(), workspace_.get(), kWorkspaceBytes, out, lse, q, k, v,
                                                         segments, s, t);
  });
}

}  // namespace thinker
