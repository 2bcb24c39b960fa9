// What a judge is, and the one thing that it may see.
//
// Thought Preference Optimization rewards responses only: a judge that sees thoughts teaches the model to write
// thoughts that please a judge. So a judge takes JudgeView and nothing else, and a JudgeView can only be made from a
// user's prompt and a split output, by the one function below. The prompt in it is the user's own: no thought prompt,
// the same for every arm.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tokenizer/message.h"
#include "tpo/jsonl.h"
#include "tpo/thought.h"

namespace thinker {

/// One line of prompts.jsonl.
struct Prompt {
  std::optional<Json> id;  // a string or a number, as read
  std::string category;    // empty when the line has none
  Messages messages;       // the user's own; the last one is the user's
  Json check;              // for the rule judge; null when the line has none
  std::optional<std::string> reference;
  std::string place{};  // "FILE:LINE" that it was read from
};

/// Reads and validates a line, its check included; of other tools' formats too (tpo/prompt_formats.h). Throws Error
/// "FILE:LINE: reason".
Prompt parse_prompt(const JsonLine& line);
Json prompt_to_json(const Prompt& prompt);

class JudgeView {
 public:
  const Messages& prompt() const { return prompt_; }
  const std::string& response() const { return response_; }  // text after the marker, trimmed

  // The prompt's, written before any model answered.
  const Json& check() const { return check_; }
  const std::optional<std::string>& reference() const { return reference_; }

  /// {"prompt": messages, "response": text}: all that leaves the program, and what judgments.jsonl records.
  Json to_json() const { return {{"prompt", messages_to_json(prompt_)}, {"response", response_}}; }

 private:
  JudgeView() = default;
  friend JudgeView make_judge_view(const Prompt& prompt, const SplitOutput& output);

  Messages prompt_;
  std::string response_;
  Json check_;
  std::optional<std::string> reference_;
};

/// The only maker of a JudgeView. Throws Error when the output did not parse: there is no response to judge then.
JudgeView make_judge_view(const Prompt& prompt, const SplitOutput& output);

struct Judged {
  std::optional<double> score;  // higher is better; none when the judge failed, which never counts as a win or a loss
  std::string error;            // why there is no score
  std::string answer;           // as received, for judges that answer in words
};

/// Told how many views have a result, by judges that take their time, also while they wait. What it throws ends the
/// judging.
using OnJudged = std::function<void(int64_t done)>;

class Judge {
 public:
  virtual ~Judge() = default;

  /// One result per view, in the views' order. A failure that concerns one view is that view's error; one that makes
  /// further judging pointless (bad set-up) throws Error.
  virtual std::vector<Judged> judge(std::span<const JudgeView> views, const OnJudged& on_judged = {}) = 0;
};

/// One game: two responses to one prompt, in the order in which a judge reads them. Made from two JudgeViews, so it can
/// hold nothing that they do not.
class PairView {
 public:
  /// Throws Error when the two are of different prompts.
  PairView(const JudgeView& first, const JudgeView& second);

  const Messages& prompt() const { return prompt_; }
  const std::string& first() const { return first_; }
  const std::string& second() const { return second_; }

  /// {"prompt": messages, "responses": [first, second]}: all that leaves the program, and what judgments.jsonl records.
  Json to_json() const {
    return {{"prompt", messages_to_json(prompt_)}, {"responses", Json::array({first_, second_})}};
  }

 private:
  Messages prompt_;
  std::string first_, second_;
};

enum class Verdict : int { second = -1, tie = 0, first = 1 };  // which response of the view is better

struct PairJudged {
  std::optional<Verdict> verdict;  // none when the judge failed: it then counts as a tie, and as a failure
  std::string error;               // why there is no verdict
  std::string answer;              // as received
};

/// {"answer", "verdict": 1, 0 or -1} or {"answer", "error"}.
Json verdict_to_json(const PairJudged& judged);
/// The reverse. Throws Error "FILE:LINE: reason".
PairJudged parse_verdict(const JsonLine& line);

class PairJudge {
 public:
  virtual ~PairJudge() = default;

  /// One result per view, in the views' order; failures as Judge::judge has them. Position bias is the caller's matter:
  /// ask a view and its mirror image.
  virtual std::vector<PairJudged> judge(std::span<const PairView> views, const OnJudged& on_judged = {}) = 0;
};

/// What a recipe's judge.kind may be.
const std::vector<std::string>& judge_kinds();

/// Makes a pointwise judge from a recipe's object: {"kind": "rule"}, {"kind": "answer"}, {"kind": "command", "command":
/// "…", "timeout_s": 60} or {"kind": "reward", "model": "DIR", "device": "auto"}. Throws Error that names an unknown
/// kind or key and the nearest known one.
std::unique_ptr<Judge> make_judge(const Json& recipe);

/// True for {"kind": "pairwise", …}: make_pair_judge (tpo/judges/pairwise.h) makes that one.
bool is_pairwise(const Json& recipe);

/// Throws Error "judge.KEY: reason" where the object makes no judge of either sort.
void check_judge(const Json& recipe);

/// For makers of judges: throws Error that names the first unknown key and the nearest of `keys`.
void known_judge_keys_only(const Json& recipe, const std::vector<std::string>& keys);

}  // namespace thinker
