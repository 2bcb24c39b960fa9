// thinker judge-report: what judgments tell about the judge, and how far two judges agree.
#include "tpo/judge_report.h"

#include <iostream>

#include "tools/common.h"

namespace thinker {

void add_judge_report(Command& program) {
  auto files = std::make_shared<std::vector<std::string>>();
  Command command = program.add_subcommand("judge-report", "a judge's failures, ties and biases; how far two agree");
  command.add_option("JUDGMENTS", *files, "one or two judgments.jsonl of the same samples").required().expected(1, 2);
  command.callback([files] {
    std::vector<Judgments> judgments;
    std::vector<Json> reports;
    for (const std::string& file : *files) {
      judgments.push_back(read_judgment_file(file));
      reports.push_back(judge_report(judgments.back()));
      reports.back()["file"] = file;
    }
    for (const Json& report : files->size() == 2 ? reports : std::vector<Json>())
      if (report["judged"] > 0 && report["errors"] == report["judged"])
        fail(report["file"].get<std::string>(), ": all ", report["judged"].dump(),
             " judgments failed: there is nothing to compare; judge these samples again");
    const Json agreement = files->size() == 2 ? judge_agreement(judgments[0], judgments[1]) : Json();
    std::cerr << describe_report(*files, reports, agreement);
    print_line({{"judges", reports}, {"agreement", agreement}});
  });
}

}  // namespace thinker
