// The pairwise judge: puts a game into words (pairwise_format.h), asks a model of ours or a server (chat.h) and reads
// the verdict. Every verdict goes into the cache as it comes, so an interrupted judging continues where it was.
#pragma once

#include <memory>
#include <string>

#include "tpo/judge.h"
#include "tpo/judges/cache.h"
#include "tpo/judges/chat.h"
#include "tpo/judges/endpoint.h"
#include "tpo/judges/pairwise_format.h"
#include "tpo/samples.h"

namespace thinker {

/// A recipe's {"kind": "pairwise", …}, checked.
struct PairwiseRecipe {
  PairFormat format;
  std::string model;                        // MODEL, or the server's name of one
  std::optional<EndpointOptions> endpoint;  // none: a local model
  std::string device = "auto";              // of a local model
  ChatOptions chat;
  ScoreRule rule;
  std::optional<std::string> cache;  // a file; "" is none; not set: judge-cache.jsonl where the results go
};

/// Throws Error "judge.KEY: reason": unknown keys and formats, values out of range.
PairwiseRecipe parse_pairwise(const Json& recipe);

class PairwiseJudge : public PairJudge {
 public:
  /// files: the hashes of a local model's files, or null. A verdict in the cache is of the same ones.
  PairwiseJudge(PairFormat format, std::string model, Json files, ChatOptions options, std::unique_ptr<Chat> chat,
                std::string cache_path);

  /// Asks for each view that is not in the cache, equal ones once. A reply that did not come is that view's error and
  /// is not cached; an answer without a verdict is, being what this judge says.
  std::vector<PairJudged> judge(std::span<const PairView> views, const OnJudged& on_judged = {}) override;

 private:
  std::string key_of(const PairView& view) const;

  PairFormat format_;
  std::string label_;  // for the cache's readers
  Json identity_;      // all but the view that a verdict depends on
  ChatOptions options_;
  std::unique_ptr<Chat> chat_;
  std::string cache_path_;
  std::optional<VerdictCache> cache_;  // opened at the first question
};

/// The cache lies in `folder` unless the recipe names a file. It, and a local model, are opened when the first question
/// is asked. Throws Error also when a key that the recipe names is not in the environment.
std::unique_ptr<PairJudge> make_pair_judge(const Json& recipe, const std::string& folder);

}  // namespace thinker
