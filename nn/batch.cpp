#include "nn/batch.h"

#include "tensor/check.h"

namespace thinker {

namespace {

/// Appends rows at consecutive positions; returns the first row.
int32_t append_rows(Batch& batch, std::span<const int32_t> ids, int32_t first_position) {
  const auto begin = static_cast<int32_t>(batch.tokens.size());
  batch.tokens.insert(batch.tokens.end(), ids.begin(), ids.end());
  for (int32_t i = 0; i < static_cast<int32_t>(ids.size()); ++i) batch.positions.push_back(first_position + i);
  return begin;
}

}  // namespace

Batch::Prefix Batch::add_prompt(std::span<const int32_t> ids) {
  ENSURE(!ids.empty(), "a prompt has no tokens");
  const auto length = static_cast<int32_t>(ids.size());
  const int32_t begin = append_rows(*this, ids, 0);
  segments.push_back({begin, length, 0, 0, begin, length});
  return {begin, length};
}

void Batch::add_completion(const Prefix& prompt, std::span<const int32_t> ids) {
  ENSURE(!ids.empty(), "a completion has no tokens");
  const auto length = static_cast<int32_t>(ids.size()) - 1;
  const int32_t begin = append_rows(*this, ids.first(length), prompt.length);
  if (length > 0) segments.push_back({begin, length, prompt.begin, prompt.length, begin, length});
  rows.push_back(prompt.begin + prompt.length - 1);
  for (int32_t i = 0; i < length; ++i) rows.push_back(begin + i);
  targets.insert(targets.end(), ids.begin(), ids.end());
  offsets.push_back(static_cast<int32_t>(rows.size()));
}

void Batch::add_response(const Prefix& prompt, std::span<const int32_t> ids) {
  ENSURE(!ids.empty(), "a response has no tokens");
  const auto length = static_cast<int32_t>(ids.size());
  const int32_t begin = append_rows(*this, ids, prompt.length);
  segments.push_back({begin, length, prompt.begin, prompt.length, begin, length});
  rows.push_back(begin + length - 1);
  offsets.push_back(static_cast<int32_t>(rows.size()));
}

void Batch::add_sequence(std::span<const int32_t> ids, std::span<const uint8_t> trained) {
  ENSURE(ids.size() == trained.size() && ids.size() >= 2, "a sequence of ", ids.size(), " tokens with a mask of ",
         trained.size());
  const auto length = static_cast<int32_t>(ids.size()) - 1;
  const int32_t begin = append_rows(*this, ids.first(length), 0);
  segments.push_back({begin, length, 0, 0, begin, length});
  for (int32_t i = 0; i < length; ++i) {
    if (!trained[i + 1]) continue;
    rows.push_back(begin + i);
    targets.push_back(ids[i + 1]);
  }
  offsets.push_back(static_cast<int32_t>(rows.size()));
}

}  // namespace thinker
