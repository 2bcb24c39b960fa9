// New vocabularies: byte-level BPE learnt from a text, and plain alphabets of characters.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "tokenizer/spec.h"

namespace thinker {

/// Learns byte-level BPE: starting from bytes, again and again makes a token of the pair that occurs most often within
/// pieces, until there are `vocabulary` tokens or no pair occurs twice. Of equally frequent pairs the one of smaller
/// ids is taken, so the result depends on the arguments only. Ids: the control tokens, the 256 bytes in the order of
/// their byte-level forms, then the merged ones. The text is taken as plain text. No bos or eos is set. Source:
/// Sennrich et al. 2016, section 3.2, on bytes as in GPT-2. Throws TokenizerError if `vocabulary` has no room for bytes
/// and control tokens, or is beyond kMaxVocabulary.
TokenizerSpec train_bpe(std::string_view text, int64_t vocabulary, Pattern pattern,
                        std::span<const std::string> control);

/// A vocabulary without merges: the control tokens, then each character of the alphabet (UTF-8). Encoding any other
/// character throws. Throws TokenizerError on a character that comes twice or is not valid UTF-8.
TokenizerSpec character_spec(std::string_view alphabet, std::span<const std::string> control);

}  // namespace thinker
