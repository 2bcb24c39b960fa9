// The sampler of one row against a plain one: fp64, everything sorted.
#include "tensor/cpu/sample.h"

#include <numeric>

#include "tests/nn/models.h"

using namespace thinker;
using thinker::cpu::DrawnToken;
using thinker::cpu::sample_row;

namespace {

const double kInf = INFINITY;
const Ids kEnds{3, 5};

DrawnToken draw(const std::vector<float>& logits, const SamplingOptions& options, double uniform,
                bool end_is_forbidden = false, int32_t forced = -1) {
  std::vector<float> scratch(logits.size());
  return sample_row(scratch.data(), logits, {uniform, forced, end_is_forbidden}, kEnds, options);
}

/// Probabilities after temperature and filters, renormalised; 0 for what is cut off.
std::vector<double> kept_probabilities(const std::vector<float>& logits, const SamplingOptions& o,
                                       bool end_is_forbidden) {
  const size_t v = logits.size();
  std::vector<double> p(v);
  double greatest = -kInf, total = 0.0;
  for (size_t i = 0; i < v; ++i) {
    p[i] = end_is_forbidden && std::count(kEnds.begin(), kEnds.end(), i) ? -kInf : logits[i] / o.temperature;
    greatest = std::max(greatest, p[i]);
  }
  for (double& x : p) total += x = std::exp(x - greatest);
  for (double& x : p) x /= total;
  std::vector<int32_t> rank(v);
  std::iota(rank.begin(), rank.end(), 0);
  std::stable_sort(rank.begin(), rank.end(), [&](int32_t a, int32_t b) { return p[a] > p[b]; });

  size_t kept = v;
  if (o.top_k > 0) kept = std::min<size_t>(kept, o.top_k);
  double mass = 0.0, sum = 0.0;
  for (size_t i = 0; i < kept; ++i) mass += p[rank[i]];
  for (size_t i = 0; i < kept && o.top_p < 1.0; ++i) {
    sum += p[rank[i]] / mass;
    if (sum >= o.top_p) kept = i + 1;
  }
  while (kept > 1 && p[rank[kept - 1]] < o.min_p * p[rank[0]]) --kept;
  double rest = 0.0;
  for (size_t i = 0; i < kept; ++i) rest += p[rank[i]];
  for (size_t i = 0; i < v; ++i) p[rank[i]] = i < kept ? p[rank[i]] / rest : 0.0;
  return p;
}

int32_t pick(const std::vector<double>& p, double uniform) {
  double sum = 0.0;
  int32_t last = -1;
  for (size_t i = 0; i < p.size(); ++i) {
    if (p[i] == 0.0) continue;
    sum += p[i];
    last = static_cast<int32_t>(i);
    if (sum > uniform) break;
  }
  return last;
}

/// Whether the plain sampler draws `id` when every number in the decision is off by a little: fp32 weights decide
/// otherwise where a cumulative sum lies on an edge.
bool within_rounding(int32_t id, const std::vector<float>& logits, SamplingOptions o, double uniform, bool forbidden) {
  constexpr double kLittle = 2e-6;
  for (double off : {0.0, -kLittle, kLittle}) {
    SamplingOptions moved = o;
    if (o.top_p < 1.0) moved.top_p = o.top_p + off;
    moved.min_p = o.min_p * (1 + off);
    const std::vector<double> p = kept_probabilities(logits, moved, forbidden);
    const double before = std::accumulate(p.begin(), p.begin() + id, 0.0);
    if (p[id] > 0.0 && before <= uniform + kLittle && before + p[id] >= uniform - kLittle) return true;
  }
  return false;
}

std::vector<float> random_row(Rng& rng) {
  const int64_t v = 6 + rng.below(300);
  const double scale = std::vector<double>{0.0, 0.01, 1.0, 4.0, 30.0}[rng.below(5)];
  const bool ties = rng.below(4) == 0, holes = rng.below(4) == 0;
  std::vector<float> logits(v);
  for (float& x : logits) {
    x = static_cast<float>(scale * rng.normal() + 5.0);
    if (ties) x = std::round(x);
    if (holes && rng.below(3) == 0) x = -INFINITY;
  }
  logits[rng.below(v)] = 6.0f;
  return logits;
}

double log_probability(const std::vector<float>& logits, int32_t id) {
  double greatest = -kInf, total = 0.0;
  for (float x : logits) greatest = std::max<double>(greatest, x);
  for (float x : logits) total += std::exp(x - greatest);
  return logits[id] - greatest - std::log(total);
}

}  // namespace

TEST_CASE("sampler: random rows and options against a sort") {
  Rng rng(1, Purpose::sample);
  int64_t on_an_edge = 0;
  constexpr int kRows = 6000;
  for (int i = 0; i < kRows; ++i) {
    const std::vector<float> logits = random_row(rng);
    SamplingOptions o;
    if (rng.below(3)) o.temperature = std::vector<double>{0.3, 0.8, 1.0, 1.7, 4.0}[rng.below(5)];
    if (rng.below(2)) o.top_k = 1 + rng.below(40);
    if (rng.below(2)) o.top_p = rng.below(4) ? rng.uniform() : 0.95;
    if (rng.below(3) == 0) o.min_p = rng.below(2) ? 0.05 : rng.uniform();
    const double uniform = rng.below(4) ? rng.uniform() : rng.below(2) ? 0.0 : 1.0 - 0x1p-24;
    const bool forbidden = rng.below(4) == 0;
    const DrawnToken drawn = draw(logits, o, uniform, forbidden);
    CHECK(std::fabs(drawn.logprob - log_probability(logits, drawn.id)) <= 1e-5);
    if (drawn.id == pick(kept_probabilities(logits, o, forbidden), uniform)) continue;
    ++on_an_edge;
    CHECK_MESSAGE(within_rounding(drawn.id, logits, o, uniform, forbidden), "row ", i, " T ", o.temperature, " k ",
                  o.top_k, " p ", o.top_p, " min ", o.min_p, " u ", uniform, " id ", drawn.id);
  }
  CHECK(on_an_edge < kRows / 100);
}

// Trap 27: at T = 2 the four probabilities become .370 .262 .203 .165, and the first three are needed for 0.7; filtered
// before the temperature, two would do.
TEST_CASE("sampler: the temperature comes before top-p") {
  std::vector<float> logits;
  for (double p : {0.5, 0.25, 0.15, 0.1}) logits.push_back(static_cast<float>(std::log(p)));
  const SamplingOptions hot{.temperature = 2.0, .top_p = 0.7}, plain{.top_p = 0.7};
  CHECK(draw(logits, hot, 0.99).id == 2);
  CHECK(draw(logits, plain, 0.99).id == 1);
  CHECK(draw(logits, hot, 0.99).logprob == doctest::Approx(std::log(0.15)));  // reported at temperature 1
}

TEST_CASE("sampler: frequencies follow the probabilities") {
  const std::vector<float> logits{0.0f, 1.0f, -1.0f, 0.5f, 2.0f, 1.5f, -0.5f, 0.25f};
  for (const SamplingOptions& o : {SamplingOptions{}, SamplingOptions{.temperature = 0.7, .top_k = 6},
                                   SamplingOptions{.temperature = 1.5, .top_p = 0.8}, SamplingOptions{.min_p = 0.3}}) {
    const std::vector<double> p = kept_probabilities(logits, o, false);
    constexpr int kDraws = 40000;
    std::vector<int64_t> count(logits.size(), 0);
    const Rng rng(11, Purpose::sample);
    for (uint32_t i = 0; i < kDraws; ++i) ++count[draw(logits, o, rng.at(i)).id];
    double chi2 = 0.0;
    for (size_t i = 0; i < p.size(); ++i) {
      if (p[i] == 0.0)
        CHECK(count[i] == 0);
      else
        chi2 += std::pow(static_cast<double>(count[i]) - kDraws * p[i], 2) / (kDraws * p[i]);
    }
    CHECK(chi2 < 24.3);  // seven degrees of freedom at most: one in a thousand, with a fixed seed
  }
}

TEST_CASE("sampler: greedy takes the greatest logit, the lowest id among equals") {
  const SamplingOptions greedy{.greedy = true};
  CHECK(draw({1, 3, 2, 3, 3, 0}, greedy, 0.99).id == 1);
  CHECK(draw({1, 3, 2, 9, 3, 9}, greedy, 0.0, true).id == 1);  // 3 and 5 are end ids
  // Neighbours in fp32 whose exponentials are equal.
  const float small = 0.01f;
  CHECK(draw({small, std::nextafter(small, 1.0f), 0, 0, 0, 0}, greedy, 0.0).id == 1);
}

// 1 / temperature is more than a float holds.
TEST_CASE("sampler: a temperature next to nothing is as good as greedy") {
  const std::vector<float> logits{-2, 3, 2.999f, -INFINITY, 1e30f, 4};
  for (const double temperature : {1e-40, 1e-300, 5e-324}) {
    for (SamplingOptions o : {SamplingOptions{}, SamplingOptions{.top_k = 2}, SamplingOptions{.top_p = 0.9},
                              SamplingOptions{.min_p = 0.1}}) {
      o.temperature = temperature;
      CHECK(draw(logits, o, 0.99).id == 4);
      CHECK(draw({-2, 3, 2.999f, -INFINITY, 0, 4}, o, 0.99, true).id == 1);
      CHECK(draw({1, 1, 0, 0, 0, 0}, o, 0.99).id == 1);  // of equals each may come
    }
  }
}

TEST_CASE("sampler: forced tokens, and end tokens that stand far above all others") {
  CHECK(draw({0, 50, 0, 0, 0, 0}, {}, 0.5, false, 4).id == 4);
  CHECK(draw({0, 50, 0, 0, 0, 0}, {}, 0.5, false, 4).logprob == doctest::Approx(-50.0));
  const std::vector<float> sure_of_the_end{-150, -140, -160, 0, -155, 0};
  for (const SamplingOptions& o :
       {SamplingOptions{.greedy = true}, SamplingOptions{}, SamplingOptions{.temperature = 0.1}}) {
    CHECK(draw(sure_of_the_end, o, 0.3, true).id == 1);
  }
  CHECK(draw(sure_of_the_end, {}, 0.3, true).logprob == doctest::Approx(-140.0 - std::log(2.0)));
}

TEST_CASE("sampler: ids from `drawable` up are never drawn, and log-probs are of the full distribution") {
  const std::vector<float> logits{0, 1, 2, 3, 40, 40};
  for (const SamplingOptions& o : {SamplingOptions{.greedy = true, .drawable = 3}, SamplingOptions{.drawable = 3},
                                   SamplingOptions{.top_k = 2, .top_p = 0.9, .min_p = 0.01, .drawable = 3},
                                   SamplingOptions{.top_k = 5, .drawable = 3}}) {
    const DrawnToken token = draw(logits, o, 0.999);
    CHECK(token.id == 2);
    CHECK(token.logprob == doctest::Approx(2 - 40 - std::log(2.0)));
  }
  CHECK(draw(logits, {.drawable = 1}, 0.999).id == 0);
  CHECK(draw({1, 2, 0, 9, 0, 9}, {.greedy = true, .drawable = 4}, 0.5, true).id == 1);  // 3 and 5 are end ids
  CHECK_THROWS_AS(draw({1, 2, 0, 9, 0, 9}, {.drawable = 0}, 0.5), Error);
}

// Compared with a plain sampler above, but never with exactly top_k tokens of some weight.
TEST_CASE("sampler: top_k tokens above the least weight that is looked at, and a long tail below it") {
  std::vector<float> logits(1003, std::log(0.0019f));
  logits[0] = 0;
  logits[1] = std::log(0.5f);
  const SamplingOptions o{.top_k = 2, .top_p = 0.6};  // 1 / 1.5 is enough
  CHECK(draw(logits, o, 0.9).id == 0);
  CHECK(draw(logits, {.top_k = 2}, 0.9).id == 1);
}

// Where nothing is cut, whole blocks of tokens are counted off: some have no weight, the last ones, too.
TEST_CASE("sampler: long rows without a filter") {
  Rng rng(12, Purpose::sample);
  int64_t on_an_edge = 0;
  for (int i = 0; i < 300; ++i) {
    std::vector<float> logits(1 + rng.below(9000));
    for (float& x : logits) x = static_cast<float>(2.0 * rng.normal());
    if (rng.below(2)) std::fill(logits.begin() + rng.below(logits.size()), logits.end(), -INFINITY);
    if (rng.below(2)) std::fill(logits.begin(), logits.begin() + rng.below(logits.size()), -INFINITY);
    logits[rng.below(logits.size())] = 1.0f;
    const double uniform = i % 5 == 0 ? 0.0 : i % 5 == 1 ? 1.0 - 0x1p-53 : rng.uniform();
    const DrawnToken drawn = draw(logits, {}, uniform);
    const std::vector<double> p = kept_probabilities(logits, {}, false);
    CHECK(p[drawn.id] > 0.0);
    if (drawn.id == pick(p, uniform)) continue;
    ++on_an_edge;
    CHECK(within_rounding(drawn.id, logits, {}, uniform, false));
  }
  CHECK(on_an_edge <= 3);
}

TEST_CASE("sampler: logits that are not finite are an error") {
  for (float bad : {NAN, INFINITY}) {
    CHECK_THROWS_AS(draw({0, 1, bad, 2, 0, 0}, {}, 0.5), Error);
    CHECK_THROWS_AS(draw({0, 1, bad, 2, 0, 0}, {.greedy = true}, 0.5), Error);
  }
  CHECK_THROWS_AS(draw(std::vector<float>(6, -INFINITY), {}, 0.5), Error);
}
