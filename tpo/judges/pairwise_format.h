// How a pairwise judge is asked, and how its answer is read: a system and a user text with places for the conversation
// and the two responses, and one pattern for each verdict. An answer in which the patterns of exactly one verdict label
// are found has that verdict; none, or labels that contradict each other, is a failed verdict, never a guess.
//
//   self-taught-evaluator   [[A]] or [[B]]; reasons first; no tie
//   mt-bench                [[A]], [[B]], or [[C]] for a tie; reasons first
//   arena-hard              [[A>>B]] [[A>B]] [[A=B]] [[B>A]] [[B>>A]]; the judge answers the prompt itself first
//   alpaca-eval             one token, m or M: which of the two is more probable
//   FILE.json               {"system", "user", "verdicts": {"a": REGEX, "b": REGEX, "tie": REGEX}}
//
// Labels are those of the formats' own programs (RAM, FastChat, Arena-Hard-Auto, AlpacaEval); the wording is ours.
#pragma once

#include <string>
#include <vector>

#include "tpo/judge.h"
#include "tpo/judges/regex.h"

namespace thinker {

struct PairFormat {
  struct Label {
    std::string pattern;  // PCRE2, found anywhere in the answer
    Verdict verdict;
    Regex regex;
  };

  std::string name;                  // as asked for
  std::string system, user;          // user holds {prompt}, {response_a}, {response_b}, once each; system may be empty
  std::vector<Label> labels;         // empty for a format of one token
  std::vector<std::string> choices;  // one token: the tokens that stand for the first and the second response

  /// The conversation to send. Places are filled in one pass: a "{response_b}" within a response stays what it is.
  Messages conversation(const PairView& view) const;

  /// Reads an answer in words. Exactly one label must be found.
  PairJudged read(const std::string& answer) const;

  /// Reads the log-probs of the two choices; nothing for one that was not among the most probable. At least one must be
  /// known and none be NaN. Equal ones are a tie.
  PairJudged read(const std::vector<std::optional<double>>& logprobs) const;

  /// All that the verdict depends on, for the cache's key.
  Json identity() const;
};

/// A format by its name, or a template file. Throws Error "judge.format: …" that names the nearest format, or the file
/// and what is wrong with it.
PairFormat pair_format(const std::string& name_or_file);

}  // namespace thinker
