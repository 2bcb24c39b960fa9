// A tokenizer in Hugging Face's files: tokenizer.json, tokenizer_config.json and what stands beside them.
#pragma once

#include <string>

#include "tokenizer/spec.h"

namespace thinker {

/// Reads tokenizer.json of a model folder and, where present, tokenizer_config.json, special_tokens_map.json,
/// chat_template.jinja, and generation_config.json or config.json (end tokens). Supported is byte-level BPE with one of
/// our patterns. Normaliser NFC is accepted but not applied (Tokenizer::encode says why). Anything else that would
/// change ids throws TokenizerError naming the file and the thing; so does a file that is damaged.
TokenizerSpec read_tokenizer_json(const std::string& folder);

/// The texts of a folder's files.
struct TokenizerFiles {
  std::string tokenizer;  // tokenizer.json
  std::string config;     // tokenizer_config.json
};

/// transformers' AutoTokenizer loads them and gives the same ids. Throws TokenizerError on a spec that is not usable.
TokenizerFiles tokenizer_files(const TokenizerSpec& spec);

}  // namespace thinker
