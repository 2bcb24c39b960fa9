// Supervised data: {"messages"} or {"prompt","completion"} lines as token ids with a mask of what is trained.
#pragma once

#include <string>
#include <vector>

#include "tpo/jsonl.h"
#include "tpo/model.h"
#include "tpo/training.h"

namespace thinker {

enum class TrainedTurns { last, all };

/// One line. {"messages"} ends with the assistant's message, which is trained (TrainedTurns::all: every assistant's);
/// {"prompt","completion"} are both strings or both message lists. Throws Error "FILE:LINE: reason".
SftExample to_example(const JsonLine& line, const ChatTokenizer& text, TrainedTurns turns);

/// A prompt's ids and a completion's, of which the completion is trained.
SftExample to_example(const std::vector<int32_t>& prompt, const std::vector<int32_t>& completion);

std::vector<SftExample> read_supervised(const std::string& path, const ChatTokenizer& text, TrainedTurns turns);

}  // namespace thinker
