// How training walks its data: an order per epoch, optimizer batches in that order, micro-batches within them.
#pragma once

#include <cstdint>
#include <vector>

#include "tpo/training.h"

namespace thinker {

/// Indices of the examples of one micro-batch, and of one optimizer batch.
using MicroBatch = std::vector<int64_t>;
using OptimizerBatch = std::vector<MicroBatch>;

/// The batches of one epoch (from 1). rows[i] is what example i costs in a forward. The last partial batch is kept.
std::vector<OptimizerBatch> plan_epoch(const std::vector<int64_t>& rows, const TrainOptions& options, int64_t epoch);

}  // namespace thinker
