// A packed batch: sequences of any length behind each other in (N) rows, without padding. Completions of one prompt
// share its rows: the prompt is computed once, and each completion is a segment that sees it as a prefix.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tensor/backend.h"

namespace thinker {

struct Batch {
  std::vector<int32_t> tokens;     // (N)
  std::vector<int32_t> positions;  // (N)
  std::vector<Segment> segments;   // cover all N rows
  // The log-probs asked for: row rows[i] predicts targets[i]; sequence b owns entries offsets[b] to offsets[b+1].
  // Of responses (add_response) rows holds the last one each, and nothing is predicted.
  std::vector<int32_t> rows;        // (M)
  std::vector<int32_t> targets;     // (M), or empty
  std::vector<int32_t> offsets{0};  // (B+1)
  std::vector<int32_t> cache_rows;  // (N) with a KvCache: where each row's key and value go; else empty

  int64_t size() const { return static_cast<int64_t>(tokens.size()); }

  /// Rows of a prompt in this batch, to hang completions on.
  struct Prefix {
    int32_t begin = 0, length = 0;
  };

  /// Appends a prompt. Throws when it is empty: its last row predicts the first token of each completion.
  Prefix add_prompt(std::span<const int32_t> ids);

  /// Appends a completion of a prompt and asks for all its log-probs. Its last token is predicted but predicts nothing,
  /// so it takes no row; a completion of one token takes none at all. Throws when it is empty.
  void add_completion(const Prefix& prompt, std::span<const int32_t> ids);

  /// Appends a response to a prompt with all its tokens and asks for the row of its last one: what a reward model
  /// reads. Throws when it is empty.
  void add_response(const Prefix& prompt, std::span<const int32_t> ids);

  /// Appends one sequence and asks for the log-probs of the tokens that `trained` marks (never the first).
  void add_sequence(std::span<const int32_t> ids, std::span<const uint8_t> trained);
};

}  // namespace thinker
