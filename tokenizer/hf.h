// A tokenizer in Hugging Face's files: tokenizer.json, tokenizer_config.json and what stands beside them.
#pragma once

#include <string>

#include "tokenizer/spec.h"

namespace thinker {

/// Reads tokenizer.json of a model folder and, where present, tokenizer_config.json, special_tokens_map.json,
/// chat_template.jinja and generation_config.json. Supported is byte-level BPE with one of our patterns. Normaliser NFC
/// is accepted but not applied (Tokenizer::encode says why). Anything else that would change ids throws TokenizerError
/// naming the file and the thing; so does a file that is damaged.
TokenizerSpec read_tokenizer_json(const std::string& folder);

/// Writes tokenizer.json and tokenizer_config.json into an existing folder. transformers' AutoTokenizer loads them and
/// gives the same ids. Throws TokenizerError where a file cannot be written.
void write_tokenizer_json(const std::string& folder, const TokenizerSpec& spec);

}  // namespace thinker
