#include "tokenizer/jinja_lexer.h"

#include <algorithm>

#include "tokenizer/error.h"

namespace thinker {
namespace {

constexpr std::string_view kSpace = " \t\n\r\f\v";

bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(source) {
    if (source_.ends_with('\n')) source_.remove_suffix(1);
  }

  std::vector<JinjaPart> run() {
    while (at_ < source_.size()) {
      const size_t tag = find_tag();
      text(tag);
      at_ = tag;
      if (at_ < source_.size()) this->tag();
    }
    return std::move(parts_);
  }

 private:
  char peek(size_t at) const { return at < source_.size() ? source_[at] : '\0'; }

  size_t find_tag() const {
    for (size_t at = source_.find('{', at_); at < source_.size(); at = source_.find('{', at + 1)) {
      const char next = peek(at + 1);
      if (next == '{' || next == '%' || next == '#') return at;
    }
    return source_.size();
  }

  // From at_ to the next tag, without what the tags on both sides take away.
  void text(size_t end) {
    size_t begin = at_;
    if (cut_ == '-') {
      begin = std::min(source_.find_first_not_of(kSpace, begin), end);
    } else if (cut_ == 'n' && begin < end && source_[begin] == '\n') {
      ++begin;
    }
    const char kind = peek(end + 1), sign = peek(end + 2);
    if (end < source_.size() && sign == '-') {
      while (end > begin && kSpace.find(source_[end - 1]) != std::string_view::npos) --end;
    } else if ((kind == '%' || kind == '#') && sign != '+') {
      size_t indented = end;
      while (indented > begin && (source_[indented - 1] == ' ' || source_[indented - 1] == '\t')) --indented;
      if (indented == 0 || source_[indented - 1] == '\n') end = indented;
    }
    if (end > begin) parts_.push_back({'t', source_.substr(begin, end - begin), {}});
  }

  void tag() {
    const char kind = source_[at_ + 1];
    at_ += 2;
    if (kind == '#') return comment();
    if (peek(at_) == '-' || peek(at_) == '+') ++at_;
    JinjaPart part{kind, {}, {}};
    while (!closes(kind == '{' ? "}}" : "%}")) {
      if (at_ >= source_.size()) tokenizer_fail("has a tag that does not end");
      word(part);
    }
    parts_.push_back(std::move(part));
  }

  void comment() {
    const size_t end = source_.find("#}", at_);
    if (end == std::string_view::npos) tokenizer_fail("has a comment that does not end");
    const char sign = end > at_ ? source_[end - 1] : ' ';
    cut_ = sign == '-' || sign == '+' ? sign : 'n';
    at_ = end + 2;
  }

  // Whether the tag ends here: goes behind its end then, and notes what it takes of the text there.
  bool closes(std::string_view end) {
    const bool sign = peek(at_) == '-' || peek(at_) == '+';
    if (!source_.substr(std::min(at_ + sign, source_.size())).starts_with(end)) return false;
    cut_ = sign ? peek(at_) : end[0] == '}' ? ' ' : 'n';
    at_ += sign + end.size();
    return true;
  }

  void word(JinjaPart& part) {
    const size_t begin = at_;
    const char first = source_[at_++];
    if (kSpace.find(first) != std::string_view::npos) return;
    if (first == '\'' || first == '"') {
      while (peek(at_) != first) {
        at_ += peek(at_) == '\\' ? 2 : 1;
        if (at_ >= source_.size()) tokenizer_fail("has a string that does not end");
      }
      part.words.push_back({'s', source_.substr(begin + 1, at_++ - begin - 1)});
    } else if (is_name_start(first)) {
      while (is_name_start(peek(at_)) || is_digit(peek(at_))) ++at_;
      part.words.push_back({'n', source_.substr(begin, at_ - begin)});
    } else if (is_digit(first)) {
      while (is_digit(peek(at_))) ++at_;
      part.words.push_back({'0', source_.substr(begin, at_ - begin)});
    } else {
      part.words.push_back({first, source_.substr(begin, 1)});
    }
  }

  std::string_view source_;
  size_t at_ = 0;
  char cut_ = ' ';  // what the tag before takes: '-' all white space, 'n' one newline, else nothing
  std::vector<JinjaPart> parts_;
};

}  // namespace

std::vector<JinjaPart> lex_jinja(std::string_view source) {
  return Lexer(source).run();
}

}  // namespace thinker
