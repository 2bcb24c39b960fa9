// HTML that cannot be injected into. A run's files hold text from models, prompts and judges, and all of it is hostile:
// to a browser, "<script>" in a sampled response is a program. So markup has a type of its own. An Html value is made
// from a literal in our source ("<hr>"_html), from `element`, or from data through `text`, which escapes; a string that
// was read from somewhere has no other way in.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace thinker::report {

class Html {
 public:
  Html() = default;

  const std::string& str() const { return text_; }
  bool empty() const { return text_.empty(); }
  Html& operator+=(const Html& other) {
    text_ += other.text_;
    return *this;
  }
  friend Html operator+(Html a, const Html& b) { return a += b; }

 private:
  explicit Html(std::string markup) : text_(std::move(markup)) {}
  friend Html operator""_html(const char* literal, size_t length);
  friend Html text(std::string_view data);
  friend class Attribute;
  friend Html element(const char* tag, std::initializer_list<class Attribute> attributes, const Html& inner);
  friend Html style_of(const std::string& rules);

  std::string text_;
};

/// Markup written in our own source.
Html operator""_html(const char* literal, size_t length);

/// Data as text: & < > " ' escaped; bytes that are not UTF-8, and control characters other than newline and tab, become
/// U+FFFD.
Html text(std::string_view data);

/// name="value", escaped. Numbers are written with at most two decimals: they are coordinates.
class Attribute {
 public:
  Attribute(const char* name, std::string_view value) : name_(name), value_(text(value)) {}
  Attribute(const char* name, const char* value) : Attribute(name, std::string_view(value)) {}
  Attribute(const char* name, double value);
  std::string str() const { return std::string(" ") + name_ + "=\"" + value_.str() + "\""; }

 private:
  const char* name_;
  Html value_;
};

/// <tag attributes>inner</tag>. The tag is a literal of ours.
Html element(const char* tag, std::initializer_list<Attribute> attributes, const Html& inner = {});
Html element(const char* tag, const Html& inner);

/// <style> of rules that we made. Throws Error for rules that hold a "<": data has no place in them.
Html style_of(const std::string& rules);

/// A table whose first `labels` columns are text and whose others are numbers, set flush right. Cells are data:
/// escaped. Narrow screens scroll it sideways inside its own box.
class Table {
 public:
  explicit Table(std::vector<std::string> headers, size_t labels = 1) : headers_(std::move(headers)), labels_(labels) {}

  /// Throws Error when the row has not as many cells as there are headers.
  void row(std::vector<std::string> cells);
  bool empty() const { return rows_.empty(); }
  size_t size() const { return rows_.size(); }
  /// Leaves a column out: one that says the same in every row.
  void hide(size_t column);
  Html html() const;
  /// GitHub's Markdown.
  std::string markdown() const;

 private:
  std::vector<std::string> headers_;
  std::vector<std::vector<std::string>> rows_;
  size_t labels_;
};

/// Data as text of a Markdown page, on one line: nothing in it is markup, not even a table's bar.
std::string markdown_text(std::string_view data);

/// x with a fixed number of decimals, "-0.00" written as "0.00"; "not finite" for what is not a number.
std::string fixed(double x, int decimals);
/// 0.9275 -> "92.8 %".
std::string percent(double share);

}  // namespace thinker::report
