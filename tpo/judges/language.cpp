#include "tpo/judges/language.h"

#include <cld2/public/compact_lang_det.h>

#include <algorithm>
#include <limits>

namespace thinker {

std::optional<std::string> detect_language(std::string_view text) {
  const int size = static_cast<int>(std::min<size_t>(text.size(), std::numeric_limits<int>::max()));
  bool reliable = false;
  int valid_bytes = 0;
  const CLD2::Language language =
      CLD2::DetectLanguageCheckUTF8(text.data(), size, /*is_plain_text=*/true, &reliable, &valid_bytes);
  if (!reliable || language == CLD2::UNKNOWN_LANGUAGE) return std::nullopt;
  const std::string code = CLD2::LanguageCode(language);
  if (code == "zh") return "zh-cn";
  if (code == "zh-Hant") return "zh-tw";
  if (code == "iw") return "he";
  return code;
}

}  // namespace thinker
