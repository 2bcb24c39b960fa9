#include "tokenizer/template_text.h"

#include <algorithm>
#include <map>
#include <span>
#include <vector>

#include "tokenizer/error.h"
#include "tokenizer/jinja_lexer.h"
#include "tokenizer/utf8.h"

namespace thinker {
namespace {

using Words = std::span<const JinjaWord>;

constexpr size_t kMaxNesting = 64;  // of blocks and of brackets; real templates need fewer than ten

// The words as the template has them, from the first to the last.
std::string quoted(Words words) {
  if (words.empty()) return "nothing";
  const JinjaWord &first = words.front(), &last = words.back();
  const char* begin = first.text.data() - (first.kind == 's');
  const char* end = last.text.data() + last.text.size() + (last.kind == 's');
  return utf8_excerpt(std::string_view(begin, end - begin), 60);
}

// The words with one blank between two, and strings in single quotes.
std::string normal(Words words) {
  std::string text;
  for (const JinjaWord& word : words) {
    if (!text.empty()) text += ' ';
    text += word.kind == 's' ? "'" + std::string(word.text) + "'" : std::string(word.text);
  }
  return text;
}

std::string decode(const JinjaWord& string) {
  static constexpr std::string_view kEscapes = "n\nt\t\\\\''\"\"";
  std::string text;
  for (size_t i = 0; i < string.text.size(); ++i) {
    char c = string.text[i];
    if (c == '\\') {
      const size_t known = kEscapes.find(string.text[++i]);
      if (known == std::string_view::npos || known % 2 != 0) tokenizer_fail("has the string ", quoted({&string, 1}));
      c = kEscapes[known + 1];
    }
    if (c >= 0 && c < ' ' && c != '\n' && c != '\t') tokenizer_fail("has a control character in a string");
    text += c;
  }
  return text;
}

// m['role'], m.role, messages[0]['role']
bool is_member(Words words, std::string_view name) {
  if (words.size() >= 4 && words[1].kind == '[' && words[3].kind == ']' && words[2].kind != 's') {
    if (words[2].kind != 'n' && words[2].text != "0") return false;
    if (words.size() > 4) return words[0].kind == 'n' && is_member(words.subspan(3), name);
  }
  if (words.empty() || (words[0].kind != 'n' && words[0].kind != ']')) return false;
  if (words.size() == 3) return words[1].kind == '.' && words[2].is(name);
  return words.size() == 4 && words[1].kind == '[' && words[2].kind == 's' && words[2].text == name &&
         words[3].kind == ']';
}

std::vector<Words> split_at(Words words, std::string_view name) {
  std::vector<Words> parts;
  for (size_t begin = 0, i = 0; i <= words.size(); ++i) {
    if (i < words.size() && !words[i].is(name)) continue;
    parts.push_back(words.subspan(begin, i - begin));
    begin = i + 1;
  }
  return parts;
}

// A condition that fails in every chat without tools, whose roles are system, user and assistant.
bool needs_tools(Words words) {
  while (!words.empty() && words.front().kind == '(') words = words.subspan(1);
  while (!words.empty() && words.back().kind == ')') words = words.first(words.size() - 1);
  const std::string text = normal(words);
  for (const std::string name : {"tools", "custom_tools", "builtin_tools"}) {
    if (text == name || text == name + " is defined" || text == name + " is not none" ||
        text == name + " is iterable" || text == "not " + name + " is none") {
      return true;
    }
  }
  if (text.starts_with("'tool_calls' in ")) return true;
  if (words.size() > 3 && words.back().kind == 's' && normal(words.last(3)).starts_with("= = ") &&
      is_member(words.first(words.size() - 3), "role")) {
    const std::string_view role = words.back().text;
    return role != "system" && role != "user" && role != "assistant";
  }
  if (text.ends_with(" is defined")) words = words.first(words.size() - 2);
  return is_member(words, "tool_calls");
}

// The same of a whole condition: one alternative that does not need tools is enough for it to hold.
bool is_for_tools(Words condition) {
  for (const Words alternative : split_at(condition, "or")) {
    if (normal(alternative).find("not (") != std::string::npos) return false;
    const std::vector<Words> needs = split_at(alternative, "and");
    if (std::none_of(needs.begin(), needs.end(), needs_tools)) return false;
  }
  return true;
}

class Walk {
 public:
  TemplateText run(std::string_view source) {
    for (const JinjaPart& part : lex_jinja(source)) {
      if (part.kind == '%') {
        statement(part.words);
      } else if (!skips()) {
        write(part.kind == 't' ? plain(part.text) : value(part.words, Use::Write));
      }
    }
    return std::move(out_);
  }

 private:
  enum class Use { Write, Set };
  struct Block {
    bool loop, skipped;
    bool first = false;   // holds for the first message only
    bool system = false;  // an `if` that asks for a system message, or its else
  };
  struct Variable {
    char mark = 0;         // of the content or role that it holds
    bool empty = false;    // it holds nothing in some branch
    bool written = false;  // it holds text, which stands in our text where the variable was set
    std::string literal;   // of date_string
  };

  bool any(bool Block::*flag) const {
    return std::any_of(blocks_.begin(), blocks_.end(), [&](const Block& block) { return block.*flag; });
  }
  bool skips() const { return any(&Block::skipped); }

  static std::string plain(std::string_view text) {
    for (const char c : text) {
      if (c >= 0 && c < ' ' && c != '\n' && c != '\t') tokenizer_fail("has a control character in its text");
    }
    return std::string(text);
  }

  void write(const std::string& text) {
    for (const char* header : {"<|im_start|>system", "<|start_header_id|>system"}) {
      out_.always_system |= text.find(header) != std::string::npos && !any(&Block::system);
    }
    if (text.find("<|begin_of_text|>") != std::string::npos && any(&Block::loop) && !any(&Block::first)) {
      tokenizer_fail("writes <|begin_of_text|> before every message");
    }
    out_.text += text;
  }

  void statement(Words words) {
    if (blocks_.size() > kMaxNesting) tokenizer_fail("nests more than ", kMaxNesting, " blocks");
    const std::string_view name = words.empty() || words[0].kind != 'n' ? "" : words[0].text;
    const Words rest = words.empty() ? words : words.subspan(1);
    if (name == "if") {
      blocks_.push_back({false, false});
      branch(rest);
    } else if (name == "for") {
      loop(rest);
    } else if (name == "set") {
      if (!skips()) set(rest);
    } else if ((name == "elif" || name == "else" || name == "endif" || name == "endfor") && blocks_.empty()) {
      tokenizer_fail("has an ", name, " without its beginning");
    } else if (name == "elif") {
      branch(rest);
    } else if (name == "else") {
      blocks_.back().skipped = blocks_.back().first = false;
    } else if (name == "endif" || name == "endfor") {
      blocks_.pop_back();
    } else if (name != "generation" && name != "endgeneration" && !skips()) {
      tokenizer_fail("has the statement ", quoted(words));
    }
  }

  void branch(Words condition) {
    Block& block = blocks_.back();
    const std::string text = normal(condition);
    block.skipped = is_for_tools(condition);
    block.first = text.starts_with("loop . first") || text.starts_with("loop . index0 = = 0");
    block.system |= text.find("'system'") != std::string::npos;
  }

  void loop(Words words) {
    const bool tools = std::any_of(words.begin(), words.end(), [](const JinjaWord& word) {
      return word.is("tools") || word.is("builtin_tools") || word.is("tool_calls");
    });
    const bool whole = words.size() == 3 && words[2].kind == 'n';
    const bool rest = words.size() == 7 && normal(words.subspan(3)) == "[ 1 : ]";
    if (!skips() && !tools && !((whole || rest) && words[1].is("in"))) tokenizer_fail("goes through ", quoted(words));
    blocks_.push_back({true, tools});
  }

  void set(Words words) {
    if (words.size() < 3 || words[0].kind != 'n' || words[1].kind != '=') tokenizer_fail("sets ", quoted(words));
    Variable& variable = variables_[std::string(words[0].text)];
    const Words given = words.subspan(2);
    if (words[0].is("date_string")) {  // the date in a Llama-3.1 preamble; what asks the clock is left alone
      if (given.size() == 1 && given[0].kind == 's') variable.literal = decode(given[0]);
      return;
    }
    const std::string text = value(given, Use::Set);
    if (text.find_first_not_of("\1\2\3\4\5") != std::string::npos) {
      if (text.find_first_of("\1\2\3\4\5\6\7\x0E") == std::string::npos) {
        tokenizer_fail("sets ", quoted(words), ", a text of its own,");
      }
      write(text);
      variable.written = true;
    } else if (!text.empty()) {
      variable.mark = text.back();
    } else {
      variable.empty = true;
    }
  }

  // What an expression gives: operands joined by + or ~, and both sides of an `if … else`.
  std::string value(Words words, Use use) {
    std::string text;
    size_t depth = 0;
    bool in_condition = false;
    for (size_t begin = 0, i = 0; i <= words.size(); ++i) {
      const char kind = i < words.size() ? words[i].kind : '+';
      depth += kind == '(' || kind == '[' || kind == '{';
      depth -= depth > 0 && (kind == ')' || kind == ']' || kind == '}');
      if (depth > kMaxNesting) tokenizer_fail("nests more than ", kMaxNesting, " brackets");
      const bool starts = i < words.size() && words[i].is("if"), ends = i < words.size() && words[i].is("else");
      if (depth != 0 || (kind != '+' && kind != '~' && !starts && !ends)) continue;
      if (!in_condition) text += operand(words.subspan(begin, i - begin), use);
      in_condition = starts || (in_condition && !ends);
      begin = i + 1;
    }
    return text;
  }

  std::string operand(Words words, Use use) {
    const Words whole = words;
    bool trims = false;
    if (words.size() > 2 && normal(words.last(2)) == "| trim") {
      trims = true;
      words = words.first(words.size() - 2);
    } else if (words.size() > 4 && normal(words.last(4)) == ". strip ( )") {
      trims = true;
      words = words.first(words.size() - 4);
    }
    if (words.size() > 2 && words.front().kind == '(' && words.back().kind == ')' && !trims) {
      return value(words.subspan(1, words.size() - 2), use);
    }
    if (is_member(words, "content")) return {trims ? kTrimmed : kContent};
    if (words.size() == 1 && words[0].kind == 'n') return name(words[0].text, trims, use);
    if (!trims && words.size() == 1 && words[0].kind == 's') return decode(words[0]);
    if (!trims && is_member(words, "role")) return {kRole};
    if (!words.empty() && words[0].is("raise_exception")) return "";
    if (use == Use::Set && words.size() == 5 && normal(words.subspan(1)) == "[ 1 : ]") return "";
    tokenizer_fail(use == Use::Write ? "writes " : "makes use of ", quoted(whole));
  }

  std::string name(std::string_view name, bool trims, Use use) {
    if (name == "bos_token") return {any(&Block::loop) && !any(&Block::first) ? kBosInEveryTurn : kBos};
    if (name == "eos_token") return {kEos};
    const auto found = variables_.find(std::string(name));
    if (found == variables_.end()) {
      if (use == Use::Write) tokenizer_fail("writes ", name);
      return "";
    }
    const Variable& variable = found->second;
    if (variable.mark == kRole && !trims) return {kRole};
    if (variable.mark != 0) {
      trims |= variable.mark == kTrimmed || variable.mark == kMaybeTrimmed;
      const bool maybe = variable.empty || variable.mark == kMaybe || variable.mark == kMaybeTrimmed;
      return {maybe ? (trims ? kMaybeTrimmed : kMaybe) : (trims ? kTrimmed : kContent)};
    }
    return variable.written ? "" : variable.literal;
  }

  TemplateText out_;
  std::vector<Block> blocks_;
  std::map<std::string, Variable> variables_;
};

}  // namespace

TemplateText template_text(std::string_view source) {
  return Walk().run(source);
}

std::string readable(std::string_view text) {
  static constexpr std::string_view kMarks = "\1\2\3\4\5\6\7\x0E";
  static constexpr const char* kNames[] = {
      "{role}", "{content}", "{trimmed content}", "{content}", "{trimmed content}", "{bos}", "{bos}", "{eos}"};
  std::string out;
  for (const char c : text) {
    const size_t mark = kMarks.find(c);
    out += mark != std::string_view::npos ? kNames[mark] : c == '\n' ? "\\n" : std::string(1, c);
  }
  return utf8_excerpt(out, 60);
}

}  // namespace thinker
