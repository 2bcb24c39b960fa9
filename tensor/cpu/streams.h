// A core has few reads from memory under way by itself; most are started by its prefetchers, one for each place that is
// read in order. A product with one row, whose time is that of reading the weight, therefore reads it in several places
// at once: its rows are cut into streams that are read side by side.
#pragma once

#include <algorithm>
#include <cstdint>

namespace thinker {

constexpr int64_t kMostApart = 1021;  // odd: at a power of two the streams would share a cache's lines

/// Calls several(j, apart) for S items j, j + apart, j + 2 * apart ... of [begin, end) at a time, in streams of at most
/// `most_apart` items, then one(j) for each of the fewer than S that are left.
template <int S, class Several, class One>
void for_streams(int64_t begin, int64_t end, int64_t most_apart, const Several& several, const One& one) {
  while (end - begin >= S) {
    const int64_t apart = std::min((end - begin) / S, most_apart);
    for (int64_t j = begin; j < begin + apart; ++j) several(j, apart);
    begin += S * apart;
  }
  for (; begin < end; ++begin) one(begin);
}

}  // namespace thinker
