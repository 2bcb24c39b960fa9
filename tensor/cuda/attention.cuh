// What forward and backward of attention share: which rows a tile has, and what other kinds of kernel there are.
//
// The query heads that read one key/value head, of all queries of a segment, are its *readers*: reader r is head
// r % group of query r / group. A tile is kWarpRows readers for each of its warps that has rows of its own, so that
// grouped heads share a load of keys, and a single query fills as much of a tile as it can.
// The keys that a segment's queries see have *positions*: first the prefix, then the segment's own rows. Query i sees
// the positions below visible(i).
// In decoding the samples of a prompt are segments of one query each. They meet the prefix that they share together, as
// the queries of one segment without own keys, and then each its own keys: a prefix is not read once for each sample.
#pragma once

#include "tensor/cuda/tile.cuh"

namespace thinker {

constexpr float kLog2e = 1.4426950408889634f;

/// The arrays of an attention call in the shapes of AttentionShape, with sizes as devices like them.
struct AttentionSizes {
  explicit AttentionSizes(const AttentionShape& s)
      : heads(static_cast<int>(s.heads)),
        kv_heads(static_cast<int>(s.kv_heads)),
        group(static_cast<int>(s.heads / s.kv_heads)),
        d(static_cast<int>(s.head_dim)),
        segments(static_cast<int>(s.segments)),
        scale(static_cast<float>(s.scale)) {}
  int heads, kv_heads, group, d, segments;
  float scale;
};

/// One key/value head of one segment.
struct SegmentHead {
  Segment segment;
  AttentionSizes s;
  int kv_head;

  __device__ int readers() const { return segment.query_len * s.group; }
  /// Row of the array (N * H) that belongs to a reader.
  __device__ int64_t row_and_head(int reader) const {
    return (segment.query_begin + static_cast<int64_t>(reader / s.group)) * s.heads + kv_head * s.group +
           reader % s.group;
  }
  /// Where a reader's numbers begin in an (N, H, D) array; null beyond the last reader.
  template <class T>
  __device__ T* reader_row(T* array, int reader) const {
    return reader < readers() ? array + row_and_head(reader) * s.d : nullptr;
  }

  __device__ int visible(int query) const {
    return segment.prefix_len + max(segment.own_len - segment.query_len + query + 1, 0);
  }
  /// How many positions a reader sees; none beyond the last reader.
  __device__ int visible_to_reader(int reader) const { return reader < readers() ? visible(reader / s.group) : 0; }
  /// Where a position's numbers begin in a (rows, Hkv, D) array; null from position `end` on.
  template <class T>
  __device__ const T* key_row(const T* array, int position, int end) const {
    if (position >= end) return nullptr;
    const int64_t row = position < segment.prefix_len ? segment.prefix_begin + position
                                                      : segment.own_begin + (position - segment.prefix_len);
    return array + (row * s.kv_heads + kv_head) * s.d;
  }
};

/// load_tile of kRows positions' keys, zeros from position `end` on.
template <int D, int kRows, class T>
__device__ void load_keys(T* tile, const SegmentHead& head, const T* array, int position, int end, bool vectors) {
  const auto row_at = [&](int r) { return head.key_row(array, position + r, end); };
  if constexpr (kRowStep < T, D >> 0) {
    const int prefix_len = head.segment.prefix_len;
    const bool one_run = position >= prefix_len || position + kRows <= prefix_len;
    if (vectors && head.s.d == D && one_run && position + kRows <= end)
      return load_full_tile<D, kRows>(tile, int64_t{kRowStep<T, D>} * head.s.kv_heads * D, row_at);
  }
  load_tile<D>(tile, kRows, head.s.d, vectors, row_at);
}

/// load_tile of kRows readers' numbers, zeros beyond the last reader.
template <int D, int kRows, class T>
__device__ void load_readers(T* tile, const SegmentHead& head, const T* array, int reader, bool vectors) {
  const auto row_at = [&](int r) { return head.reader_row(array, reader + r); };
  if constexpr (kRowStep < T, D >> 0) {
    // So many readers on is the same head of a later query.
    if (vectors && head.s.d == D && kRowStep<T, D> % head.s.group == 0 && reader + kRows <= head.readers())
      return load_full_tile<D, kRows>(tile, int64_t{kRowStep<T, D> / head.s.group} * head.s.heads * D, row_at);
  }
  load_tile<D>(tile, kRows, head.s.d, vectors, row_at);
}

/// Which of their keys a tile's readers walk over.
enum class Keys { all, prefix, own };

/// What is left of a segment with some of its keys. Each lane of a warp has one of kWarp segments behind each other.
/// With Keys::prefix the first of single queries on one prefix has all of them, and the others have none.
__device__ inline Segment with_keys(Segment g, Keys keys) {
  if (keys == Keys::all) return g;
  const bool single = g.query_len == 1;
  if (keys == Keys::own) {
    if (single) g.prefix_len = 0;
    return g;
  }
  const Segment before{__shfl_up_sync(kAllLanes, g.query_begin, 1),
                       __shfl_up_sync(kAllLanes, g.query_len, 1),
                       __shfl_up_sync(kAllLanes, g.prefix_begin, 1),
                       __shfl_up_sync(kAllLanes, g.prefix_len, 1),
                       0,
                       0};
  const bool follows = lane() > 0 && single && before.query_len == 1 && g.query_begin == before.query_begin + 1 &&
                       g.prefix_begin == before.prefix_begin && g.prefix_len == before.prefix_len;
  const unsigned followers = __ballot_sync(kAllLanes, follows) >> lane() >> 1;  // bit 0: the next lane
  if (follows)
    g.query_len = 0;
  else if (single)
    g.query_len = __ffs(static_cast<int>(~followers));
  else
    g.prefix_len = 0;  // all keys of several queries count as own
  g.own_len = 0;
  return g;
}

/// The segment that the tile with a number has, and the tile's first reader there. Tiles are counted through all
/// segments. False for numbers past the last. All lanes of a warp ask together.
__device__ inline bool find_tile(SegmentHead& head, int& first, const Segment* segments, int rows, int64_t tile,
                                 Keys keys = Keys::all) {
  for (int begin = 0; begin < head.s.segments; begin += kWarp) {
    const int at = begin + lane();
    const Segment mine = with_keys(at < head.s.segments ? segments[at] : Segment{}, keys);
    const int tiles = (mine.query_len * head.s.group + rows - 1) / rows;
    int sum = tiles;  // of the lanes up to this one
    for (int apart = 1; apart < kWarp; apart *= 2) {
      const int lower = __shfl_up_sync(kAllLanes, sum, apart);
      if (lane() >= apart) sum += lower;
    }
    const unsigned beyond = __ballot_sync(kAllLanes, tile < sum);
    if (beyond) {
      const int holder = __ffs(static_cast<int>(beyond)) - 1;
      const auto held = [&](int32_t x) { return __shfl_sync(kAllLanes, x, holder); };
      first = static_cast<int>(tile - held(sum - tiles)) * rows;
      head.segment = {held(mine.query_begin), held(mine.query_len), held(mine.prefix_begin),
                      held(mine.prefix_len),  held(mine.own_begin), held(mine.own_len)};
      return true;
    }
    tile -= __shfl_sync(kAllLanes, sum, kWarp - 1);
  }
  return false;
}

/// No fewer tiles than find_tile finds.
inline int64_t most_tiles(const AttentionShape& s, int64_t rows) {
  return s.n * (s.heads / s.kv_heads) / rows + s.segments;
}

/// Whether rows of the arrays can be copied 16 bytes at a time.
template <class... Pointers>
bool rows_are_vectors(const AttentionShape& s, DType t, Pointers... arrays) {
  return s.head_dim * size_of(t) % 16 == 0 && (... && (reinterpret_cast<uintptr_t>(arrays) % 16 == 0));
}

/// Calls f with Type<T> and the width of its tiles as a std::integral_constant: head sizes are filled up to it.
template <class F>
void for_tile_width(DType t, int64_t head_dim, const F& f) {
  // fp32 has fewer widths: it is for comparison, and each costs compile time.
  if (t == DType::F32 && head_dim <= 64) return f(Type<float>{}, std::integral_constant<int, 64>{});
  if (t == DType::F32) return f(Type<float>{}, std::integral_constant<int, 128>{});
  if (head_dim <= 32) return f(Type<bf16>{}, std::integral_constant<int, 32>{});
  if (head_dim <= 64) return f(Type<bf16>{}, std::integral_constant<int, 64>{});
  if (head_dim <= 96) return f(Type<bf16>{}, std::integral_constant<int, 96>{});
  f(Type<bf16>{}, std::integral_constant<int, 128>{});
}

/// Whether there are tiles for the dtype and head size. attention_plain.cu has the rest.
inline bool has_tiles(DType t, const AttentionShape& s) {
  return (t == DType::F32 || t == DType::BF16) && s.head_dim <= 128;
}

// ---- attention_plain.cu: any dtype and head sizes up to kThreads, one block a row ------------------------------
void attention_forward_plain(cudaStream_t stream, void* out, void* lse, const void* q, const void* k, const void* v,
                             const Segment* segments, const AttentionShape& s, DType t);
void attention_backward_plain(cudaStream_t stream, void* dq, void* dk, void* dv, const void* dout, const void* out,
                              const void* lse, const void* q, const void* k, const void* v, const Segment* segments,
                              const AttentionShape& s, DType t, Write write_q, Write write_k, Write write_v);

}  // namespace thinker
