#include "tpo/batching.h"

#include <algorithm>
#include <numeric>

#include "tensor/rng.h"

namespace thinker {

std::vector<OptimizerBatch> plan_epoch(const std::vector<int64_t>& rows, const TrainOptions& options, int64_t epoch) {
  ENSURE(options.batch > 0 && options.micro_tokens > 0, "training: batch and micro-tokens must be positive");
  std::vector<int64_t> order(rows.size());
  std::iota(order.begin(), order.end(), 0);
  if (options.order == Order::shuffled) {
    Rng rng(options.seed, Purpose::shuffle, options.iteration, static_cast<uint32_t>(epoch));
    rng.shuffle(order);
  }
  std::vector<OptimizerBatch> epoch_batches;
  for (size_t begin = 0; begin < order.size(); begin += options.batch) {
    const size_t end = std::min(order.size(), begin + static_cast<size_t>(options.batch));
    OptimizerBatch batch;
    int64_t used = 0;
    for (size_t i = begin; i < end; ++i) {
      const int64_t cost = rows[order[i]];
      if (batch.empty() || used + cost > options.micro_tokens) {
        batch.emplace_back();
        used = 0;
      }
      batch.back().push_back(order[i]);
      used += cost;
    }
    epoch_batches.push_back(std::move(batch));
  }
  return epoch_batches;
}

}  // namespace thinker
