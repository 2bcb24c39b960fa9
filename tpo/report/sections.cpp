#include "tpo/report/sections.h"

#include <algorithm>
#include <cmath>

#include "tensor/check.h"
#include "tpo/report/svg.h"
#include "tpo/text.h"

namespace thinker::report {

Html section(const char* heading, const Html& inner) {
  return element("section", element("h2", text(heading)) + inner) + "\n"_html;
}

Html paragraph(const std::string& data) {
  return element("p", text(data)) + "\n"_html;
}

Html figure(const std::string& caption, const Html& chart, const Html& table) {
  const Html numbers = table.empty() ? Html() : element("details", "<summary>Numbers</summary>"_html + table);
  return element("figure", element("figcaption", text(caption)) + chart + numbers) + "\n"_html;
}

Html figures(const Html& inner) {
  return element("div", {{"class", "figures"}}, inner);
}

Html folded_when_long(const std::string& label, const Table& table) {
  constexpr size_t kLong = 12;
  if (table.size() <= kLong) return paragraph(label + ":") + table.html();
  return element("details", element("summary", text(label)) + table.html());
}

int score_decimals(const Runs& runs) {
  double most = 0;
  for (const RunData& run : runs)
    for (const Evaluation& e : run.evaluations) most = std::max(most, std::abs(e.summary.score));
  return most <= 1 ? 3 : most <= 10 ? 2 : 1;
}

std::string category_label(const std::string& category) {
  return category.empty() ? "(no category)" : excerpt(category, 48);
}

Html measure_table(const Runs& runs, const std::string& header, const Measure& measure, int decimals) {
  const std::vector<Arm> arms = arms_of(runs);
  Table table({"arm", "model", header + " [95 % interval]", "each seed", "outputs"}, 2);
  for (const Arm& arm : arms) {
    for (const ArmPoint& p : curve_of(arm, measure)) {
      std::string seeds;
      for (const Measured& m : p.seeds) seeds += (seeds.empty() ? "" : ", ") + fixed(m.mean, decimals);
      table.row({arm.label, p.name, with_interval(p.all, decimals), seeds, std::to_string(p.all.count)});
    }
  }
  if (arms.size() == runs.size()) table.hide(3);
  if (arms.size() == 1) table.hide(0);
  return table.html();
}

Html length_section(const Runs& runs) {
  const auto thought = [](const Evaluation& e) {
    return e.thought_length.count ? std::optional(e.thought_length) : std::nullopt;
  };
  const auto response = [](const Evaluation& e) {
    return e.response_length.count ? std::optional(e.response_length) : std::nullopt;
  };
  const Html charts =
      figure("Thought length", line_chart(by_iteration(runs, "Thought length by iteration", "characters", thought)),
             measure_table(runs, "characters", thought, 1)) +
      figure("Response length", line_chart(by_iteration(runs, "Response length by iteration", "characters", response)),
             measure_table(runs, "characters", response, 1));
  return section("Lengths",
                 paragraph("Mean length in Unicode characters, of held-out outputs that parsed.") + figures(charts));
}

Html parse_section(const Runs& runs) {
  const auto rate = [](const Evaluation& e) { return e.parsed.count ? std::optional(e.parsed) : std::nullopt; };
  Html inner = paragraph(
      "How many outputs follow the format, so that thought and response can be told apart. An output without a clear "
      "response is never judged and never chosen.");
  Html charts = figure("Held-out outputs that parse at the first attempt",
                       line_chart(by_iteration(runs, "Parse rate by iteration", "% of outputs", rate)),
                       measure_table(runs, "%", rate, 1));
  static const Parse kReasons[] = {
      Parse::ok, Parse::no_open, Parse::no_marker, Parse::empty_response, Parse::repeated_marker, Parse::no_end};
  Table table({"arm", "iteration", "samples", "ok", "no opening marker", "no response marker", "empty response",
               "marker again", "cut off"});
  const std::vector<Arm> arms = arms_of(runs);
  for (const Arm& arm : arms) {
    std::map<int64_t, std::vector<int64_t>> counts;  // by iteration: of samples, and of each reason; seeds together
    for (const RunData* run : arm.runs) {
      for (const IterationData& data : run->iterations) {
        auto& row = counts[data.iteration];
        row.resize(1 + std::size(kReasons));
        row[0] += static_cast<int64_t>(data.samples.size());
        for (size_t r = 0; r < std::size(kReasons); ++r)
          row[r + 1] += std::count_if(data.samples.begin(), data.samples.end(),
                                      [&](const auto& s) { return s.split.parse == kReasons[r]; });
      }
    }
    for (const auto& [iteration, row] : counts) {
      std::vector<std::string> cells{arm.label, std::to_string(iteration)};
      for (int64_t n : row) cells.push_back(std::to_string(n));
      table.row(std::move(cells));
    }
  }
  if (arms.size() == 1) table.hide(0);
  if (!table.empty()) charts += element("div", folded_when_long("Training samples, by what the splitter said", table));
  return section("Format", inner + figures(charts));
}

}  // namespace thinker::report
