#include "tpo/report/svg.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tensor/check.h"

namespace thinker::report {

namespace {

constexpr double kWidth = 420;
constexpr size_t kColours = 6;

/// Maps data to units of the drawing.
struct Scale {
  double low, high, from, to;

  double operator()(double x) const { return from + (x - low) / (high - low) * (to - from); }
};

Scale scale_of(const std::vector<Tick>& ticks, double from, double to) {
  return {ticks.front().at, ticks.back().at, from, to};
}

/// The range of what is drawn, so far.
struct Range {
  double low = std::numeric_limits<double>::infinity(), high = -std::numeric_limits<double>::infinity();

  void add(double x) {
    low = std::min(low, x);
    high = std::max(high, x);
  }
  bool empty() const { return low > high; }
};

bool drawable(double x) {
  return std::isfinite(x) && std::abs(x) < 1e100;
}
bool drawable(const Point& p) {
  return drawable(p.x) && drawable(p.y) && (!p.spread || (drawable(p.spread->low) && drawable(p.spread->high)));
}

std::string colour_class(size_t index) {
  return "c" + std::to_string(index % kColours);
}

Html line(double x1, double y1, double x2, double y2, const char* style) {
  return element("line", {{"x1", x1}, {"y1", y1}, {"x2", x2}, {"y2", y2}, {"class", style}});
}

Html words(double x, double y, const char* anchor, std::string_view data) {
  return element("text", {{"x", x}, {"y", y}, {"text-anchor", anchor}}, text(data));
}

/// The title and the description are what a screen reader reads out.
Html drawing(double height, const std::string& title, const std::string& description, const Html& inner) {
  return element("svg",
                 {{"viewBox", concat("0 0 ", kWidth, " ", height)},
                  {"role", "img"},
                  {"aria-label", title},
                  {"class", "chart"}},
                 element("desc", text(description)) + inner) +
         "\n"_html;
}

/// "with thoughts: from 0.460 to 0.968; direct: …".
std::string description_of(const LineChart& chart) {
  std::string out = concat(chart.y_title, " by ", chart.x_title, ".");
  for (const Series& s : chart.series) {
    std::vector<Point> points;
    for (const auto& piece : s.pieces)
      std::copy_if(piece.begin(), piece.end(), std::back_inserter(points), [](const Point& p) { return drawable(p); });
    if (points.empty()) continue;
    out += concat(" ", s.name, ": from ", fixed(points.front().y, 3), " to ", fixed(points.back().y, 3), ".");
  }
  return out + " Each point's title has its number.";
}

Html mark(size_t shape, double x, double y, const std::string& tip) {
  const Html title = tip.empty() ? Html() : element("title", text(tip));
  const double r = 4;
  switch (shape % 4) {
    case 0: return element("circle", {{"cx", x}, {"cy", y}, {"r", r}}, title);
    case 1:
      return element("rect", {{"x", x - r + 0.5}, {"y", y - r + 0.5}, {"width", 2 * r - 1}, {"height", 2 * r - 1}},
                     title);
    case 2:
      return element("path", {{"d", concat("M", x, " ", y - r, "l", r, " ", 2 * r - 1, "h", -2 * r, "z")}}, title);
    default:
      return element(
          "path", {{"d", concat("M", x, " ", y - r, "l", r, " ", r, "l", -r, " ", r, "l", -r, " ", -r, "z")}}, title);
  }
}

const char* dash(size_t index) {
  static const char* const kDashes[] = {"", "7 3", "2 3", "8 3 2 3"};
  return kDashes[index % 4];
}

Html swatch(size_t index) {
  const Html sample = element("line", {{"x1", 1.0},
                                       {"y1", 6.0},
                                       {"x2", 27.0},
                                       {"y2", 6.0},
                                       {"class", "stroke"},
                                       {"stroke-dasharray", dash(index)}}) +
                      element("g", {{"class", "mark"}}, mark(index, 14, 6, ""));
  return element("svg",
                 {{"viewBox", "0 0 28 12"}, {"class", concat("swatch ", colour_class(index))}, {"aria-hidden", "true"}},
                 sample);
}

Html bar_swatch(const BarKind& kind) {
  const Html sample = element("rect", {{"x", 1.0},
                                       {"y", 1.5},
                                       {"width", 26.0},
                                       {"height", 9.0},
                                       {"class", kind.fill == Fill::solid ? "bar" : "hollow"}});
  return element(
      "svg",
      {{"viewBox", "0 0 28 12"}, {"class", concat("swatch ", colour_class(kind.colour))}, {"aria-hidden", "true"}},
      sample);
}

Html legend_entry(const Html& sample, const std::string& name) {
  return element("span", {{"class", "key"}}, sample + element("bdi", text(name)));
}

/// Coordinates of a path: "x,y x,y …".
std::string coordinates(const std::vector<std::pair<double, double>>& points) {
  std::string out;
  for (const auto& [x, y] : points) out += fixed(x, 1) + "," + fixed(y, 1) + " ";
  return out;
}

/// A frame with its grid; gives both scales.
struct Frame {
  Scale x, y;
  Html drawn;
};

constexpr double kLeft = 48, kRight = 12, kTop = 24, kBottom = 40, kHeight = 250;

/// Drawn from the first point on: marks of different series at one x stand side by side.
double dodge(size_t index, size_t count) {
  return 5.0 * (static_cast<double>(index) - (static_cast<double>(count) - 1) / 2);
}

Frame frame(const LineChart& chart, const Range& xs, const Range& ys) {
  const std::vector<Tick> y_ticks = round_ticks(ys.low, ys.high, 5);
  const bool named = !chart.x_ticks.empty();
  const std::vector<Tick> x_ticks = named ? chart.x_ticks : round_ticks(xs.low, xs.high, 5);
  Frame f{{}, scale_of(y_ticks, kHeight - kBottom, kTop), {}};
  const double inset = named ? 24 : 4;
  Range shown = xs;
  if (named)
    for (const Tick& t : x_ticks) shown.add(t.at);
  if (!(shown.high > shown.low)) shown = {shown.low - 1, shown.high + 1};
  f.x = {shown.low, shown.high, kLeft + inset, kWidth - kRight - inset};
  for (const Tick& t : y_ticks) {
    f.drawn +=
        line(kLeft, f.y(t.at), kWidth - kRight, f.y(t.at), "grid") + words(kLeft - 6, f.y(t.at) + 4, "end", t.label);
  }
  for (double at : chart.x_rules) f.drawn += line(f.x(at), kTop, f.x(at), kHeight - kBottom, "rule");
  for (const Tick& t : x_ticks) {
    if (t.at < shown.low || t.at > shown.high) continue;
    f.drawn += line(f.x(t.at), kHeight - kBottom, f.x(t.at), kHeight - kBottom + 4, "axis") +
               words(f.x(t.at), kHeight - kBottom + 17, "middle", t.label);
  }
  f.drawn += line(kLeft, kHeight - kBottom, kWidth - kRight, kHeight - kBottom, "axis") +
             words(2, 13, "start", chart.y_title) +
             words((kLeft + kWidth - kRight) / 2, kHeight - 5, "middle", chart.x_title);
  return f;
}

Html draw_thin(const std::vector<Point>& piece, const Frame& f, double shift) {
  std::vector<std::pair<double, double>> path;
  for (const Point& p : piece)
    if (drawable(p)) path.emplace_back(f.x(p.x) + shift, f.y(p.y));
  if (path.empty()) return {};
  return element("polyline", {{"points", coordinates(path)}, {"class", "thin"}});
}

Html draw_piece(const std::vector<Point>& all, const Frame& f, double shift, size_t index) {
  std::vector<Point> piece;
  std::copy_if(all.begin(), all.end(), std::back_inserter(piece), [](const Point& p) { return drawable(p); });
  if (piece.empty()) return {};
  const bool spread = std::all_of(piece.begin(), piece.end(), [](const Point& p) { return p.spread.has_value(); });
  const bool marks = piece.size() <= 12;
  std::vector<std::pair<double, double>> path, band;
  Html whiskers, points;
  for (const Point& p : piece) {
    const double x = f.x(p.x) + shift;
    path.emplace_back(x, f.y(p.y));
    if (p.spread) whiskers += line(x, f.y(p.spread->low), x, f.y(p.spread->high), "whisker");
    if (marks) points += mark(index, x, f.y(p.y), p.tip);
    if (spread) band.emplace_back(x, f.y(p.spread->high));
  }
  Html out;
  if (spread && piece.size() > 1) {
    for (size_t i = piece.size(); i-- > 0;) band.emplace_back(f.x(piece[i].x) + shift, f.y(piece[i].spread->low));
    out += element("polygon", {{"points", coordinates(band)}, {"class", "band"}});
  }
  out += element("polyline", {{"points", coordinates(path)}, {"class", "stroke"}, {"stroke-dasharray", dash(index)}});
  return out + whiskers + element("g", {{"class", "mark"}}, points);
}

}  // namespace

std::vector<Tick> round_ticks(double low, double high, int count) {
  if (!drawable(low) || !drawable(high) || low > high) low = 0, high = 1;
  const double least = std::max({std::abs(low), std::abs(high), 1e-9}) * 1e-9;
  if (high - low < least) {  // one value: give it room
    const double room = low == 0 ? 1 : std::abs(low) / 10;
    low -= room;
    high += room;
  }
  const double rough = (high - low) / count, power = std::pow(10.0, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (double m : {5.0, 2.0, 1.0})
    if (m * power >= rough * 0.999) step = m * power;
  const int decimals = std::clamp(static_cast<int>(-std::floor(std::log10(step) + 1e-9)), 0, 9);
  const double first = std::floor(low / step + 1e-9), last = std::ceil(high / step - 1e-9);
  std::vector<Tick> ticks;
  for (double i = 0; i <= std::min(last - first, 50.0); ++i) {
    const double at = (first + i) * step;
    char exponent[32];
    std::snprintf(exponent, sizeof exponent, "%.1e", at);
    ticks.push_back({at, std::abs(at) >= 1e6 ? exponent : fixed(at, decimals)});
  }
  return ticks;
}

Html line_chart(const LineChart& chart) {
  Range xs, ys;
  for (const Series& s : chart.series) {
    for (const auto& piece : s.pieces) {
      for (const Point& p : piece) {
        if (!drawable(p)) continue;
        xs.add(p.x);
        ys.add(p.y);
        if (p.spread) ys.add(p.spread->low), ys.add(p.spread->high);
      }
    }
    for (const auto& piece : s.thin)
      for (const Point& p : piece)
        if (drawable(p)) xs.add(p.x), ys.add(p.y);
  }
  if (xs.empty()) return element("p", {{"class", "missing"}}, text(chart.title + ": nothing to draw yet."));
  const Frame f = frame(chart, xs, ys);
  Html drawn = f.drawn, legend;
  for (size_t i = 0; i < chart.series.size(); ++i) {
    const double shift = chart.x_ticks.empty() ? 0.0 : dodge(i, chart.series.size());
    Html line;
    for (const auto& piece : chart.series[i].thin) line += draw_thin(piece, f, shift);
    for (const auto& piece : chart.series[i].pieces) line += draw_piece(piece, f, shift, i);
    drawn += element("g", {{"class", colour_class(i)}}, line);
    if (!line.empty()) legend += legend_entry(swatch(i), chart.series[i].name);
  }
  if (chart.series.size() == 1) legend = Html();  // the caption names it
  return element("div", {{"class", "legend"}}, legend) + drawing(kHeight, chart.title, description_of(chart), drawn);
}

Html bar_chart(const BarChart& chart) {
  constexpr double kBar = 9, kLabel = 18, kGap = 8, kLeftEdge = 14;
  Range values;
  values.add(0);
  for (const BarGroup& g : chart.groups) {
    for (const auto& b : g.bars) {
      if (b && drawable(b->value)) values.add(b->value);
      if (b && b->spread && drawable(b->spread->low) && drawable(b->spread->high))
        values.add(b->spread->low), values.add(b->spread->high);
    }
  }
  const std::vector<Tick> ticks = round_ticks(values.low, values.high, 5);
  const Scale x = scale_of(ticks, kLeftEdge, kWidth - 16);
  const double group = kLabel + kBar * static_cast<double>(chart.kinds.size()) + kGap;
  const double bottom = 6 + group * static_cast<double>(chart.groups.size());
  Html drawn, legend;
  for (const Tick& t : ticks)
    drawn += line(x(t.at), 4, x(t.at), bottom, "grid") + words(x(t.at), bottom + 15, "middle", t.label);
  drawn += words(kWidth / 2, bottom + 33, "middle", chart.value_title);
  double y = 6;
  for (const BarGroup& g : chart.groups) {
    ENSURE(g.bars.size() == chart.kinds.size(), "a group of ", g.bars.size(), " bars for ", chart.kinds.size(),
           " kinds");
    drawn += words(kLeftEdge, y + 13, "start", g.label);
    for (size_t k = 0; k < g.bars.size(); ++k) {
      const auto& bar = g.bars[k];
      if (!bar || !drawable(bar->value)) continue;
      const double top = y + kLabel + kBar * static_cast<double>(k), from = std::min(x(0), x(bar->value)),
                   to = std::max(x(0), x(bar->value));
      const BarKind& kind = chart.kinds[k];
      Html drawn_bar = element("rect",
                               {{"x", from},
                                {"y", top + 0.75},
                                {"width", to - from},
                                {"height", kBar - 1.5},
                                {"class", kind.fill == Fill::solid ? "bar" : "hollow"}},
                               element("title", text(concat(g.label, ", ", kind.name, ": ", fixed(bar->value, 3)))));
      if (bar->spread && drawable(bar->spread->low) && drawable(bar->spread->high)) {
        drawn_bar += line(x(bar->spread->low), top + kBar / 2, x(bar->spread->high), top + kBar / 2, "error");
      }
      drawn += element("g", {{"class", colour_class(kind.colour)}}, drawn_bar);
    }
    y += group;
  }
  drawn += line(x(0), 4, x(0), bottom, "axis");
  for (const BarKind& kind : chart.kinds) legend += legend_entry(bar_swatch(kind), kind.name);
  return element("div", {{"class", "legend"}}, legend) +
         drawing(bottom + 38, chart.title,
                 concat(chart.value_title, " in ", chart.groups.size(), " groups. Each bar's title has its number."),
                 drawn);
}

}  // namespace thinker::report
