// The page's runs by arm, and what an arm's seeds say together.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tpo/report/experiment.h"
#include "tpo/report/run_data.h"
#include "tpo/report/svg.h"

namespace thinker::report {

using Runs = std::vector<RunData>;

/// The runs of one arm, one a seed.
struct Arm {
  std::string label;
  std::vector<const RunData*> runs;

  bool thinks() const { return runs.front()->thinks; }
};

/// Every run of every arm, called by its arm, and by its seed where the arm has several. Throws Error when a folder
/// holds no run, or when a line in it is broken (FILE:LINE).
Runs read_runs(const Experiment& experiment);

/// Runs of equal `arm`, in the order in which arms come.
std::vector<Arm> arms_of(const Runs& runs);

/// "direct baseline, ", to stand before a name; empty where the page has one arm only, which needs no name.
std::string named(const std::vector<Arm>& arms, const Arm& arm);

/// The mean over seeds of values that each have an interval over prompts. Its interval is Student's t over the seeds
/// (n - 1 degrees of freedom), which covers data, initialisation and draws together; where that is narrower than what
/// the prompts alone leave open (seeds that agree by luck), the latter. One value: itself. Throws Error for none.
Measured over_seeds(const std::vector<Measured>& seeds);

/// The 97.5 % quantile of Student's t: 12.706 for one degree of freedom, 1.96 for many.
double student_t(int64_t degrees);

/// A number of an evaluation, or nothing where it has none.
using Measure = std::function<std::optional<Measured>(const Evaluation&)>;

/// One point of an arm's curve.
struct ArmPoint {
  Stage stage;
  int64_t iteration = 0;
  std::string name;             // "iteration 2"
  std::vector<Measured> seeds;  // of the runs that have it, in the arm's order
  Measured all;                 // over_seeds
};

/// The arm's evaluations in the order of the work.
std::vector<ArmPoint> curve_of(const Arm& arm, const Measure& measure);
/// The last point after training; nothing when no run has trained.
std::optional<ArmPoint> last_trained(const Arm& arm, const Measure& measure);

/// The mean score; and the same as a Measure.
std::optional<Measured> score_of(const Evaluation& evaluation);

/// An arm minus another on the same prompts, seed by seed.
struct Difference {
  Measured all;
  std::vector<Measured> seeds;
  std::map<std::string, Measured> categories;
  WinCounts wins;  // prompts on which the first arm scored higher, as high, lower
};

/// The evaluation of a run at which arms are compared; null where the run has none such.
using When = std::function<const Evaluation*(const RunData&)>;
const Evaluation* at_begin(const RunData& run);  // the seed model in the arm's own style
const Evaluation* at_end(const RunData& run);    // the last after training
When after(int64_t iteration);

/// Runs are matched by their recipes' seeds, and a pair counts where both were asked the same and judged by the same
/// judge. Nothing when there is no such pair.
std::optional<Difference> difference_of(const Arm& a, const Arm& b, const When& when);

/// Why no runs of the two can be compared, in words; empty where some can be, once both have been evaluated.
std::string why_not_compared(const Arm& a, const Arm& b);

/// The first arm's win rate on the same prompts, as the judge says and at equal lengths (tpo/win_rate.h).
struct WinRates {
  Measured raw, equal_lengths;
};
std::optional<WinRates> win_rates_of(const Arm& a, const Arm& b, const When& when);

/// The arm's end minus one of its own beginnings, on the same prompts. Nothing where a run lacks either.
std::optional<Difference> gain_of(const Arm& arm, Stage before);

/// A chart of a measure by iteration, a line an arm with its interval, its seeds as thin lines; the seed model without
/// a thought prompt is a point of its own where no arm on the page is the direct one.
LineChart by_iteration(const Runs& runs, const std::string& title, const std::string& y_title, const Measure& measure);

}  // namespace thinker::report
