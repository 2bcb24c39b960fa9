#include "tpo/stages/reward.h"

#include <map>
#include <set>

#include "tensor/check.h"
#include "tensor/rng.h"
#include "tpo/stages/pair.h"

namespace thinker {

std::vector<RewardPair> read_reward_pairs(const std::string& path, const ChatTokenizer& text) {
  return read_jsonl_as(path, [&](const JsonLine& line) {
    IdPair ids = parse_id_pair(line, text);
    const double margin = line.has("margin") ? line.number("margin") : 0.0;
    return RewardPair{std::move(ids.prompt), std::move(ids.chosen), std::move(ids.rejected), margin};
  });
}

HeldOut hold_out(std::vector<RewardPair> pairs, double share, uint64_t seed) {
  std::map<std::vector<int32_t>, size_t> group_of;
  std::vector<int64_t> sizes, order;
  std::vector<size_t> group(pairs.size());
  for (size_t i = 0; i < pairs.size(); ++i) {
    group[i] = group_of.emplace(pairs[i].prompt, sizes.size()).first->second;
    if (group[i] == sizes.size()) {
      order.push_back(static_cast<int64_t>(sizes.size()));
      sizes.push_back(0);
    }
    ++sizes[group[i]];
  }
  Rng(seed, Purpose::hold_out).shuffle(order);
  auto room = static_cast<int64_t>(share * static_cast<double>(pairs.size()));
  std::vector<uint8_t> held(sizes.size(), 0);
  for (int64_t g : order) {
    if (sizes[g] > room) continue;
    held[g] = 1;
    room -= sizes[g];
  }
  HeldOut result;
  for (size_t i = 0; i < pairs.size(); ++i)
    (held[group[i]] ? result.held_out : result.train).push_back(std::move(pairs[i]));
  return result;
}

void check_disjoint(const std::vector<RewardPair>& train, const std::vector<RewardPair>& held_out,
                    const std::string& place) {
  std::set<std::vector<int32_t>> trained;
  for (const RewardPair& pair : train) trained.insert(pair.prompt);
  int64_t shared = 0;
  for (const RewardPair& pair : held_out) shared += static_cast<int64_t>(trained.count(pair.prompt));
  if (shared > 0) fail(place, ": ", shared, " of its pairs have a prompt that is trained on; hold out other prompts");
}

Json reward_report(const std::vector<RewardPair>& pairs, const std::vector<PairRewards>& rewards, double center) {
  ENSURE(pairs.size() == rewards.size(), "one entry of rewards a pair");
  RewardMeter meter;
  for (size_t i = 0; i < pairs.size(); ++i)
    meter.add(rewards[i], reward_pair(rewards[i].chosen, rewards[i].rejected, pairs[i].margin, center, 1));
  const Calibration calibration = calibrate(rewards);
  Json bins = Json::array();
  for (const CalibrationBin& b : calibration.bins) {
    if (b.pairs == 0) continue;
    bins.push_back(
        {{"low", b.low}, {"high", b.high}, {"pairs", b.pairs}, {"confidence", b.confidence}, {"accuracy", b.accuracy}});
  }
  return {{"pairs", pairs.size()},
          {"accuracy", meter.accuracy()},
          {"loss", meter.loss()},
          {"margin", meter.margin()},
          {"reward_chosen", meter.reward_chosen()},
          {"reward_rejected", meter.reward_rejected()},
          {"ece", calibration.error},
          {"bins", bins}};
}

}  // namespace thinker
