#include "tpo/judges/ifeval.h"

#include <algorithm>
#include <array>
#include <set>

#include "tensor/check.h"
#include "tpo/judges/check_value.h"
#include "tpo/judges/ifeval_text.h"
#include "tpo/judges/language.h"
#include "tpo/judges/regex.h"
#include "tpo/text.h"

namespace thinker::ifeval {

namespace {

using Follows = std::function<Met(const std::string&)>;
using Strings = std::vector<std::string>;

/// A test that always decides.
template <class Test>
Follows plain(const Test& test) {
  return [test](const std::string& r) { return test(r) ? Met::yes : Met::no; };
}

/// "at least" or "less than" a number, from two arguments.
struct Bound {
  bool at_least;
  int64_t n;

  Bound(const CheckValue& kwargs, const char* number, const char* relation)
      : at_least(false), n(kwargs.option(number).count()) {
    const std::string word = kwargs.option(relation).text();
    at_least = word == "at least";
    if (!at_least && word != "less than") kwargs.option(relation).error("must be \"at least\" or \"less than\"");
  }
  bool holds(int64_t count) const { return at_least ? count >= n : count < n; }
};

std::string stripped(const CheckValue& text) {
  return std::string(strip(text.text()));
}

// Keywords are regular expressions in the reference, and so they are here.

Follows keywords_existence(const CheckValue& kwargs) {
  std::vector<Regex> words;
  for (const std::string& word : kwargs.option("keywords").texts()) words.emplace_back(word, Case::ignore);
  return plain([words](const std::string& r) {
    return std::all_of(words.begin(), words.end(), [&](const Regex& w) { return w.found_in(r); });
  });
}

Follows keywords_frequency(const CheckValue& kwargs) {
  return plain(
      [word = Regex(stripped(kwargs.option("keyword")), Case::ignore),
       bound = Bound(kwargs, "frequency", "relation")](const std::string& r) { return bound.holds(word.count(r)); });
}

Follows forbidden_words(const CheckValue& kwargs) {
  std::vector<Regex> words;
  for (const std::string& word : kwargs.option("forbidden_words").texts())
    words.emplace_back("\\b" + word + "\\b", Case::ignore);
  return plain([words](const std::string& r) {
    return std::none_of(words.begin(), words.end(), [&](const Regex& w) { return w.found_in(r); });
  });
}

Follows letter_frequency(const CheckValue& kwargs) {
  const std::string letter = lower(kwargs.option("letter").text());
  if (count_code_points(letter) != 1) kwargs.option("letter").error("must be one character");
  return plain([letter = Regex(Regex::quoted(letter)), bound = Bound(kwargs, "let_frequency", "let_relation")](
                   const std::string& r) { return bound.holds(letter.count(lower(r))); });
}

/// IFEval's languages; the detector knows all of them.
const Strings& languages() {
  static const Strings codes = {"ar", "bg", "bn", "de", "en", "es", "fa", "fi", "fr", "gu",
                                "he", "hi", "it", "ja", "kn", "ko", "ml", "mr", "ne", "pa",
                                "pl", "pt", "ru", "sw", "ta", "te", "th", "uk", "ur", "vi"};
  return codes;
}

/// A text without a letter has no language: the reference counts it as followed.
Met is_in_language(const std::string& response, const std::string& language) {
  if (!has_letters(response)) return Met::yes;
  const auto detected = detect_language(response);
  if (!detected) return Met::undecided;
  return *detected == language ? Met::yes : Met::no;
}

Follows response_language(const CheckValue& kwargs) {
  const std::string language = kwargs.option("language").text();
  if (std::find(languages().begin(), languages().end(), language) == languages().end())
    kwargs.option("language")
        .error("\"" + excerpt(language) + "\" is none of IFEval's languages; did you mean \"" +
               nearest_name(language, languages()) + "\"?");
  return [language](const std::string& r) { return is_in_language(r, language); };
}

Follows english_in_case(LetterCase letter_case) {
  return
      [letter_case](const std::string& r) { return all_in_case(r, letter_case) ? is_in_language(r, "en") : Met::no; };
}

template <class Count>
Follows bounded(const Bound& bound, Count count) {
  return plain([bound, count](const std::string& r) { return bound.holds(count(r)); });
}

Follows number_paragraphs(const CheckValue& kwargs) {
  return plain(
      [divider = Regex("\\s?\\*\\*\\*\\s?"), n = kwargs.option("num_paragraphs").count()](const std::string& r) {
        const auto pieces = divider.split(r);
        int64_t count = static_cast<int64_t>(pieces.size());
        for (size_t i = 0; i < pieces.size(); ++i) {
          if (!strip(pieces[i]).empty()) continue;
          if (i > 0 && i + 1 < pieces.size()) return false;  // only the first and the last piece may be blank
          --count;
        }
        return count == n;
      });
}

/// The nth of the pieces between blank lines (blank pieces are places too, but do not count) begins with the word.
Follows nth_paragraph_first_word(const CheckValue& kwargs) {
  const int64_t n = kwargs.option("num_paragraphs").count(), nth = kwargs.option("nth_paragraph").count();
  if (nth < 1 || nth > n) kwargs.option("nth_paragraph").error(concat("must be from 1 to num_paragraphs, ", n));
  return plain(
      [divider = Regex("\\n\\n"), n, nth, word = lower(kwargs.option("first_word").text())](const std::string& r) {
        const auto pieces = divider.split(r);
        const int64_t count =
            std::count_if(pieces.begin(), pieces.end(), [](std::string_view p) { return !strip(p).empty(); });
        if (count != n || strip(pieces[nth - 1]).empty()) return false;
        std::string_view first = first_token(strip(pieces[nth - 1]));
        first.remove_prefix(std::min(first.find_first_not_of('\''), first.size()));
        first.remove_prefix(std::min(first.find_first_not_of('"'), first.size()));
        return lower(first.substr(0, first.find_first_of(".,?!'\""))) == word;
      });
}

Follows postscript(const CheckValue& kwargs) {
  const std::string marker = stripped(kwargs.option("postscript_marker"));
  const std::string pattern = marker == "P.P.S"  ? "p\\.\\s?p\\.\\s?s"
                              : marker == "P.S." ? "p\\.\\s?s\\."
                                                 : lower(marker);
  return plain([pattern = Regex(pattern)](const std::string& r) { return pattern.found_in(lower(r)); });
}

template <class Range>
int64_t count_not_blank(const Range& texts, std::string_view frame) {
  return std::count_if(texts.begin(), texts.end(), [&](std::string_view t) {
    t.remove_prefix(std::min(t.find_first_not_of(frame), t.size()));
    while (!t.empty() && frame.find(t.back()) != frame.npos) t.remove_suffix(1);
    return !strip(t).empty();
  });
}

/// "**bold**" counts in both patterns where it holds text: once as "*" + "*", which is blank, and once whole.
Follows number_highlighted_sections(const CheckValue& kwargs) {
  return plain([one = Regex("\\*[^\\n*]*\\*"), two = Regex("\\*\\*[^\\n*]*\\*\\*"),
                n = kwargs.option("num_highlights").count()](const std::string& r) {
    return count_not_blank(one.find_all(r), "*") + count_not_blank(two.find_all(r), "*") >= n;
  });
}

Follows number_bullet_lists(const CheckValue& kwargs) {
  return plain(
      [star = Regex("(?m)^\\s*+\\*[^*].*$"), dash = Regex("(?m)^\\s*+-.*$"),
       n = kwargs.option("num_bullets").count()](const std::string& r) { return star.count(r) + dash.count(r) == n; });
}

Follows multiple_sections(const CheckValue& kwargs) {
  return plain([section = Regex("\\s?" + stripped(kwargs.option("section_spliter")) + "\\s?\\d+\\s?"),
                n = kwargs.option("num_sections").count()](const std::string& r) { return section.count(r) >= n; });
}

bool is_wrapped_json(const std::string& response) {
  std::string_view text = strip(response);
  for (std::string_view fence : {"```json", "```Json", "```JSON", "```"})
    if (text.starts_with(fence)) text.remove_prefix(fence.size());
  if (text.ends_with("```")) text.remove_suffix(3);
  return is_json(strip(text));
}

Follows title(const CheckValue&) {
  return plain([pattern = Regex("<<[^\\n]+>>")](const std::string& r) {
    return count_not_blank(pattern.find_all(r), "<>") > 0;
  });
}

bool is_constrained(const std::string& response) {
  for (const char* option : {"My answer is yes.", "My answer is no.", "My answer is maybe."})
    if (response.find(option) != response.npos) return true;
  return false;
}

bool has_two_responses(const std::string& response) {
  static const Regex divider("\\*{6}");
  const auto pieces = divider.split(response);
  std::vector<std::string_view> answers;
  for (size_t i = 0; i < pieces.size(); ++i) {
    if (!strip(pieces[i]).empty())
      answers.push_back(strip(pieces[i]));
    else if (i > 0 && i + 1 < pieces.size())
      return false;
  }
  return answers.size() == 2 && answers[0] != answers[1];
}

Follows repeat_prompt(const CheckValue& kwargs) {
  return plain([prompt = lower(stripped(kwargs.option("prompt_to_repeat")))](const std::string& r) {
    return lower(strip(r)).starts_with(prompt);
  });
}

Follows end_checker(const CheckValue& kwargs) {
  return plain([phrase = lower(stripped(kwargs.option("end_phrase")))](const std::string& r) {
    std::string_view text = strip(r);
    while (text.starts_with('"')) text.remove_prefix(1);
    while (text.ends_with('"')) text.remove_suffix(1);
    return lower(text).ends_with(phrase);
  });
}

bool is_quoted(const std::string& response) {
  const std::string_view text = strip(response);
  return text.size() > 1 && text.front() == '"' && text.back() == '"';
}

Follows placeholders(const CheckValue& kwargs) {
  return plain([pattern = Regex("\\[.*?\\]"), n = kwargs.option("num_placeholders").count()](const std::string& r) {
    return pattern.count(r) >= n;
  });
}

struct Type {
  Strings arguments;
  std::function<Follows(const CheckValue& kwargs)> make;
};

const std::map<std::string, Type>& types() {
  using V = CheckValue;
  static const std::map<std::string, Type> table = {
      {"keywords:existence", {{"keywords"}, keywords_existence}},
      {"keywords:frequency", {{"keyword", "frequency", "relation"}, keywords_frequency}},
      {"keywords:forbidden_words", {{"forbidden_words"}, forbidden_words}},
      {"keywords:letter_frequency", {{"letter", "let_frequency", "let_relation"}, letter_frequency}},
      {"language:response_language", {{"language"}, response_language}},
      {"length_constraints:number_sentences",
       {{"num_sentences", "relation"},
        [](const V& v) { return bounded(Bound(v, "num_sentences", "relation"), count_sentences); }}},
      {"length_constraints:number_paragraphs", {{"num_paragraphs"}, number_paragraphs}},
      {"length_constraints:number_words",
       {{"num_words", "relation"}, [](const V& v) { return bounded(Bound(v, "num_words", "relation"), count_words); }}},
      {"length_constraints:nth_paragraph_first_word",
       {{"num_paragraphs", "nth_paragraph", "first_word"}, nth_paragraph_first_word}},
      {"detectable_content:number_placeholders", {{"num_placeholders"}, placeholders}},
      {"detectable_content:postscript", {{"postscript_marker"}, postscript}},
      {"detectable_format:number_bullet_lists", {{"num_bullets"}, number_bullet_lists}},
      {"detectable_format:constrained_response", {{}, [](const V&) { return plain(is_constrained); }}},
      {"detectable_format:number_highlighted_sections", {{"num_highlights"}, number_highlighted_sections}},
      {"detectable_format:multiple_sections", {{"section_spliter", "num_sections"}, multiple_sections}},
      {"detectable_format:json_format", {{}, [](const V&) { return plain(is_wrapped_json); }}},
      {"detectable_format:title", {{}, title}},
      {"combination:two_responses", {{}, [](const V&) { return plain(has_two_responses); }}},
      {"combination:repeat_prompt", {{"prompt_to_repeat"}, repeat_prompt}},
      {"startend:end_checker", {{"end_phrase"}, end_checker}},
      {"startend:quotation", {{}, [](const V&) { return plain(is_quoted); }}},
      {"change_case:capital_word_frequency",
       {{"capital_frequency", "capital_relation"},
        [](const V& v) { return bounded(Bound(v, "capital_frequency", "capital_relation"), count_capital_tokens); }}},
      {"change_case:english_capital", {{}, [](const V&) { return english_in_case(LetterCase::upper); }}},
      {"change_case:english_lowercase", {{}, [](const V&) { return english_in_case(LetterCase::lower); }}},
      {"punctuation:no_comma",
       {{}, [](const V&) { return plain([](const std::string& r) { return r.find(',') == r.npos; }); }}},
  };
  return table;
}

std::string group_of(const std::string& id) {
  return id.substr(0, id.find(':'));
}

/// The eight variants of a response that loose accuracy tries, itself the first.
std::array<std::string, 8> variants(const std::string& response) {
  const size_t first = response.find('\n'), last = response.rfind('\n');
  const auto kept = [&](bool without_first, bool without_last) {
    const size_t begin = !without_first ? 0 : first == response.npos ? response.size() : first + 1;
    const size_t end = !without_last ? response.size() : last == response.npos ? 0 : last;
    return std::string(begin < end ? strip(std::string_view(response).substr(begin, end - begin)) : "");
  };
  std::array<std::string, 8> all = {response, kept(true, false), kept(false, true), kept(true, true)};
  for (size_t i = 0; i < 4; ++i) {
    all[4 + i] = all[i];
    std::erase(all[4 + i], '*');
  }
  return all;
}

/// All together: one that is not met decides; then one that cannot be told.
Met all_of(const std::vector<Met>& each) {
  const auto holds = [&](Met m) { return std::find(each.begin(), each.end(), m) != each.end(); };
  return holds(Met::no) ? Met::no : holds(Met::undecided) ? Met::undecided : Met::yes;
}

/// A keyword whose pattern takes too much work on a text decides nothing.
Met decided(Met (*test)(const Instruction&, const std::string&), const Instruction& instruction,
            const std::string& text) {
  try {
    return test(instruction, text);
  } catch (const Error&) {
    return Met::undecided;
  }
}

}  // namespace

const Strings& instruction_ids() {
  static const Strings ids = [] {
    Strings names;
    for (const auto& [id, type] : types()) names.push_back(id);
    return names;
  }();
  return ids;
}

bool is_ifeval(const Json& check) {
  return check.is_object() && check.contains("instruction_id_list");
}

std::vector<Instruction> parse_instructions(const Json& check, const std::string& place) {
  CheckValue(check, place).known_options({"instruction_id_list", "kwargs"});
  const Json& ids = check["instruction_id_list"];
  const Json& kwargs = check.contains("kwargs") ? check["kwargs"] : Json();
  if (!ids.is_array() || ids.empty()) fail(place, ": \"instruction_id_list\" is not a list with instructions in it");
  if (!kwargs.is_array() || kwargs.size() != ids.size())
    fail(place, ": \"kwargs\" must be a list of ", ids.size(), " objects, one for each instruction");
  std::vector<Instruction> instructions;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (!ids[i].is_string()) fail(place, ": instruction_id_list[", i, "] is not a string");
    const auto id = ids[i].get<std::string>();
    const auto type = types().find(id);
    if (type == types().end())
      fail(place, ": instruction_id_list[", i, "]: unknown instruction \"", excerpt(id), "\"; did you mean \"",
           nearest_name(id, instruction_ids()), "\"?");
    const std::string where = concat(place, ": kwargs[", i, "] of ", id);
    if (!kwargs[i].is_object()) fail(where, ": not an object");
    const CheckValue value(kwargs[i], where);
    value.known_options(type->second.arguments);
    try {
      instructions.push_back({id, type->second.make(value)});
    } catch (const Error& e) {
      const std::string reason = e.what();
      fail(reason.starts_with(where) ? reason : where + ": " + reason);
    }
  }
  return instructions;
}

std::string common_group(const Json& check) {
  std::set<std::string> groups;
  for (const Json& id : check["instruction_id_list"]) groups.insert(group_of(id.get<std::string>()));
  return groups.size() == 1 ? *groups.begin() : "mixed";
}

Met strict(const Instruction& instruction, const std::string& response) {
  return strip(response).empty() ? Met::no : instruction.follows(response);
}

Met loose(const Instruction& instruction, const std::string& response) {
  Met best = Met::no;
  for (const std::string& variant : variants(response)) {
    const Met met = strict(instruction, variant);
    if (met == Met::yes) return met;
    if (met == Met::undecided) best = met;
  }
  return best;
}

void Accuracy::Share::add(Met m) {
  met += m == Met::yes;
  of += m != Met::undecided;
  undecided += m == Met::undecided;
}

void Accuracy::add(const Json& check, const std::optional<std::string>& response) {
  const std::string text = response ? valid_utf8(*response) : "";
  std::vector<Met> strictly, loosely;
  for (const Instruction& instruction : parse_instructions(check, "\"check\"")) {
    strictly.push_back(decided(strict, instruction, text));
    loosely.push_back(decided(loose, instruction, text));
    Level& group = groups[group_of(instruction.id)];
    for (Level* level : {&instructions, &group}) {
      level->strict.add(strictly.back());
      level->loose.add(loosely.back());
    }
  }
  prompts.strict.add(all_of(strictly));
  prompts.loose.add(all_of(loosely));
}

Json accuracy_to_json(const Accuracy& a) {
  Json groups = Json::object();
  for (const auto& [name, level] : a.groups)
    groups[name] = {{"instructions", level.strict.of + level.strict.undecided},
                    {"strict", level.strict.value()},
                    {"loose", level.loose.value()}};
  return {{"prompts", a.prompts.strict.of + a.prompts.strict.undecided},
          {"prompt_strict", a.prompts.strict.value()},
          {"prompt_loose", a.prompts.loose.value()},
          {"instructions", a.instructions.strict.of + a.instructions.strict.undecided},
          {"instruction_strict", a.instructions.strict.value()},
          {"instruction_loose", a.instructions.loose.value()},
          {"undecided", a.instructions.strict.undecided},
          {"groups", groups}};
}

std::string describe(const Accuracy& a) {
  char line[300];
  std::snprintf(line, sizeof line,
                "IFEval: prompts strict %.3f, loose %.3f (of %lld); instructions strict %.3f, loose %.3f (of %lld); "
                "%lld instructions undecided, left out",
                a.prompts.strict.value(), a.prompts.loose.value(), static_cast<long long>(a.prompts.strict.of),
                a.instructions.strict.value(), a.instructions.loose.value(),
                static_cast<long long>(a.instructions.strict.of),
                static_cast<long long>(a.instructions.strict.undecided));
  return line;
}

}  // namespace thinker::ifeval
