// Prompt files of other tools, read as they are: a line's keys are put into our words before it is parsed.
//
//   GSM8K       {"question", "answer"}                          reference = answer
//   Arena-Hard  {"uid", "category", "prompt"}                   id = uid; v0.1: {"question_id", "turns": [{"content"}]}
//   AlpacaEval  a JSON list of {"instruction", "dataset", …}    category = dataset; its "output" is another model's
#pragma once

#include <string>
#include <vector>

#include "tpo/jsonl.h"

namespace thinker {

/// The line with our keys. One that has "prompt" or "messages" keeps them. Throws Error "FILE:LINE: reason" on a
/// question of several turns.
JsonLine in_our_words(const JsonLine& line);

/// The objects of a file: a JSON list where the name ends in .json (then places are "FILE: item N", from 1), else JSON
/// lines.
std::vector<JsonLine> read_objects(const std::string& path);

}  // namespace thinker
