// An experiment: several arms, each the same recipe run with several seeds, and what was claimed of them. It is what
// the report page shows, and what `thinker demo` leaves as experiment.json beside its runs.
#pragma once

#include <string>
#include <vector>

#include "tpo/jsonl.h"

namespace thinker {

/// One arm: the same recipe run with several seeds.
struct ExperimentArm {
  std::string name;               // short, such as "thinking"
  std::string label;              // what people read, such as "with thoughts (TPO)"
  std::vector<std::string> runs;  // run folders, one per seed
};

/// A statement that the experiment itself checked.
struct Claim {
  /// set_up: it follows from how the experiment was made, such as the seed model's data; it is no finding.
  enum class Kind { set_up, finding };

  std::string id;  // "a"
  Kind kind = Kind::finding;
  bool held = false;
  std::string text;  // with its numbers
};

/// What only the experiment knows how to read from its runs: a chart by iteration, and a table under it.
struct Exhibit {
  struct Line {
    std::string name;
    std::vector<double> values;  // from iteration 0 on
  };
  std::string title, words, y_title;
  std::vector<Line> lines;
  std::vector<std::string> headers;            // the first is of the rows' labels
  std::vector<std::vector<std::string>> rows;  // a cell for each header
};

struct Experiment {
  std::string title;
  std::vector<std::string> introduction;  // paragraphs
  std::vector<ExperimentArm> arms;
  std::vector<Claim> claims;
  std::vector<Exhibit> exhibits;
  Json seed_recipe;  // an object, shown as a table: how the seed model was made; or null
};

/// experiment.json. The arms' runs are written as they are: give them relative to the experiment's folder, so that the
/// folder can be moved.
Json experiment_to_json(const Experiment& experiment);

/// FOLDER/experiment.json, its runs as paths that can be opened (FOLDER in front of the relative ones). Throws Error
/// "FILE: reason".
Experiment read_experiment(const std::string& folder);

/// Each run an arm of its own, called by the folder's last part, or by its whole path where two end alike; no claims.
/// An empty title: the runs' names. Throws Error when no folder is given.
Experiment experiment_of_runs(const std::vector<std::string>& folders, const std::string& title = "");

}  // namespace thinker
