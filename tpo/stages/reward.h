// The stage of a reward model's training around the trainer: pairs read from a file, some of them held out, and the
// report on those.
#pragma once

#include <string>
#include <vector>

#include "tpo/jsonl.h"
#include "tpo/model.h"
#include "tpo/training.h"

namespace thinker {

/// Reads the lines that `thinker dpo` reads (tpo/stages/pair.h), each with an optional "margin". Throws Error
/// "FILE:LINE: reason".
std::vector<RewardPair> read_reward_pairs(const std::string& path, const ChatTokenizer& text);

struct HeldOut {
  std::vector<RewardPair> train, held_out;  // each in the order of the file
};

/// Holds out whole prompts, drawn by the seed, with at most this share of the pairs: an answer to a prompt that was
/// trained on says little. May hold out none where the pairs are few or of few prompts.
HeldOut hold_out(std::vector<RewardPair> pairs, double share, uint64_t seed);

/// Throws Error beginning with `place` when a prompt is in both lists.
void check_disjoint(const std::vector<RewardPair>& train, const std::vector<RewardPair>& held_out,
                    const std::string& place);

/// pairs, accuracy (ties half), loss, margin (mean of r_chosen - r_rejected), reward_chosen, reward_rejected, ece and
/// bins (those with pairs) as in tpo/reward_loss.h.
Json reward_report(const std::vector<RewardPair>& pairs, const std::vector<PairRewards>& rewards, double center);

}  // namespace thinker
