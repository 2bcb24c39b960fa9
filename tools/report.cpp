// thinker report: runs -> one self-contained HTML page.
#include "tpo/report/report.h"

#include <iostream>

#include "tools/common.h"

namespace thinker {

namespace {

struct Options {
  std::vector<std::string> runs;
  std::string title, out;
};

}  // namespace

void add_report(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("report", "a run, or several compared, as a page: scores, charts, samples");
  command->add_option("RUN", options->runs, "folders of runs, such as runs/NAME; the first one's colour is blue")
      ->required();
  command->add_option("--title", options->title, "heading (default: the runs' names)");
  command->add_option("--out", options->out, "HTML file to write (default: report.html in the first run's folder)");
  command->callback([options] {
    const std::string out = options->out.empty() ? options->runs.front() + "/report.html" : options->out;
    write_report(options->runs, options->title, out);
    std::cerr << "wrote " << out << "\n";
  });
}

}  // namespace thinker
