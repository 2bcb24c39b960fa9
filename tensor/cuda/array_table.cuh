// One launch over many arrays of any sizes (the "multi-tensor apply" of NVIDIA's Apex): a table of them is a parameter
// of the kernel, so that nothing has to be uploaded or waited for. A block of the launch works on a part of one array.
#pragma once

#include <algorithm>
#include <span>

#include "tensor/cuda/kernel.cuh"

namespace thinker {

/// What a launch may pass to a kernel on every GPU and toolkit.
constexpr size_t kMostParameterBytes = 4096;

/// Items of a launch; each is an array of `n` numbers and what belongs to it.
template <class Item>
struct ArrayTable {
  static constexpr int kMost = 48;

  Item items[kMost];
  int64_t end[kMost];  // behind an item's last block, counted through the launch
  int count;

  /// The item of a block of the launch; the block's number becomes the one among the item's own.
  __device__ const Item& find(int64_t& block) const {
    int first = 0, last = count - 1;  // the item is one of these
    while (first < last) {
      const int middle = (first + last) / 2;
      if (block < end[middle])
        last = middle;
      else
        first = middle + 1;
    }
    if (first > 0) block -= end[first - 1];
    return items[first];
  }
};

/// Calls run(table, blocks) for tables that hold all items together, with a block for every `block_size` numbers.
template <class Item, class Run>
void for_tables(std::span<const Item> items, int64_t block_size, const Run& run) {
  while (!items.empty()) {
    const std::span<const Item> some = items.first(std::min<size_t>(items.size(), ArrayTable<Item>::kMost));
    items = items.subspan(some.size());
    ArrayTable<Item> table{};
    int64_t blocks = 0;
    for (const Item& item : some) {
      blocks += (item.n + block_size - 1) / block_size;
      table.items[table.count] = item;
      table.end[table.count++] = blocks;
    }
    run(table, blocks);
  }
}

}  // namespace thinker
