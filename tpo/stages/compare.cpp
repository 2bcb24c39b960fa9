#include "tpo/stages/compare.h"

#include "tensor/check.h"
#include "tpo/text.h"

namespace thinker {

namespace {

/// From 0 to 1, a tie 1/2; none where the judge failed.
std::optional<double> win_of(const EvalRecord& ours, const EvalRecord& theirs, WinBy by) {
  if (!ours.sample.valid() || !theirs.sample.valid())
    return ours.sample.valid() ? 1.0 : theirs.sample.valid() ? 0.0 : 0.5;
  if (!ours.judged.score) return std::nullopt;
  const double score = *ours.judged.score;
  if (by == WinBy::share_of_games) return score;
  if (!theirs.judged.score) return std::nullopt;
  return score > *theirs.judged.score ? 1.0 : score < *theirs.judged.score ? 0.0 : 0.5;
}

double length_of(const EvalRecord& r) {
  return static_cast<double>(count_code_points(r.sample.shown_response()));
}

Json with_interval(double rate, const Interval& interval) {
  return {{"win_rate", rate}, {"low", interval.low}, {"high", interval.high}};
}

}  // namespace

std::vector<Contest> contests_of(const std::vector<EvalRecord>& ours, const std::vector<EvalRecord>& theirs, WinBy by) {
  if (ours.size() != theirs.size()) fail("a comparison of ", ours.size(), " outputs with ", theirs.size());
  std::vector<Contest> contests;
  for (size_t i = 0; i < ours.size(); ++i) {
    const EvalRecord &o = ours[i], &t = theirs[i];
    if (o.sample.id != t.sample.id)
      fail("a comparison of outputs to different prompts: ", o.sample.id.dump(), " and ", t.sample.id.dump());
    const bool both = o.sample.valid() && t.sample.valid();
    contests.push_back({o.category, win_of(o, t, by), both ? length_of(o) - length_of(t) : 0.0});
  }
  return contests;
}

Json win_summary_to_json(const WinSummary& s) {
  Json categories = Json::object();
  for (const auto& [category, c] : s.categories) {
    categories[category] = with_interval(c.rate, c.interval);
    categories[category]["prompts"] = c.prompts;
  }
  Json controlled = with_interval(s.length.win_rate(), s.length_interval);
  controlled["theta"] = s.length.theta;
  controlled["phi"] = s.length.phi;
  Json json{{"games", s.games},
            {"unjudged", s.unjudged},
            {"wins", s.counts.wins},
            {"ties", s.counts.ties},
            {"losses", s.counts.losses}};
  json.update(with_interval(s.rate, s.interval));
  json["length_controlled"] = controlled;
  json["categories"] = categories;
  return json;
}

}  // namespace thinker
