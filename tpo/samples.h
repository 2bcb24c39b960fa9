// The records that the loop's stages hand to each other, and their lines in samples.jsonl and judgments.jsonl.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tpo/jsonl.h"
#include "tpo/judge.h"
#include "tpo/text.h"
#include "tpo/thought.h"

namespace thinker {

/// One sampled output of one prompt.
struct SampleRecord {
  Json id;             // the prompt's
  int64_t sample = 0;  // 0 ... K-1
  std::vector<int32_t> prompt_ids;
  std::vector<int32_t> ids;     // as sampled, the end token included: what training sees; never encoded again
  std::vector<float> logprobs;  // of ids, at temperature 1
  std::string text;             // decoded without special tokens, not stripped
  SplitOutput split;
  Stop stop = Stop::end;
  std::vector<std::pair<int64_t, int64_t>> forced;  // runs [begin, end) of ids that were written, not sampled

  bool valid() const { return split.parse == Parse::ok; }
  /// The response of a valid sample as a judge is shown it, without white space around it; lengths are of this.
  std::string_view shown_response() const { return trim(*split.response); }
};

/// Reads a list of runs [begin, end) within a sequence of `length` tokens. Throws Error "FILE:LINE: reason".
std::vector<std::pair<int64_t, int64_t>> parse_runs(const JsonLine& line, const std::string& key, size_t length);

Json sample_to_json(const SampleRecord& sample);
/// Throws Error "FILE:LINE: reason" on a missing or ill-typed field, or when ids and logprobs differ in length.
SampleRecord parse_sample(const JsonLine& line);
/// All of a samples.jsonl; throws as parse_sample does, and when the file cannot be read.
std::vector<SampleRecord> read_samples(const std::string& path);

/// What a judge said of one sample.
struct JudgmentRecord {
  Json id;
  int64_t sample = 0;
  Json view;  // exactly as sent
  Judged judged;
};

Json judgment_to_json(const JudgmentRecord& judgment);
/// Throws Error "FILE:LINE: reason" on a missing or ill-typed field; a line has a score or an error.
JudgmentRecord parse_judgment(const JsonLine& line);

/// One game of two samples of a prompt, a before b among the samples.
struct GameRecord {
  enum class Order { ab, ba };  // which of the two the judge read first
  Json id;
  int64_t a = 0, b = 0;  // sample numbers
  Order order = Order::ab;
  Json view;          // exactly as sent
  PairJudged judged;  // of the view: "first" is the response that was shown first

  /// 1: a is better, -1: b is, 0: a tie, or no verdict.
  int for_a() const {
    const int shown = judged.verdict ? static_cast<int>(*judged.verdict) : 0;
    return order == Order::ab ? shown : -shown;
  }
};

/// The response that the game's view shows for its sample a, or for b; nothing where the view has none.
std::optional<std::string> shown_response(const GameRecord& game, int64_t sample);

/// The line's "verdict" is for_a().
Json game_to_json(const GameRecord& game);
/// Throws Error "FILE:LINE: reason" on a missing or ill-typed field, or when a sample plays against itself.
GameRecord parse_game(const JsonLine& line);

/// All of a judgments.jsonl: of a pointwise judge, or of a pairwise one.
struct Judgments {
  std::vector<JudgmentRecord> scores;
  std::vector<GameRecord> games;
};

/// Throws Error "FILE:LINE: reason", also where a file holds both sorts, or a judgment or game twice.
Judgments read_judgment_file(const std::string& path);

/// How verdicts become one score a sample, and what becomes of a pair whose two orders disagree.
enum class GameScores { bt, wins };  // Bradley-Terry; mean of win 1, tie 1/2, loss 0
enum class Inconsistent { keep, tie };

struct ScoreRule {
  GameScores scores = GameScores::bt;
  Inconsistent inconsistent = Inconsistent::keep;
};

/// One score for each sample that played, ordered as the samples first occur. A failed game is a tie. A record's view
/// has the "response" that the sample was shown with. Throws Error where that was another one in another game.
std::vector<JudgmentRecord> scores_of_games(const std::vector<GameRecord>& games, const ScoreRule& rule = {});

/// A file's scores: as they stand in it, or made from its games. Throws as read_judgment_file does.
std::vector<JudgmentRecord> read_judgments(const std::string& path, const ScoreRule& rule = {});

/// Reads prompts.jsonl, or a .json list of such objects; a prompt without an id gets its index. Throws Error on a
/// repeated id.
std::vector<Prompt> read_prompts(const std::string& path);

}  // namespace thinker
