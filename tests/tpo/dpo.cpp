#include "tpo/dpo.h"

#include <doctest/doctest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tensor/check.h"
#include "tensor/rng.h"
#include "tpo/logistic.h"

using namespace thinker;

namespace {

bool near(double a, double b, double tolerance = 1e-12) {
  return std::abs(a - b) <= tolerance * (1 + std::abs(b));
}

DpoOptions options(DpoLoss loss, double beta = 0.1, double smoothing = 0, double nll = 0) {
  return {loss, beta, smoothing, nll};
}

const DpoOptions kEach[] = {options(DpoLoss::sigmoid),
                            options(DpoLoss::ipo),
                            options(DpoLoss::cdpo, 0.1, 0.2),
                            options(DpoLoss::robust, 0.3, 0.2),
                            options(DpoLoss::sigmoid, 0.5, 0, 1.5),
                            options(DpoLoss::ipo, 0.2, 0, 0.7)};

PairLogps random_pair(Rng& rng) {
  return {-50 * rng.uniform(), -50 * rng.uniform(), -50 * rng.uniform(),
          -50 * rng.uniform(), 1 + rng.below(40),   1 + rng.below(40)};
}

}  // namespace

// Trap 8: at zero margin the loss is ln 2 (1/(4 beta^2) for IPO), whatever the log-probs are, and the margin exactly 0.
TEST_CASE("dpo: closed values where policy and reference agree") {
  const PairLogps equal{-12.25, -80.5, -12.25, -80.5, 7, 31};
  for (const DpoOptions& o :
       {options(DpoLoss::sigmoid), options(DpoLoss::cdpo, 0.1, 0.3), options(DpoLoss::robust, 0.1, 0.3)}) {
    const PairLoss result = dpo_pair(equal, o, 1);
    CHECK(near(result.loss, std::log(2.0), 1e-15));
    CHECK(result.reward_chosen - result.reward_rejected == 0.0);
    CHECK(result.accuracy == 0.5);  // trap 11
  }
  const PairLoss ipo = dpo_pair(equal, options(DpoLoss::ipo, 0.1), 1);
  CHECK(near(ipo.loss, 25.0));
  CHECK(near(dpo_pair(equal, options(DpoLoss::sigmoid), 1).d_policy_chosen, -0.05));
  CHECK(near(dpo_pair(equal, options(DpoLoss::sigmoid), 1).d_policy_rejected, 0.05));
}

// Traps 1 and 2: DPO uses sums, so token counts don't matter to it; IPO uses means, so they do.
TEST_CASE("dpo: sums for sigmoid, means for ipo") {
  PairLogps pair{-10, -20, -11, -18, 4, 9};
  const PairLogps longer{-10, -20, -11, -18, 8, 3};
  CHECK(dpo_pair(pair, options(DpoLoss::sigmoid), 1).loss == dpo_pair(longer, options(DpoLoss::sigmoid), 1).loss);
  CHECK(near(dpo_pair(pair, options(DpoLoss::sigmoid), 1).loss, std::log1p(std::exp(-0.1 * 3))));
  const double distance = 1.0 / 4 + 2.0 / 9 - 5;
  CHECK(near(dpo_pair(pair, options(DpoLoss::ipo), 1).loss, distance * distance));
}

// Trap 5: cDPO adds the flipped term, robust DPO subtracts it and divides by 1 - 2e. Trap 3: each name is its own loss.
TEST_CASE("dpo: cdpo and robust are two formulas") {
  const PairLogps pair{-10, -20, -15, -12, 4, 9};  // m = 5 + 8 = 13
  const double down = std::log1p(std::exp(-1.3)), up = std::log1p(std::exp(1.3)), e = 0.2;
  CHECK(near(dpo_pair(pair, options(DpoLoss::cdpo, 0.1, e), 1).loss, (1 - e) * down + e * up));
  CHECK(near(dpo_pair(pair, options(DpoLoss::robust, 0.1, e), 1).loss, ((1 - e) * down - e * up) / (1 - 2 * e)));
  CHECK(near(dpo_pair(pair, options(DpoLoss::cdpo, 0.1, 0), 1).loss, down));
  CHECK(near(dpo_pair(pair, options(DpoLoss::robust, 0.1, 0), 1).loss, down));
}

// Trap 6: gradients against central differences, token counts and NLL included.
TEST_CASE("dpo: gradients equal finite differences") {
  Rng rng(11, Purpose::generate_data);
  for (int trial = 0; trial < 200; ++trial) {
    const PairLogps pair = random_pair(rng);
    for (const DpoOptions& o : kEach) {
      const PairLoss result = dpo_pair(pair, o, 3);
      const double h = 1e-4;
      const auto loss_with = [&](double chosen, double rejected) {
        PairLogps moved = pair;
        moved.policy_chosen += chosen;
        moved.policy_rejected += rejected;
        return dpo_pair(moved, o, 3).loss / 3;
      };
      REQUIRE(near(result.d_policy_chosen, (loss_with(h, 0) - loss_with(-h, 0)) / (2 * h), 1e-7));
      REQUIRE(near(result.d_policy_rejected, (loss_with(0, h) - loss_with(0, -h)) / (2 * h), 1e-7));
    }
  }
}

TEST_CASE("dpo: values and gradients equal PyTorch's") {
  std::ifstream file("tests/goldens/dpo.json");
  REQUIRE(file);
  const auto cases = nlohmann::json::parse(file);
  REQUIRE(cases.size() == 48);
  for (const auto& c : cases) {
    const std::string kind = c["loss_type"];
    const DpoLoss loss = kind == "sigmoid" ? DpoLoss::sigmoid
                         : kind == "ipo"   ? DpoLoss::ipo
                         : kind == "cdpo"  ? DpoLoss::cdpo
                                           : DpoLoss::robust;
    const PairLogps pair{c["policy"][0],    c["policy"][1], c["reference"][0],
                         c["reference"][1], c["tokens"][0], c["tokens"][1]};
    const PairLoss result = dpo_pair(pair, options(loss, c["beta"], c["label_smoothing"], c["nll"]), 1);
    INFO(c.dump());
    CHECK(near(result.loss, c["loss"].get<double>(), 1e-11));
    CHECK(near(result.d_policy_chosen, c["gradient"][0].get<double>(), 1e-11));
    CHECK(near(result.d_policy_rejected, c["gradient"][1].get<double>(), 1e-11));
  }
}

// Trap 7: softplus, so that no margin overflows and none gives log 0.
TEST_CASE("dpo: extreme margins stay finite and accurate") {
  for (double m : {-1e6, -1e4, 1e4, 1e6})
    for (const DpoOptions& o : kEach) {
      const PairLoss result = dpo_pair({m, 0, 0, 0, 5, 5}, o, 1);
      CHECK(std::isfinite(result.loss));
      CHECK(std::isfinite(result.d_policy_chosen));
      CHECK(std::isfinite(result.d_policy_rejected));
    }
  CHECK(near(softplus(-40), std::exp(-40.0), 1e-15));
  CHECK(softplus(-40) > 0);
  CHECK(softplus(1000) == 1000);
  CHECK(log_sigmoid(-1000) == -1000);
  CHECK(near(log_sigmoid(40), -std::exp(-40.0), 1e-15));
  CHECK(log_sigmoid(40) < 0);
  CHECK(sigmoid(-1000) == 0);
  CHECK(near(std::log(sigmoid(2)), log_sigmoid(2)));
  CHECK(near(dpo_pair({-1e4, 0, 0, 0, 5, 5}, options(DpoLoss::sigmoid), 1).loss, 1000));
}

// Trap 14: the gradient is that of the mean over the optimizer batch, however it is cut into micro-batches.
TEST_CASE("dpo: gradients of micro-batches add up, and the meter reports means") {
  Rng rng(12, Purpose::generate_data);
  DpoMeter meter;
  double losses = 0, kl = 0;
  int64_t tokens = 0;
  for (int i = 0; i < 8; ++i) {
    const PairLogps pair = random_pair(rng);
    const PairLoss one = dpo_pair(pair, kEach[4], 1), of_batch = dpo_pair(pair, kEach[4], 8);
    CHECK(one.loss == of_batch.loss);
    CHECK(near(of_batch.d_policy_chosen * 8, one.d_policy_chosen));
    meter.add(pair, of_batch);
    losses += one.loss;
    kl += pair.reference_chosen + pair.reference_rejected - pair.policy_chosen - pair.policy_rejected;
    tokens += pair.tokens_chosen + pair.tokens_rejected;
  }
  CHECK(near(meter.loss(), losses / 8));
  CHECK(near(meter.margin(), meter.reward_chosen() - meter.reward_rejected()));
  CHECK(near(meter.kl(), kl / static_cast<double>(tokens)));
  CHECK_THROWS_AS(DpoMeter().loss(), Error);
}

TEST_CASE("dpo: nonsense is refused") {
  const PairLogps pair{-1, -1, -1, -1, 2, 2};
  CHECK_THROWS_AS(dpo_pair({std::nan(""), -1, -1, -1, 2, 2}, {}, 1),
                  Error);  // trap 13: a NaN never shows as a loss of 0
  CHECK_THROWS_AS(dpo_pair({-1, -1, -1, -1, 0, 2}, {}, 1), Error);
  CHECK_THROWS_AS(dpo_pair(pair, {}, 0), Error);
  CHECK_THROWS_AS(check_options(options(DpoLoss::sigmoid, 0)), Error);
  CHECK_THROWS_AS(check_options(options(DpoLoss::robust, 0.1, 0.5)), Error);
  CHECK_THROWS_AS(check_options(options(DpoLoss::sigmoid, 0.1, 0.1)), Error);  // trap 3: an option silently ignored
  CHECK_THROWS_AS(check_options(options(DpoLoss::sigmoid, 0.1, 0, std::nan(""))), Error);
  for (const DpoOptions& o : kEach) CHECK_NOTHROW(check_options(o));
}
