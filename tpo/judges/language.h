// The language of a text, by Compact Language Detector 2. Where the detector is not sure there is no answer: a guess
// would count as a verdict.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace thinker {

/// The ISO 639-1 code of the language of well-formed UTF-8 text, such as "en" (Chinese: "zh-cn" or "zh-tw"); nothing
/// when the detector does not call its answer reliable, as with a few words.
std::optional<std::string> detect_language(std::string_view text);

}  // namespace thinker
