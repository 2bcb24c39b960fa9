// The page's two charts, as inline SVG: lines with intervals, and grouped bars.
//
// A chart is drawn 420 units wide with text of 12, and shown at most 600 pixels wide: readable on a telephone (358
// pixels) and on a desk. Colours are Okabe and Ito's, told apart under every common colour blindness; the page defines
// them as CSS variables, darker on light and lighter on dark. No meaning rests on colour alone: series differ in marker
// and dash too, and what a bar is compared with is hollow. Each mark has a <title>, which browsers show on hovering.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tpo/report/html.h"
#include "tpo/statistics.h"

namespace thinker::report {

struct Point {
  double x = 0.0, y = 0.0;
  std::optional<Interval> spread;
  std::string tip;
};

/// A line. Its pieces are drawn alike but not joined. A series beyond the sixth takes the first one's colour again, and
/// so on.
struct Series {
  std::string name;
  std::vector<std::vector<Point>> pieces;
  std::vector<std::vector<Point>> thin;  // faint lines behind, such as single seeds
};

struct Tick {
  double at;
  std::string label;
};

struct LineChart {
  std::string title;  // read out by screen readers
  std::string x_title, y_title;
  std::vector<Tick> x_ticks;    // none: round numbers
  std::vector<double> x_rules;  // faint upright lines
  std::vector<Series> series;
};

/// Points that are not finite are left out. Intervals are drawn as whiskers, and as a band behind a line of several
/// points.
Html line_chart(const LineChart& chart);

struct Bar {
  double value = 0.0;
  std::optional<Interval> spread;
};

enum class Fill { solid, hollow };

struct BarKind {
  std::string name;
  size_t colour = 0;  // as of series
  Fill fill = Fill::solid;
};

struct BarGroup {
  std::string label;
  std::vector<std::optional<Bar>> bars;  // one per kind; none: not measured
};

/// Horizontal bars from 0, each group under its label, so that long labels need no room beside.
struct BarChart {
  std::string title, value_title;
  std::vector<BarKind> kinds;
  std::vector<BarGroup> groups;
};

Html bar_chart(const BarChart& chart);

/// Round numbers, about `count` of them, from the last at or below low to the first at or above high.
std::vector<Tick> round_ticks(double low, double high, int count);

}  // namespace thinker::report
