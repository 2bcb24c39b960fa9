// The report's markup, tables and charts.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "tensor/check.h"
#include "tests/tpo/page_text.h"
#include "tpo/report/html.h"
#include "tpo/report/svg.h"

using namespace thinker;
using namespace thinker::report;
using test::contains;
using test::kScript;
using test::occurrences;

TEST_CASE("report html: data cannot become markup") {
  CHECK(text("<a href=\"x\" title='y'>&").str() == "&lt;a href=&quot;x&quot; title=&#39;y&#39;&gt;&amp;");
  CHECK(text(std::string("a\0b\x1B\x7F\n\tc", 8)).str() == "a\uFFFDb\uFFFD\uFFFD\n\tc");
  CHECK(text("\xC3(\xFFz").str() == "\uFFFD(\uFFFDz");
  CHECK(text("\u00E9\u4F60").str() == "\u00E9\u4F60");
  CHECK(element("p", {{"title", "\"><script>"}}, text("<b>")).str() ==
        "<p title=\"&quot;&gt;&lt;script&gt;\">&lt;b&gt;</p>");
  CHECK(element("i", {{"x", 1.50}, {"y", -3.0}, {"z", 100.0}, {"w", 0.001}}).str() ==
        "<i x=\"1.5\" y=\"-3\" z=\"100\" w=\"0\"></i>");
  CHECK_THROWS_AS(element("i", {{"x", std::nan("")}}), Error);
  Table table({"name", "value"});
  table.row({kScript, "1"});
  CHECK(!contains(table.html().str(), "<script"));
  CHECK_THROWS_AS(table.row({"one"}), Error);
}

TEST_CASE("report html: numbers") {
  CHECK(fixed(1.0, 3) == "1.000");
  CHECK(fixed(-0.0004, 3) == "0.000");
  CHECK(fixed(-0.0006, 3) == "-0.001");
  CHECK(fixed(std::nan(""), 3) == "not finite");
  CHECK(percent(0.9275) == "92.8 %");
}

TEST_CASE("report svg: round ticks hold the range, whatever the range") {
  const auto labels = [](double low, double high) {
    std::string all;
    for (const Tick& t : round_ticks(low, high, 5)) all += t.label + " ";
    return all;
  };
  CHECK(labels(0, 1) == "0.0 0.2 0.4 0.6 0.8 1.0 ");
  CHECK(labels(0.31, 0.86) == "0.2 0.4 0.6 0.8 1.0 ");
  CHECK(labels(-130, 40) == "-150 -100 -50 0 50 ");
  CHECK(labels(7, 7) == "6.0 6.5 7.0 7.5 8.0 ");
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  for (const auto& [low, high] : std::vector<std::pair<double, double>>{{0, 0},
                                                                        {1e16, 1e16 + 2},
                                                                        {-1e-300, 1e-300},
                                                                        {-1e99, 1e99},
                                                                        {0, kInfinity},
                                                                        {std::nan(""), 1},
                                                                        {2, 1},
                                                                        {0, 1e308},
                                                                        {1e-7, 3e-7}}) {
    const std::vector<Tick> ticks = round_ticks(low, high, 5);
    CAPTURE(low);
    CAPTURE(high);
    CHECK(ticks.size() >= 2);
    CHECK(ticks.size() <= 52);
    CHECK(ticks.back().at > ticks.front().at);
    if (std::abs(low) < 1e100 && std::abs(high) < 1e100 && low <= high) {
      CHECK(ticks.front().at <= low);
      CHECK(ticks.back().at >= high);
    }
  }
}

TEST_CASE("report svg: lines stand where their numbers are, and what is not finite is left out") {
  LineChart chart{"scores", "iteration", "score", {{0, "0"}, {1, "1"}, {2, "2"}}, {}, {}};
  chart.series.push_back(
      {kScript,
       {{{0, 0.0, Interval{0.0, 0.2}, "a"}, {1, std::nan(""), std::nullopt, "b"}, {2, 1.0, Interval{0.8, 1.0}, "c"}}},
       {{{0, 0.5, std::nullopt, ""}, {1, std::nan(""), std::nullopt, ""}, {2, 0.5, std::nullopt, ""}}}});
  const std::string svg = line_chart(chart).str();
  CHECK(!contains(svg, "<script"));
  CHECK(contains(svg, "points=\"72.0,210.0 384.0,24.0 \""));  // the two corners of the frame
  CHECK(occurrences(svg, "<title>") == 2);
  CHECK(occurrences(svg, "class=\"band\"") == 1);
  CHECK(occurrences(svg, "class=\"whisker\"") == 2);
  CHECK(contains(svg, "points=\"72.0,117.0 384.0,117.0 \" class=\"thin\""));
  CHECK(contains(svg, "from 0.000 to 1.000"));  // the description
  CHECK(!contains(svg, "nan"));
  chart.series.clear();
  CHECK(contains(line_chart(chart).str(), "nothing to draw"));
}

TEST_CASE("report svg: bars begin at 0, on both sides of it") {
  BarChart chart{"by category", "score", {{"before", 0, Fill::hollow}, {"after", 0, Fill::solid}}, {}};
  chart.groups.push_back({"a", {Bar{-1.0, std::nullopt}, Bar{1.0, Interval{0.5, 1.0}}}});
  chart.groups.push_back({"b", {std::nullopt, Bar{0.0, std::nullopt}}});
  const std::string svg = bar_chart(chart).str();
  CHECK(contains(svg, "<rect x=\"14\" y=\"24.75\" width=\"195\""));   // -1 … 0
  CHECK(contains(svg, "<rect x=\"209\" y=\"33.75\" width=\"195\""));  // 0 … 1
  CHECK(occurrences(svg, "class=\"error\"") == 1);
  CHECK(contains(svg, "<text x=\"14\" y=\"19\" text-anchor=\"start\""));  // its name begins where the drawing does
  chart.groups[0].bars.pop_back();
  CHECK_THROWS_AS(bar_chart(chart), Error);
}
