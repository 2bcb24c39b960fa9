#include "tpo/model.h"

#include <algorithm>
#include <array>
#include <filesystem>

#include "tensor/file.h"
#include "tensor/gguf.h"
#include "tokenizer/error.h"
#include "tokenizer/hf.h"

namespace thinker {

namespace {

bool is_gguf(const std::string& path) {
  return path.ends_with(".gguf");
}

/// needed: the file of a folder that is wanted first.
void check_path(const std::string& path, const std::string& needed = "config.json") {
  if (!std::filesystem::exists(path)) {
    fail(path, ": no such file or folder; a MODEL is a Hugging Face folder or a .gguf file (`make model` fetches one)");
  }
  if (!is_gguf(path) && !std::filesystem::is_directory(path)) {
    fail(path, ": is neither a folder nor a .gguf file");
  }
  if (!is_gguf(path) && !std::filesystem::exists(path + "/" + needed)) {
    fail(path, ": has no ", needed, "; a MODEL is a Hugging Face folder (config.json, tokenizer.json and ",
         "model.safetensors) or a .gguf file");
  }
}

/// The error names the file, which pattern_from_gguf does not know.
Pattern read_pattern(const GgufFile& file) {
  try {
    return pattern_from_gguf(file.find<std::string>("tokenizer.ggml.pre").value_or(""));
  } catch (const TokenizerError& e) {
    fail(file.path(), ": ", e.what());
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
  spec.pattern = read_pattern(file);
  spec.ignore_merges = spec.pattern == Pattern::Llama3;
  spec.bos = static_cast<int32_t>(file.find<int64_t>("tokenizer.ggml.bos_token_id").value_or(-1));
  spec.eos = static_cast<int32_t>(file.find<int64_t>("tokenizer.ggml.eos_token_id").value_or(-1));
  if (const auto eot = file.find<int64_t>("tokenizer.ggml.eot_token_id")) {
    spec.end_ids.push_back(static_cast<int32_t>(*eot));
  }
  const auto add_bos = file.find<bool>("tokenizer.ggml.add_bos_token");
  spec.add_bos = add_bos.value_or(spec.pattern == Pattern::Llama3 && spec.bos >= 0);  // as llama.cpp has it
  spec.add_bos_in_chats = add_bos.value_or(false);
  spec.chat_template = file.find<std::string>("tokenizer.chat_template").value_or("");
  return spec;
}

/// What is wrong with a chat template or its tokens is the MODEL's fault, which only we know by name.
ChatTokenizer with_chat(Tokenizer tokenizer, const std::string& path) {
  try {
    return ChatTokenizer(std::move(tokenizer));
  } catch (const TokenizerError& e) {
    fail(path, ": ", e.what());
  }
}

ChatTokenizer fitting(Tokenizer tokenizer, const Config& config, const std::string& path) {
  if (tokenizer.vocabulary_size() > config.vocab) {
    fail(path, ": the tokenizer has ", tokenizer.vocabulary_size(), " tokens, the model's embedding only ",
         config.vocab, " rows");
  }
  return with_chat(std::move(tokenizer), path);
}

/// A token to pad with that never ends a turn: transformers looks for a sequence's last token that is not padding, and
/// must find the end of the turn; it trains no embedding of the pad token; and trainers leave padding out of the loss.
/// -1 where the vocabulary has none.
int32_t pad_beside_the_end(const ChatTokenizer& text) {
  if (text.end_ids.size() > 1) return text.end_ids[1];
  const std::vector<TokenType>& types = text.tokenizer.spec().types;
  for (size_t id = 0; id < types.size(); ++id) {
    if (types[id] == TokenType::Control && static_cast<int32_t>(id) != text.end_ids.front())
      return static_cast<int32_t>(id);
  }
  return -1;
}

/// What an earlier model left and we do not write would be read with the new one: its adapter, and files that go before
/// tokenizer_config.json or fill its gaps.
constexpr std::array kLeftovers{"chat_template.jinja", "special_tokens_map.json", "adapter/adapter_config.json",
                                "adapter/adapter_model.safetensors"};

void remove_leftovers(const std::string& folder) {
  for (const char* file : kLeftovers) {
    const std::filesystem::path path = std::filesystem::path(folder) / file;
    if (std::filesystem::exists(path)) std::filesystem::remove(path);
  }
}

/// Removes last: where the folder is the model's own, its template must be written before the old file of it goes.
void save_tokenizer(const std::string& folder, const TokenizerSpec& spec) {
  const TokenizerFiles files = tokenizer_files(spec);
  write_file_atomically(folder + "/tokenizer.json", files.tokenizer);
  write_file_atomically(folder + "/tokenizer_config.json", files.config);
  remove_leftovers(folder);
}

}  // namespace

bool is_model_file(const std::string& path) {
  constexpr std::array kFiles{"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"};
  const bool weights = path.ends_with(".safetensors") || path.ends_with(".safetensors.index.json");
  return (weights && path.find('/') == path.npos) || std::find(kFiles.begin(), kFiles.end(), path) != kFiles.end() ||
         std::find(kLeftovers.begin(), kLeftovers.end(), path) != kLeftovers.end();
}

Model open_model(Device& device, const std::string& path, DType t, WeightStorage storage) {
  check_path(path);
  if (!is_gguf(path)) {
    Transformer net = load_huggingface(device, path, t, OutputHead::loaded, storage);
    ChatTokenizer text = fitting(Tokenizer(read_tokenizer_json(path), path), net.config(), path);
    return {std::move(net), std::move(text)};
  }
  const GgufFile file(path);
  Transformer net = load_gguf(device, file, t, OutputHead::loaded, storage);
  ChatTokenizer text = fitting(Tokenizer(read_tokenizer_gguf(file), path), net.config(), path);
  return {std::move(net), std::move(text)};
}

void check_reward_model(const std::string& path) {
  check_path(path);
  if (is_gguf(path) || read_head(path) != Head::reward)
    fail(path, ": is a language model, not a reward model; `thinker reward` makes one of it");
}

TextRewardModel open_reward_model(Device& device, const std::string& path, DType t, NoScore no_score) {
  check_path(path);
  if (no_score == NoScore::refused) check_reward_model(path);
  if (is_gguf(path)) {
    const GgufFile file(path);
    RewardModel net(load_gguf(device, file, t, OutputHead::left_out));
    ChatTokenizer text = fitting(Tokenizer(read_tokenizer_gguf(file), path), net.body().config(), path);
    return {std::move(net), std::move(text)};
  }
  RewardModel net = read_head(path) == Head::reward
                        ? load_reward_model(device, path, t)
                        : RewardModel(load_huggingface(device, path, t, OutputHead::left_out));
  ChatTokenizer text = fitting(Tokenizer(read_tokenizer_json(path), path), net.body().config(), path);
  return {std::move(net), std::move(text)};
}

ChatTokenizer open_tokenizer(const std::string& path) {
  check_path(path, "tokenizer.json");
  return with_chat(Tokenizer(is_gguf(path) ? read_tokenizer_gguf(GgufFile(path)) : read_tokenizer_json(path), path),
                   path);
}

void Model::save(const std::string& folder, StoredAs stored_as) const {
  const TokenizerSpec& spec = text.tokenizer.spec();
  save_checkpoint(folder, net, {text.end_ids, spec.bos, pad_beside_the_end(text)}, stored_as);
  save_tokenizer(folder, spec);
}

void TextRewardModel::save(const std::string& folder) const {
  const TokenizerSpec& spec = text.tokenizer.spec();
  save_checkpoint(folder, net, {text.end_ids, spec.bos, pad_beside_the_end(text)}, StoredAs::f32);
  save_tokenizer(folder, spec);
}

}  // namespace thinker
