#include "tpo/report/html.h"

#include <cmath>
#include <cstdio>

#include "tensor/check.h"
#include "tpo/text.h"

namespace thinker::report {

namespace {

constexpr const char* kReplacement = "\xEF\xBF\xBD";

bool is_control(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return (byte < 0x20 && c != '\n' && c != '\t') || byte == 0x7F;
}

std::string escaped(std::string_view data) {
  std::string out;
  for (int64_t bad = first_invalid_utf8(data); !data.empty(); bad = first_invalid_utf8(data)) {
    for (char c : data.substr(0, bad < 0 ? data.size() : static_cast<size_t>(bad))) {
      switch (c) {
        case '&': out += "&amp;"; break;
        case '<': out += "&lt;"; break;
        case '>': out += "&gt;"; break;
        case '"': out += "&quot;"; break;
        case '\'': out += "&#39;"; break;
        default:
          if (is_control(c))
            out += kReplacement;
          else
            out += c;
      }
    }
    if (bad < 0) break;
    out += kReplacement;
    data.remove_prefix(static_cast<size_t>(bad) + 1);
  }
  return out;
}

}  // namespace

Html operator""_html(const char* literal, size_t length) {
  return Html(std::string(literal, length));
}

Html text(std::string_view data) {
  return Html(escaped(data));
}

Attribute::Attribute(const char* name, double value) : name_(name) {
  ENSURE(std::isfinite(value), "a coordinate is not finite");
  char digits[400];
  std::snprintf(digits, sizeof digits, "%.2f", value);
  std::string short_form = digits;
  short_form.erase(short_form.find_last_not_of('0') + 1);
  if (short_form.back() == '.') short_form.pop_back();
  value_ = text(short_form);
}

Html element(const char* tag, std::initializer_list<Attribute> attributes, const Html& inner) {
  std::string out = std::string("<") + tag;
  for (const Attribute& a : attributes) out += a.str();
  return Html(out + ">" + inner.str() + "</" + tag + ">");
}

Html element(const char* tag, const Html& inner) {
  return element(tag, {}, inner);
}

Html style_of(const std::string& rules) {
  ENSURE(rules.find('<') == rules.npos, "a style holds a <");
  return Html("<style>\n" + rules + "</style>\n");
}

void Table::row(std::vector<std::string> cells) {
  ENSURE(cells.size() == headers_.size(), "a row of ", cells.size(), " cells under ", headers_.size(), " headers");
  rows_.push_back(std::move(cells));
}

void Table::hide(size_t column) {
  ENSURE(column < headers_.size(), "a table of ", headers_.size(), " columns has no column ", column);
  const auto at = static_cast<std::ptrdiff_t>(column);
  headers_.erase(headers_.begin() + at);
  for (auto& row : rows_) row.erase(row.begin() + at);
  if (column < labels_) --labels_;
}

std::string Table::markdown() const {
  std::string out = "|", rule = "|";
  for (size_t c = 0; c < headers_.size(); ++c) {
    out += " " + markdown_text(headers_[c]) + " |";
    rule += c < labels_ ? " --- |" : " ---: |";
  }
  out += "\n" + rule + "\n";
  for (const auto& row : rows_) {
    out += "|";
    for (const std::string& cell : row) out += " " + markdown_text(cell) + " |";
    out += "\n";
  }
  return out;
}

std::string markdown_text(std::string_view data) {
  std::string out;
  const std::string valid = valid_utf8(data);
  for (size_t i = 0; i < valid.size(); ++i) {
    const char c = valid[i], next = i + 1 < valid.size() ? valid[i + 1] : ' ';
    if (c == '<')
      out += "&lt;";
    else if (c == '&')
      out += "&amp;";
    else if (c == '\n' || c == '\t' || is_control(c))
      out += ' ';
    else {
      // A bracket alone is text; "](", "][" and "]:" would make a link.
      const bool link = c == ']' && (next == '(' || next == '[' || next == ':');
      const bool block = out.find_first_not_of(' ') == out.npos &&
                         std::string_view("#>-+=").find(c) != std::string_view::npos && i + 1 < valid.size() &&
                         next == ' ';
      if (link || block || std::string_view("\\|*_`~$").find(c) != std::string_view::npos) out += '\\';
      out += c;
    }
  }
  return out;
}

Html Table::html() const {
  const auto style = [&](size_t column) { return column < labels_ ? "label" : "number"; };
  Html head, body;
  for (size_t c = 0; c < headers_.size(); ++c)
    head += element("th", {{"class", style(c)}, {"scope", "col"}}, text(headers_[c]));
  for (const auto& row : rows_) {
    Html cells;
    for (size_t c = 0; c < row.size(); ++c) cells += element("td", {{"class", style(c)}}, text(row[c]));
    body += element("tr", cells) + "\n"_html;
  }
  const Html table = element("table", element("thead", element("tr", head)) + element("tbody", body));
  return element("div", {{"class", "scroll"}, {"tabindex", "0"}}, table) + "\n"_html;
}

std::string fixed(double x, int decimals) {
  if (!std::isfinite(x)) return "not finite";
  char digits[400];
  std::snprintf(digits, sizeof digits, "%.*f", decimals, x);
  const std::string out = digits;
  const bool zero = out.find_first_not_of("-0.") == std::string::npos;
  return zero && out.front() == '-' ? out.substr(1) : out;
}

std::string percent(double share) {
  return fixed(100 * share, 1) + " %";
}

}  // namespace thinker::report
