// thinker report: an experiment, or runs -> one self-contained HTML page, or Markdown.
#include "tpo/report/report.h"

#include <filesystem>
#include <iostream>

#include "tensor/check.h"
#include "tensor/file.h"
#include "tools/common.h"

namespace thinker {

namespace {

struct Options {
  std::vector<std::string> folders;
  std::string title, out;
  bool markdown = false;
};

bool holds_experiment(const std::string& folder) {
  return std::filesystem::exists(folder + "/experiment.json");
}

Experiment experiment_of(const Options& options) {
  for (const std::string& folder : options.folders)
    if (!std::filesystem::is_directory(folder)) fail(folder, ": there is no such folder");
  if (options.folders.size() == 1 && holds_experiment(options.folders[0])) {
    Experiment experiment = read_experiment(options.folders[0]);
    if (!options.title.empty()) experiment.title = options.title;
    return experiment;
  }
  for (const std::string& folder : options.folders)
    if (holds_experiment(folder)) fail(folder, ": is an experiment; give it alone, or the runs in it");
  return experiment_of_runs(options.folders, options.title);
}

/// A page may take an older one's place in a run's folder, but not that of what the run has written there.
void check_loses_nothing(const std::string& out, const std::vector<std::string>& folders) {
  const std::filesystem::path place = std::filesystem::weakly_canonical(out), kind = place.extension();
  if (kind == ".html" || kind == ".md" || !std::filesystem::exists(place)) return;
  for (const std::string& folder : folders) {
    const auto from_run = place.lexically_relative(std::filesystem::weakly_canonical(folder));
    if (!from_run.empty() && *from_run.begin() != "..")
      throw UsageError(concat("--out ", out, ": is a file of the run ", folder, ", which would be lost; name another"));
  }
}

void run(const Options& options) {
  const Experiment experiment = experiment_of(options);
  if (options.markdown && options.out.empty()) {
    std::cout << report_markdown(experiment);
    return;
  }
  const std::string out = options.out.empty() ? options.folders.front() + "/report.html" : options.out;
  check_output_file(out);
  check_loses_nothing(out, options.folders);
  if (options.markdown)
    write_file_atomically(out, report_markdown(experiment));
  else
    write_report(experiment, out);
  std::cerr << "wrote " << out << "\n";
}

}  // namespace

void add_report(Command& program) {
  auto options = std::make_shared<Options>();
  Command command = program.add_subcommand("report", "a run, or several compared, as a page: scores, charts, samples");
  command
      .add_option("RUN", options->folders,
                  "folders of runs, such as runs/NAME; or one that holds experiment.json, such as a demo's")
      .required();
  command.add_option("--title", options->title, "heading (default: the experiment's, or the runs' names)");
  command.add_flag("--markdown", options->markdown, "tables and claims in Markdown, for a README, to stdout or --out");
  command.add_option("--out", options->out, "file to write (default: report.html in the first folder)");
  command.callback([options] { run(*options); });
}

}  // namespace thinker
