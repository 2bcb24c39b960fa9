#include <nlohmann/json.hpp>

#include "tokenizer/error.h"
#include "tokenizer/hf.h"

namespace thinker {
namespace {

using json = nlohmann::ordered_json;

json byte_level(bool use_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", use_regex}};
}

json pre_tokenizer(Pattern pattern) {
  if (pattern == Pattern::Gpt2) return byte_level(true);
  json first;
  if (pattern == Pattern::Smollm) {
    first = {{"type", "Digits"}, {"individual_digits", true}};
  } else {
    first = {{"type", "Split"},
             {"pattern", {{"Regex", hugging_face_regex(pattern)}}},
             {"behavior", "Isolated"},
             {"invert", false}};
  }
  return {{"type", "Sequence"}, {"pretokenizers", json::array({first, byte_level(pattern == Pattern::Smollm)})}};
}

json post_processor(const TokenizerSpec& spec) {
  if (!spec.add_bos) return byte_level(true);
  const std::string& bos = spec.tokens[spec.bos];
  const auto sequence = [](const char* id) { return json{{"Sequence", {{"id", id}, {"type_id", 0}}}}; };
  const json token = {{"SpecialToken", {{"id", bos}, {"type_id", 0}}}};
  const json named = {{"id", bos}, {"ids", json::array({spec.bos})}, {"tokens", json::array({bos})}};
  return {{"type", "TemplateProcessing"},
          {"single", json::array({token, sequence("A")})},
          {"pair", json::array({token, sequence("A"), sequence("B")})},
          {"special_tokens", {{bos, named}}}};
}

json tokenizer_file(const TokenizerSpec& spec) {
  json vocabulary = json::object();
  json added = json::array();
  for (size_t id = 0; id < spec.tokens.size(); ++id) {
    const TokenType type = spec.types[id];
    const bool nameless = type == TokenType::Unused && spec.tokens[id].empty();
    vocabulary.get_ref<json::object_t&>().emplace_back(
        nameless ? "<unused " + std::to_string(id) + ">" : spec.tokens[id], id);
    if (type != TokenType::Control && type != TokenType::UserDefined) continue;
    added.push_back({{"id", id},
                     {"content", spec.tokens[id]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", type == TokenType::Control}});
  }
  const json model = {{"type", "BPE"},
                      {"dropout", nullptr},
                      {"unk_token", nullptr},
                      {"continuing_subword_prefix", nullptr},
                      {"end_of_word_suffix", nullptr},
                      {"fuse_unk", false},
                      {"byte_fallback", false},
                      {"ignore_merges", spec.ignore_merges || spec.pattern == Pattern::Characters},
                      {"vocab", std::move(vocabulary)},
                      {"merges", spec.merges}};
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", std::move(added)},
          {"normalizer", nullptr},
          {"pre_tokenizer", pre_tokenizer(spec.pattern)},
          {"post_processor", post_processor(spec)},
          {"decoder", byte_level(true)},
          {"model", model}};
}

json config_file(const TokenizerSpec& spec) {
  const auto token = [&](int32_t id) { return id < 0 ? json() : json(spec.tokens[id]); };
  json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                 {"bos_token", token(spec.bos)},
                 {"eos_token", token(spec.eos)},
                 {"clean_up_tokenization_spaces", false}};
  // Without the key a bos in front of texts is read from tokenizer.json, and counts for texts only.
  if (!spec.add_bos || spec.add_bos_in_chats) config["add_bos_token"] = spec.add_bos;
  if (!spec.chat_template.empty()) config["chat_template"] = spec.chat_template;
  return config;
}

std::string text_of(const json& value) {
  try {
    return value.dump(1) + "\n";
  } catch (const json::exception&) {
    tokenizer_fail("tokenizer: a token or the chat template is not valid UTF-8");
  }
}

}  // namespace

TokenizerFiles tokenizer_files(const TokenizerSpec& spec) {
  check_spec(spec, "tokenizer");
  return {text_of(tokenizer_file(spec)), text_of(config_file(spec))};
}

}  // namespace thinker
