// Reading: every assumption about the file is checked, since a setting that we ignored would silently change ids.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "tokenizer/error.h"
#include "tokenizer/hf.h"
#include "tokenizer/json_depth.h"

namespace thinker {
namespace {

using nlohmann::json;

constexpr std::uintmax_t kMaxFileBytes = 256u << 20;  // the largest real tokenizer.json are some 30 MB

std::string read_file(const std::string& path) {
  std::error_code error;
  const std::uintmax_t size = std::filesystem::file_size(path, error);
  if (error) tokenizer_fail(path, ": cannot be read: ", error.message());
  if (size > kMaxFileBytes) tokenizer_fail(path, ": ", size, " bytes are too many for a tokenizer file");
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  if (!in) tokenizer_fail(path, ": cannot be read");
  return text.str();
}

json read_json(const std::string& path) {
  const std::string text = read_file(path);
  if (is_too_deep(text)) tokenizer_fail(path, ": JSON nested deeper than ", kMaxJsonDepth, " levels");
  try {
    json value = json::parse(text);
    if (!value.is_object()) tokenizer_fail(path, ": not a JSON object");
    return value;
  } catch (const json::parse_error& error) {
    tokenizer_fail(path, ": not valid JSON at byte ", error.byte, " (is the file complete?)");
  } catch (const json::out_of_range&) {
    tokenizer_fail(path, ": holds a number that is too large");
  }
}

json read_json_if_present(const std::string& path) {
  return std::filesystem::exists(path) ? read_json(path) : json::object();
}

// A file of settings: its errors name it.
struct Settings {
  std::string path;
  json object = read_json_if_present(path);
};

// The key's value, which must be present and of that type (number_unsigned stands for any integer).
const json& need(const json& object, const char* key, json::value_t type, const std::string& where) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  if (!object.is_object() || found == object.end()) tokenizer_fail(where, ": \"", key, "\" is missing");
  const bool same = found->type() == type || (type == json::value_t::number_unsigned && found->is_number_integer());
  if (!same) tokenizer_fail(where, ": \"", key, "\" must be ", json(type).type_name(), ", not ", found->type_name());
  return *found;
}

const std::string& need_string(const json& object, const char* key, const std::string& where) {
  return need(object, key, json::value_t::string, where).get_ref<const std::string&>();
}

// A switch that is off where the key is absent or null.
bool is_on(const json& object, const char* key, bool otherwise = false) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? otherwise : *found == true;
}

// The beginning of a value as one short line for an error message.
std::string brief(const json& value) {
  const std::string text = value.dump(-1, ' ', true);
  return text.size() <= 160 ? text : text.substr(0, 160) + "…";
}

// A component and, where it is a Sequence, its parts instead.
std::vector<json> steps_of(const json& component, const char* list_key, const std::string& where) {
  if (component.is_null()) return {};
  if (need_string(component, "type", where) != "Sequence") return {component};
  return need(component, list_key, json::value_t::array, where).get<std::vector<json>>();
}

int32_t need_id(const json& id, size_t size, const std::string& token, const std::string& where) {
  if (!id.is_number_integer()) tokenizer_fail(where, ": the id of token ", brief(token), " is not an integer");
  // Read as signed: a number above its range wraps to a negative one and is refused as well.
  const auto value = id.get<int64_t>();
  if (value < 0 || value >= static_cast<int64_t>(size)) {
    tokenizer_fail(where, ": token ", brief(token), " has id ", brief(id), ", outside the vocabulary of ", size);
  }
  return static_cast<int32_t>(value);
}

void place(TokenizerSpec& spec, int32_t id, const std::string& token, TokenType type, const std::string& where) {
  if (spec.types[id] != TokenType::Unused && spec.tokens[id] != token) {
    tokenizer_fail(where, ": id ", id, " is given twice, to ", brief(spec.tokens[id]), " and to ", brief(token));
  }
  spec.tokens[id] = token;
  spec.types[id] = type;
}

void read_tokens(TokenizerSpec& spec, const json& file, const std::string& where) {
  const json& vocabulary =
      need(need(file, "model", json::value_t::object, where), "vocab", json::value_t::object, where);
  const json none = json::array();
  const json& added = file.contains("added_tokens") ? need(file, "added_tokens", json::value_t::array, where) : none;

  size_t size = vocabulary.size();
  for (const json& token : added) size += !vocabulary.contains(need_string(token, "content", where));
  spec.tokens.resize(size);
  spec.types.resize(size, TokenType::Unused);
  for (const auto& [token, id] : vocabulary.items()) {
    place(spec, need_id(id, size, token, where), token, TokenType::Normal, where);
  }
  for (const json& entry : added) {
    const std::string& token = need_string(entry, "content", where);
    for (const char* flag : {"lstrip", "rstrip", "single_word"}) {
      if (is_on(entry, flag))
        tokenizer_fail(where, ": added token ", brief(token), " has ", flag, ", which is not supported");
    }
    const int32_t id = need_id(need(entry, "id", json::value_t::number_unsigned, where), size, token, where);
    const auto known = vocabulary.find(token);
    if (known != vocabulary.end() && *known != id) {
      tokenizer_fail(where, ": token ", brief(token), " has two ids, ", id, " and ", brief(*known));
    }
    place(spec, id, token, is_on(entry, "special") ? TokenType::Control : TokenType::UserDefined, where);
  }
  for (size_t id = 0; id < size; ++id) {
    if (spec.types[id] == TokenType::Unused)
      tokenizer_fail(where, ": no token has id ", id, " though there are ", size);
  }
}

void read_model(TokenizerSpec& spec, const json& model, const std::string& where) {
  const std::string& type = need_string(model, "type", where);
  if (type != "BPE") tokenizer_fail(where, ": model type ", brief(type), " is not supported; only byte-level BPE is");
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const json value = model.value(affix, json());
    if (!value.is_null() && value != "") tokenizer_fail(where, ": ", affix, " ", brief(value), " is not supported");
  }
  if (is_on(model, "byte_fallback")) tokenizer_fail(where, ": byte_fallback (sentencepiece) is not supported");
  const json dropout = model.value("dropout", json());
  if (!dropout.is_null() && dropout != 0) tokenizer_fail(where, ": dropout ", brief(dropout), " is not supported");
  spec.ignore_merges = is_on(model, "ignore_merges");

  for (const json& merge : need(model, "merges", json::value_t::array, where)) {
    if (merge.is_string()) {
      spec.merges.push_back(merge);
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      spec.merges.push_back(merge[0].get<std::string>() + " " + merge[1].get<std::string>());
    } else {
      tokenizer_fail(where, ": merge ", spec.merges.size(), " is not two strings: ", brief(merge));
    }
  }
}

Pattern read_pattern(const json& pre_tokenizer, const std::string& where) {
  const std::vector<json> steps = steps_of(pre_tokenizer, "pretokenizers", where);
  const auto is_byte_level = [&](const json& step, bool use_regex) {
    return need_string(step, "type", where) == "ByteLevel" && !is_on(step, "add_prefix_space") &&
           is_on(step, "use_regex", true) == use_regex;
  };
  if (steps.size() == 1 && is_byte_level(steps[0], true)) return Pattern::Gpt2;
  if (steps.size() == 2 && need_string(steps[0], "type", where) == "Digits" && is_on(steps[0], "individual_digits") &&
      is_byte_level(steps[1], true)) {
    return Pattern::Smollm;
  }
  if (steps.size() == 2 && need_string(steps[0], "type", where) == "Split" && is_byte_level(steps[1], false) &&
      steps[0].value("behavior", json()) == "Isolated" && !is_on(steps[0], "invert")) {
    const json expected = steps[0].value("pattern", json());
    for (Pattern pattern : {Pattern::Gpt2, Pattern::Llama3, Pattern::Qwen2, Pattern::Characters}) {
      if (expected == json{{"Regex", hugging_face_regex(pattern)}}) return pattern;
    }
  }
  tokenizer_fail(where,
                 ": this pre_tokenizer is not supported (gpt2, smollm, llama3, qwen2 are): ", brief(pre_tokenizer));
}

void check_normalizer(const json& normalizer, const std::string& where) {
  for (const json& step : steps_of(normalizer, "normalizers", where)) {
    if (need_string(step, "type", where) != "NFC")
      tokenizer_fail(where, ": normalizer ", brief(step), " is not supported");
  }
}

// The token that the post-processor puts in front of every text.
std::optional<std::string> token_in_front(const json& post_processor, const std::string& where) {
  std::optional<std::string> front;
  for (const json& step : steps_of(post_processor, "processors", where)) {
    const std::string& type = need_string(step, "type", where);
    if (type == "ByteLevel") continue;
    if (type != "TemplateProcessing") tokenizer_fail(where, ": post_processor ", brief(step), " is not supported");
    const json& single = need(step, "single", json::value_t::array, where);
    for (size_t i = 0; i < single.size(); ++i) {
      if (!single[i].contains("SpecialToken")) continue;
      if (i > 0) {
        const bool behind = std::any_of(single.begin(), single.begin() + static_cast<int64_t>(i),
                                        [](const json& part) { return part.contains("Sequence"); });
        tokenizer_fail(where, ": post_processor with ",
                       behind ? "a token behind the text" : "more than one token in front",
                       " is not supported: ", brief(step));
      }
      front = need_string(single[i]["SpecialToken"], "id", where);
    }
  }
  return front;
}

int32_t id_of_token(const TokenizerSpec& spec, const std::string& token, const std::string& where) {
  for (size_t id = 0; id < spec.tokens.size(); ++id) {
    if (spec.tokens[id] == token) return static_cast<int32_t>(id);
  }
  tokenizer_fail(where, ": the token ", brief(token), " is not in the vocabulary");
}

// A token that the settings name is special, as in transformers, whatever tokenizer.json says of it.
int32_t named_token(TokenizerSpec& spec, const json& value, const std::string& where) {
  if (!value.is_string() && !value.is_object())
    tokenizer_fail(where, " must be a string or an object with \"content\", not ", value.type_name());
  const int32_t id =
      id_of_token(spec, value.is_object() ? need_string(value, "content", where) : value.get<std::string>(), where);
  spec.types[id] = TokenType::Control;
  return id;
}

// The id that "bos_token" (null, a string, or an object with "content") names in the first file that has it; else -1.
int32_t token_setting(TokenizerSpec& spec, const std::vector<Settings>& files, const char* key) {
  for (const auto& [path, settings] : files) {
    const json value = settings.value(key, json());
    if (value.is_null()) continue;
    return named_token(spec, value, path + ": \"" + key + "\"");
  }
  return -1;
}

void read_additional_tokens(TokenizerSpec& spec, const std::vector<Settings>& files) {
  static constexpr const char* kKey = "additional_special_tokens";
  for (const auto& [path, settings] : files) {
    const json list = settings.value(kKey, json());
    if (list.is_null()) continue;
    for (const json& token : need(settings, kKey, json::value_t::array, path))
      named_token(spec, token, path + ": \"" + kKey + "\"");
  }
}

// One template, or a list of named ones of which "default" is the one for chats.
std::string chat_template_setting(const json& config, const std::string& where) {
  const json value = config.value("chat_template", json());
  if (value.is_null()) return "";
  if (value.is_string()) return value;
  if (!value.is_array()) tokenizer_fail(where, ": \"chat_template\" must be a string or a list");
  for (const json& named : value) {
    if (need_string(named, "name", where) == "default") return need_string(named, "template", where);
  }
  tokenizer_fail(where, ": \"chat_template\" has no entry named default");
}

void read_settings(TokenizerSpec& spec, const json& file, const std::string& folder) {
  const std::vector<Settings> files = {{folder + "/tokenizer_config.json"}, {folder + "/special_tokens_map.json"}};
  const auto& [where, config] = files.front();
  spec.bos = token_setting(spec, files, "bos_token");
  spec.eos = token_setting(spec, files, "eos_token");
  read_additional_tokens(spec, files);
  const std::string tokenizer_file = folder + "/tokenizer.json";
  const auto front = token_in_front(file.value("post_processor", json()), tokenizer_file);
  if (front) spec.bos = id_of_token(spec, *front, tokenizer_file);
  spec.add_bos = is_on(config, "add_bos_token", front.has_value());
  spec.add_bos_in_chats = is_on(config, "add_bos_token");

  const std::string template_file = folder + "/chat_template.jinja";
  spec.chat_template =
      std::filesystem::exists(template_file) ? read_file(template_file) : chat_template_setting(config, where);

  for (const char* name : {"/generation_config.json", "/config.json"}) {  // the first that tells
    const json ends = read_json_if_present(folder + name).value("eos_token_id", json());
    for (const json& end : ends.is_array() || ends.is_null() ? ends : json::array({ends}))
      spec.end_ids.push_back(need_id(end, spec.tokens.size(), "eos_token_id", folder + name));
    if (!spec.end_ids.empty()) break;
  }
}

}  // namespace

TokenizerSpec read_tokenizer_json(const std::string& folder) {
  const std::string where = folder + "/tokenizer.json";
  const json file = read_json(where);
  try {
    TokenizerSpec spec;
    read_model(spec, need(file, "model", json::value_t::object, where), where);
    read_tokens(spec, file, where);
    check_normalizer(file.value("normalizer", json()), where);
    spec.pattern = read_pattern(file.value("pre_tokenizer", json()), where);
    read_settings(spec, file, folder);
    check_spec(spec, where);
    return spec;
  } catch (const json::exception& error) {
    tokenizer_fail(folder, ": tokenizer files hold a value of an unexpected type: ", error.what());
  }
}

}  // namespace thinker
