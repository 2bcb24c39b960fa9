#include "tpo/judges/pairwise_format.h"

#include <cmath>

#include "tensor/check.h"
#include "tensor/file.h"
#include "tpo/text.h"

namespace thinker {

namespace {

PairFormat::Label literal(const std::string& label, Verdict verdict) {
  const std::string pattern = Regex::quoted(label);
  return {pattern, verdict, Regex(pattern)};
}

const char* const kMaterial =
    "[Conversation]\n{prompt}\n\n"
    "[Answer of assistant A: begin]\n{response_a}\n[Answer of assistant A: end]\n\n"
    "[Answer of assistant B: begin]\n{response_b}\n[Answer of assistant B: end]";

const char* const kFairness =
    "Look at how well each answer follows the user's instructions, whether it is correct, and how helpful, relevant, "
    "thorough and clear it is. The order in which the answers appear, their length and the assistants' names must not "
    "influence you. ";

PairFormat self_taught_evaluator() {
  return {"self-taught-evaluator",
          concat("Judge impartially which of two AI assistants answered the user better. ", kFairness,
                 "First compare the two answers in a few sentences. Then end with your verdict in exactly this form: "
                 "[[A]] if assistant A is better, [[B]] if assistant B is better."),
          kMaterial,
          {literal("[[A]]", Verdict::first), literal("[[B]]", Verdict::second)},
          {}};
}

PairFormat mt_bench() {
  return {"mt-bench",
          concat("Judge impartially which of two AI assistants answered the user better. ", kFairness,
                 "First compare the two answers in a few sentences. Then end with your verdict in exactly this form: "
                 "[[A]] if assistant A is better, [[B]] if assistant B is better, [[C]] for a tie."),
          kMaterial,
          {literal("[[A]]", Verdict::first), literal("[[B]]", Verdict::second), literal("[[C]]", Verdict::tie)},
          {}};
}

PairFormat arena_hard() {
  return {"arena-hard",
          concat("Judge impartially which of two AI assistants answered the user better. Begin by writing your own "
                 "answer to the user. Then compare both assistants' answers with yours and point out their mistakes. ",
                 kFairness,
                 "End with exactly one of these labels as your verdict: [[A>>B]] assistant A is much better, [[A>B]] "
                 "assistant A is slightly better, [[A=B]] about equally good, [[B>A]] assistant B is slightly better, "
                 "[[B>>A]] assistant B is much better."),
          kMaterial,
          {literal("[[A>>B]]", Verdict::first), literal("[[A>B]]", Verdict::first), literal("[[A=B]]", Verdict::tie),
           literal("[[B>A]]", Verdict::second), literal("[[B>>A]]", Verdict::second)},
          {}};
}

PairFormat alpaca_eval() {
  return {"alpaca-eval",
          "You rank the outputs of language models as most people would: the better output is the one that a person "
          "who gave the instruction would rather have.",
          "[Instruction]\n{prompt}\n\n"
          "[Output of model m: begin]\n{response_a}\n[Output of model m: end]\n\n"
          "[Output of model M: begin]\n{response_b}\n[Output of model M: end]\n\n"
          "Which model's output is better? Answer with its name alone, m or M, and nothing else.",
          {},
          {"m", "M"}};
}

const std::vector<std::string> kPlaces = {"{prompt}", "{response_a}", "{response_b}"};

/// The text with each place replaced; what was put in is not looked at again.
std::string filled(const std::string& text, const std::vector<std::string>& values) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    size_t place = 0;
    while (place < kPlaces.size() && text.compare(at, kPlaces[place].size(), kPlaces[place]) != 0) ++place;
    if (place == kPlaces.size()) {
      out += text[at++];
    } else {
      out += values[place];
      at += kPlaces[place].size();
    }
  }
  return out;
}

/// One user message as it is; a longer conversation with its roles.
std::string written(const Messages& messages) {
  if (messages.size() == 1) return messages[0].content;
  std::string text;
  for (const Message& m : messages) {
    const std::string speaker = m.role == "user" ? "User" : m.role == "assistant" ? "Assistant" : "System";
    text += (text.empty() ? "" : "\n\n") + speaker + ": " + m.content;
  }
  return text;
}

std::string text_of(const Json& json, const char* key, const std::string& file) {
  if (!json.contains(key) || !json[key].is_string()) fail(file, ": \"", key, "\" is missing or not a text");
  return json[key].get<std::string>();
}

PairFormat template_file(const std::string& file) {
  const Json json = parse_json(read_text_file(file), file);
  if (!json.is_object()) fail(file, ": a judge's template is an object with \"user\" and \"verdicts\"");
  const std::vector<std::string> keys = {"system", "user", "verdicts"};
  for (const auto& [key, value] : json.items()) {
    if (std::find(keys.begin(), keys.end(), key) == keys.end())
      fail(file, ": unknown key \"", excerpt(key), "\"; did you mean \"", nearest_name(key, keys), "\"?");
  }
  PairFormat format{
      file, json.contains("system") ? text_of(json, "system", file) : "", text_of(json, "user", file), {}, {}};
  for (const std::string& place : kPlaces) {
    const size_t at = format.user.find(place);
    if (at == std::string::npos || format.user.find(place, at + 1) != std::string::npos)
      fail(file, ": \"user\" must hold ", place, " exactly once");
  }
  if (!json.contains("verdicts") || !json["verdicts"].is_object())
    fail(file, ": \"verdicts\" is missing; it is {\"a\": REGEX, \"b\": REGEX} and perhaps \"tie\"");
  for (const auto& [key, value] : json["verdicts"].items()) {
    if (key != "a" && key != "b" && key != "tie")
      fail(file, ": verdicts: unknown key \"", excerpt(key), "\"; use a, b, tie");
    const std::string pattern = text_of(json["verdicts"], key.c_str(), file);
    try {
      format.labels.push_back({pattern,
                               key == "a"   ? Verdict::first
                               : key == "b" ? Verdict::second
                                            : Verdict::tie,
                               Regex(pattern)});
    } catch (const Error& e) {
      fail(file, ": verdicts.", key, ": ", e.what());
    }
  }
  for (const char* needed : {"a", "b"})
    if (!json["verdicts"].contains(needed)) fail(file, ": verdicts.", needed, " is missing");
  return format;
}

}  // namespace

Messages PairFormat::conversation(const PairView& view) const {
  Messages messages;
  if (!system.empty()) messages.push_back({"system", system});
  messages.push_back({"user", filled(user, {written(view.prompt()), view.first(), view.second()})});
  return messages;
}

PairJudged PairFormat::read(const std::string& answer) const {
  PairJudged judged{std::nullopt, "", answer};
  if (trim(answer).empty()) {
    judged.error = "the judge's answer is empty";
    return judged;
  }
  int64_t found = 0;
  for (const Label& label : labels) {
    try {
      if (!label.regex.found_in(answer)) continue;
    } catch (const Error& e) {  // a template's pattern that takes too long
      judged.verdict.reset();
      judged.error = e.what();
      return judged;
    }
    ++found;
    judged.verdict = label.verdict;
  }
  if (found == 1) return judged;
  judged.verdict.reset();
  judged.error = found == 0 ? "the judge's answer holds no verdict" : "the judge's answer holds more than one verdict";
  return judged;
}

PairJudged PairFormat::read(const std::vector<std::optional<double>>& logprobs) const {
  ENSURE(logprobs.size() == 2, logprobs.size(), " log-probs for two choices");
  PairJudged judged;
  Json answer = Json::object();
  for (size_t i = 0; i < 2; ++i) {
    if (!logprobs[i]) continue;
    if (std::isnan(*logprobs[i])) {
      judged.error = "the log-prob of \"" + choices[i] + "\" is not a number";
      return judged;
    }
    if (std::isfinite(*logprobs[i])) answer[choices[i]] = *logprobs[i];
  }
  judged.answer = dump_json(answer);
  if (answer.empty()) {
    judged.error = "neither \"" + choices[0] + "\" nor \"" + choices[1] + "\" is among the most probable first tokens";
    return judged;
  }
  const double first = answer.contains(choices[0]) ? *logprobs[0] : -HUGE_VAL;
  const double second = answer.contains(choices[1]) ? *logprobs[1] : -HUGE_VAL;
  judged.verdict = first > second ? Verdict::first : first < second ? Verdict::second : Verdict::tie;
  return judged;
}

Json PairFormat::identity() const {
  Json patterns = Json::array();
  for (const Label& label : labels) patterns.push_back({label.pattern, static_cast<int>(label.verdict)});
  return {{"system", system}, {"user", user}, {"labels", patterns}, {"choices", choices}};
}

PairFormat pair_format(const std::string& name_or_file) {
  if (name_or_file == "self-taught-evaluator") return self_taught_evaluator();
  if (name_or_file == "mt-bench") return mt_bench();
  if (name_or_file == "arena-hard") return arena_hard();
  if (name_or_file == "alpaca-eval") return alpaca_eval();
  if (name_or_file.ends_with(".json") || name_or_file.find('/') != std::string::npos)
    return template_file(name_or_file);
  const std::vector<std::string> names = {"self-taught-evaluator", "mt-bench", "arena-hard", "alpaca-eval"};
  fail("judge.format: unknown format \"", excerpt(name_or_file), "\"; did you mean \"",
       nearest_name(name_or_file, names), "\"? (or the path of a template, FILE.json)");
}

}  // namespace thinker
