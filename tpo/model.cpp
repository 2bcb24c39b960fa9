#include "tpo/model.h"

#include <algorithm>
#include <filesystem>

#include "tensor/gguf.h"
#include "tokenizer/hf.h"

namespace thinker {

namespace {

bool is_gguf(const std::string& path) {
  return path.ends_with(".gguf");
}

void check_path(const std::string& path) {
  if (!std::filesystem::exists(path)) {
    fail(path, ": no such file or folder; a MODEL is a Hugging Face folder or a .gguf file (`make model` fetches one)");
  }
  if (!is_gguf(path) && !std::filesystem::is_directory(path)) {
    fail(path, ": is neither a folder nor a .gguf file");
  }
}

/// The same facts that tokenizer.json holds, from GGUF's metadata.
TokenizerSpec read_tokenizer_gguf(const GgufFile& file) {
  const auto kind = file.get<std::string>("tokenizer.ggml.model");
  if (kind != "gpt2") fail(file.path(), ": tokenizer \"", kind, "\" is not supported; byte-level BPE (\"gpt2\") is");
  TokenizerSpec spec;
  spec.tokens = file.get<std::vector<std::string>>("tokenizer.ggml.tokens");
  spec.merges = file.get<std::vector<std::string>>("tokenizer.ggml.merges");
  const auto types = file.find<std::vector<int64_t>>("tokenizer.ggml.token_type");
  if (types) {
    for (int64_t t : *types) spec.types.push_back(static_cast<TokenType>(t));
  } else {
    spec.types.assign(spec.tokens.size(), TokenType::Normal);
  }
  const auto pre = file.find<std::string>("tokenizer.ggml.pre").value_or("default");
  spec.pattern = pattern_from_gguf(pre);
  spec.ignore_merges = spec.pattern == Pattern::Llama3;
  spec.bos = static_cast<int32_t>(file.find<int64_t>("tokenizer.ggml.bos_token_id").value_or(-1));
  spec.eos = static_cast<int32_t>(file.find<int64_t>("tokenizer.ggml.eos_token_id").value_or(-1));
  if (const auto eot = file.find<int64_t>("tokenizer.ggml.eot_token_id")) {
    spec.end_ids.push_back(static_cast<int32_t>(*eot));
  }
  spec.add_bos = file.find<bool>("tokenizer.ggml.add_bos_token").value_or(false);
  spec.chat_template = file.find<std::string>("tokenizer.chat_template").value_or("");
  return spec;
}

Model assemble(Transformer net, Tokenizer tokenizer, const std::string& path) {
  if (tokenizer.vocabulary_size() > net.config().vocab) {
    fail(path, ": the tokenizer has ", tokenizer.vocabulary_size(), " tokens, the model's embedding only ",
         net.config().vocab, " rows");
  }
  return {std::move(net), ChatTokenizer(std::move(tokenizer))};
}

}  // namespace

Model open_model(Device& device, const std::string& path, DType t) {
  check_path(path);
  if (!is_gguf(path)) {
    return assemble(load_huggingface(device, path, t), Tokenizer(read_tokenizer_json(path), path), path);
  }
  const GgufFile file(path);
  return assemble(load_gguf(device, file, t), Tokenizer(read_tokenizer_gguf(file), path), path);
}

ChatTokenizer open_tokenizer(const std::string& path) {
  check_path(path);
  if (!is_gguf(path)) return ChatTokenizer(Tokenizer(read_tokenizer_json(path), path));
  return ChatTokenizer(Tokenizer(read_tokenizer_gguf(GgufFile(path)), path));
}

void Model::save(const std::string& folder, StoredAs stored_as) const {
  const TokenizerSpec& spec = text.tokenizer.spec();
  // Batches of other programs need a pad token; an end token serves, since nothing of ours ever pads.
  save_checkpoint(folder, net, {text.end_ids, spec.bos, text.end_ids.front()}, stored_as);
  write_tokenizer_json(folder, spec);
}

}  // namespace thinker
