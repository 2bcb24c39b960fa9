// The answer judge, {"kind": "answer"}: 1 when the response's final number is the reference's, else 0. For arithmetic
// in GSM8K's style, whose references are a worked solution that ends in "#### 42".
//
// The final number of a text is the first one after its last "####", and without that (or without a number there) its
// last one. Numbers are compared as decimal fractions, digit by digit: $1,234.50 is 1234.5, "007." is 7, -0 is 0. A
// comma belongs to a number where exactly three digits follow it; a minus where no letter, digit or ")" stands before.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tpo/judge.h"

namespace thinker {

/// The final number, normalised: an optional "-", digits without leading zeros, "." and digits without trailing zeros.
std::optional<std::string> final_number(std::string_view text);

/// answer is the response's number. A view without a reference, or whose reference holds no number, is an error.
class AnswerJudge : public Judge {
 public:
  std::vector<Judged> judge(std::span<const JudgeView> views, const OnJudged& on_judged = {}) override;
};

}  // namespace thinker
