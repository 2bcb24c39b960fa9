// Hugging Face files: written and read again they give the same tokenizer; damaged, lying or foreign ones give one
// clear error. Each hostile case changes one thing in a good file.
#include "tokenizer/hf.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <functional>

#include "tests/tokenizer/goldens.h"
#include "tokenizer/bpe.h"
#include "tokenizer/error.h"
#include "tokenizer/train.h"

using namespace thinker;
using nlohmann::json;
using thinker::test::golden_path;
using thinker::test::read_jsonl;
namespace fs = std::filesystem;

namespace {

// A folder that disappears at the end of the test.
class TemporaryFolder {
 public:
  TemporaryFolder() : path_(fs::temp_directory_path() / ("thinker-tokenizer-" + std::to_string(getpid()))) {
    fs::create_directories(path_);
  }
  ~TemporaryFolder() { fs::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::string path() const { return path_.string(); }
  void write(const std::string& name, const std::string& text) const { std::ofstream(path_ / name) << text; }

 private:
  fs::path path_;
};

json good_file() {
  std::ifstream in(golden_path("gpt2/tokenizer.json"));
  return json::parse(in);
}

// The error of opening a tokenizer from this tokenizer.json, "" if there is none; its beginning, the file's path, is
// cut off.
std::string error_of(const std::string& text, const std::vector<std::pair<std::string, std::string>>& others = {}) {
  const TemporaryFolder folder;
  folder.write("tokenizer.json", text);
  for (const auto& [name, content] : others) folder.write(name, content);
  try {
    const Tokenizer tokenizer(read_tokenizer_json(folder.path()), folder.path());
    tokenizer.encode("some text", SpecialText::Parse);
    return "";
  } catch (const TokenizerError& error) {
    const std::string message = error.what();
    CHECK(message.find('\n') == std::string::npos);
    CHECK(message.starts_with(folder.path()));
    return message.substr(folder.path().size());
  }
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

void write_files(const TemporaryFolder& folder, const TokenizerSpec& spec) {
  const TokenizerFiles files = tokenizer_files(spec);
  folder.write("tokenizer.json", files.tokenizer);
  folder.write("tokenizer_config.json", files.config);
}

}  // namespace

TEST_CASE("written and read again, a tokenizer is the same") {
  for (const char* pattern : {"gpt2", "smollm", "llama3", "qwen2"}) {
    TokenizerSpec spec = read_tokenizer_json(golden_path(pattern));
    spec.bos = 1;
    spec.eos = 2;
    spec.add_bos = true;
    spec.add_bos_in_chats = std::string(pattern) == "llama3";
    spec.chat_template = "{{ 'é\n' }}";
    const TemporaryFolder folder;
    write_files(folder, spec);
    const TokenizerSpec again = read_tokenizer_json(folder.path());
    CHECK(again.tokens == spec.tokens);
    CHECK((again.types == spec.types));
    CHECK(again.merges == spec.merges);
    CHECK((again.pattern == spec.pattern));
    CHECK(again.ignore_merges == spec.ignore_merges);
    CHECK(again.bos == 1);
    CHECK(again.eos == 2);
    CHECK(again.add_bos);
    CHECK(again.add_bos_in_chats == spec.add_bos_in_chats);
    CHECK(again.chat_template == spec.chat_template);
    const Tokenizer before(spec), after(again);
    for (const json& row : read_jsonl(golden_path(pattern) + "/probes.jsonl")) {
      const auto text = row["text"].get<std::string>();
      CHECK(before.encode(text, SpecialText::Parse) == after.encode(text, SpecialText::Parse));
    }
  }
}

TEST_CASE("a vocabulary of characters, written and read again, and one with holes") {
  const TemporaryFolder folder;
  const std::vector<std::string> control = {"<end>"};
  TokenizerSpec spec = character_spec("abcé 你\n", control);
  spec.tokens.push_back("");
  spec.types.push_back(TokenType::Unused);
  write_files(folder, spec);
  const TokenizerSpec again = read_tokenizer_json(folder.path());
  CHECK((again.pattern == Pattern::Characters));
  CHECK(again.tokens.size() == spec.tokens.size());
  const std::string text = "é你 cab\n";
  CHECK(Tokenizer(again).encode(text, SpecialText::Plain) == Tokenizer(spec).encode(text, SpecialText::Plain));
}

TEST_CASE("settings beside tokenizer.json") {
  const TemporaryFolder folder;
  json file = good_file();
  file["post_processor"] =
      json::parse(R"({"type": "Sequence", "processors": [{"type": "ByteLevel"}, {"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]}]})");
  folder.write("tokenizer.json", file.dump());
  CHECK(read_tokenizer_json(folder.path()).add_bos);
  CHECK(!read_tokenizer_json(folder.path()).add_bos_in_chats);
  for (const bool asked : {false, true}) {
    folder.write("tokenizer_config.json", json{{"add_bos_token", asked}}.dump());
    CHECK(read_tokenizer_json(folder.path()).add_bos == asked);
    CHECK(read_tokenizer_json(folder.path()).add_bos_in_chats == asked);
  }
  std::filesystem::remove(folder.path() + "/tokenizer_config.json");
  CHECK(read_tokenizer_json(folder.path()).bos == 1);

  folder.write("tokenizer_config.json",
               R"({"bos_token": null, "eos_token": {"content": "<|im_end|>"}, "add_bos_token": false,
      "chat_template": [{"name": "tools", "template": "T"}, {"name": "default", "template": "D"}]})");
  folder.write("special_tokens_map.json", R"({"bos_token": "<|im_start|>", "eos_token": "<|endoftext|>"})");
  folder.write("generation_config.json", R"({"eos_token_id": [2, 0]})");
  const TokenizerSpec spec = read_tokenizer_json(folder.path());
  CHECK(!spec.add_bos);
  CHECK(spec.bos == 1);
  CHECK(spec.eos == 2);
  CHECK(spec.end_ids == std::vector<int32_t>{2, 0});
  CHECK(spec.chat_template == "D");
  std::filesystem::remove(folder.path() + "/generation_config.json");
  folder.write("config.json", R"({"eos_token_id": 1})");
  CHECK(read_tokenizer_json(folder.path()).end_ids == std::vector<int32_t>{1});
  folder.write("chat_template.jinja", "file");
  CHECK(read_tokenizer_json(folder.path()).chat_template == "file");
}

TEST_CASE("tokens that the settings name are special, though tokenizer.json does not say so") {
  const TemporaryFolder folder;
  json file = good_file();
  for (json& token : file["added_tokens"]) token["special"] = false;
  folder.write("tokenizer.json", file.dump());
  const auto type_of = [&](int32_t id) { return read_tokenizer_json(folder.path()).types[id]; };
  for (int32_t id : {0, 1, 2}) CHECK((type_of(id) == TokenType::UserDefined));
  folder.write("tokenizer_config.json",
               R"({"eos_token": "<|im_end|>", "additional_special_tokens": ["<|endoftext|>"]})");
  folder.write("special_tokens_map.json", R"({"bos_token": {"content": "<|im_start|>"}})");
  for (int32_t id : {0, 1, 2}) CHECK((type_of(id) == TokenType::Control));
  folder.write("special_tokens_map.json", R"({"additional_special_tokens": [{"content": "<|im_start|>"}]})");
  CHECK((type_of(1) == TokenType::Control));
  const Tokenizer tokenizer(read_tokenizer_json(folder.path()));
  CHECK(tokenizer.encode("<|im_end|>", SpecialText::Plain).size() > 1);
}

TEST_CASE("damaged files") {
  const std::string good = good_file().dump();
  CHECK(error_of(good) == "");
  for (size_t size : {size_t{0}, size_t{1}, good.size() / 2, good.size() - 1}) {
    CHECK(has(error_of(good.substr(0, size)), "not valid JSON"));
  }
  CHECK(has(error_of("[]"), "not a JSON object"));
  CHECK(has(error_of("{}"), "\"model\" is missing"));
  CHECK(has(error_of(std::string(2'000'000, '[')), "nested deeper than 64 levels"));
  CHECK(has(error_of(R"({"model": 1e999})"), "/tokenizer.json: holds a number that is too large"));
  CHECK(has(error_of("{\"model\": \"\xFF\"}"), "not valid JSON"));
  CHECK(has(error_of(good, {{"tokenizer_config.json", "{"}}), "tokenizer_config.json: not valid JSON"));
  const TemporaryFolder empty;
  CHECK_THROWS_AS(read_tokenizer_json(empty.path()), TokenizerError);
  TokenizerSpec broken = read_tokenizer_json(golden_path("gpt2"));
  broken.chat_template = "\xff";
  CHECK_THROWS_AS(tokenizer_files(broken), TokenizerError);
}

// A value of any depth can be parsed, but is printed and freed by recursion.
TEST_CASE("values nested so deep that they would exhaust the stack are refused, in every file") {
  const std::string good = good_file().dump(), deep = std::string(300'000, '[') + std::string(300'000, ']');
  for (const char* key : {"normalizer", "pre_tokenizer", "post_processor"}) {
    json file = good_file();
    file.erase(key);
    const std::string text = std::string("{\"") + key + "\":" + deep + "," + file.dump().substr(1);
    CHECK(error_of(text) == "/tokenizer.json: JSON nested deeper than 64 levels");
  }
  const std::pair<std::string, std::string> others[] = {{"tokenizer_config.json", "bos_token"},
                                                        {"tokenizer_config.json", "chat_template"},
                                                        {"special_tokens_map.json", "eos_token"},
                                                        {"generation_config.json", "eos_token_id"},
                                                        {"config.json", "eos_token_id"}};
  for (const auto& [name, key] : others) {
    CHECK(error_of(good, {{name, "{\"" + key + "\":" + deep + "}"}}) ==
          "/" + name + ": JSON nested deeper than 64 levels");
  }
  // Brackets within strings, after an escaped quote too, nest nothing.
  const std::string brackets = R"({"chat_template": "\"\\)" + std::string(1000, '[') + "\"}";
  CHECK(error_of(good, {{"tokenizer_config.json", brackets}}) == "");
}

TEST_CASE("lying and foreign files") {
  const struct {
    const char* expected;
    std::function<void(json&)> change;
  } cases[] = {
      {"\"model\" must be object, not number", [](json& f) { f["model"] = 3; }},
      {"\"vocab\" is missing", [](json& f) { f["model"].erase("vocab"); }},
      {"\"vocab\" must be object, not array", [](json& f) { f["model"]["vocab"] = json::array(); }},
      {"\"merges\" is missing", [](json& f) { f["model"].erase("merges"); }},
      {"\"type\" is missing", [](json& f) { f["model"].erase("type"); }},
      {"model type \"Unigram\" is not supported", [](json& f) { f["model"]["type"] = "Unigram"; }},
      {"byte_fallback", [](json& f) { f["model"]["byte_fallback"] = true; }},
      {"dropout 0.1 is not supported", [](json& f) { f["model"]["dropout"] = 0.1; }},
      {"end_of_word_suffix \"</w>\"", [](json& f) { f["model"]["end_of_word_suffix"] = "</w>"; }},
      {"merge 0 is not two tokens", [](json& f) { f["model"]["merges"][0] = "ab"; }},
      {"merge 0 is not two tokens", [](json& f) { f["model"]["merges"][0] = " ab"; }},
      {"merge 0 is not two tokens", [](json& f) { f["model"]["merges"][0] = "ab "; }},
      {"merge 0 is not two tokens", [](json& f) { f["model"]["merges"][0] = "a b c"; }},
      {"merge 0 is not two tokens", [](json& f) { f["model"]["merges"][0] = ""; }},
      {"merge 0 is not two strings", [](json& f) { f["model"]["merges"][0] = json::array({"a"}); }},
      {"merge 0 is not two strings", [](json& f) { f["model"]["merges"][0] = 7; }},
      {"merge 0 is not two tokens: b c", [](json& f) { f["model"]["merges"][0] = "b\nc"; }},
      {"merge 1 names an unknown token: zzzz", [](json& f) { f["model"]["merges"][1] = "zzzz a"; }},
      {"merge 1 names an unknown token: zq", [](json& f) { f["model"]["merges"][1] = "z q"; }},
      {"is given twice", [](json& f) { f["model"]["vocab"]["a"] = f["model"]["vocab"]["b"]; }},
      {"outside the vocabulary", [](json& f) { f["model"]["vocab"]["a"] = 4'000'000'000; }},
      {"outside the vocabulary", [](json& f) { f["model"]["vocab"]["a"] = 18446744073709551615u; }},
      {"outside the vocabulary", [](json& f) { f["model"]["vocab"]["a"] = -1; }},
      {"is not an integer", [](json& f) { f["model"]["vocab"]["a"] = 1.5; }},
      {"is not an integer", [](json& f) { f["model"]["vocab"]["a"] = "1"; }},
      {"is an empty string", [](json& f) { f["model"]["vocab"][""] = 601; }},
      {"no token has id", [](json& f) { f["added_tokens"].push_back(f["added_tokens"].back()); }},
      {"outside the vocabulary", [](json& f) { f["added_tokens"].back()["id"] = 5'000'000'000; }},
      {"has two ids", [](json& f) { f["added_tokens"][0]["id"] = 5; }},
      {"\"content\" is missing", [](json& f) { f["added_tokens"][0].erase("content"); }},
      {"\"content\" is missing", [](json& f) { f["added_tokens"][0] = nullptr; }},
      {"has lstrip", [](json& f) { f["added_tokens"][0]["lstrip"] = true; }},
      {"\"added_tokens\" must be array", [](json& f) { f["added_tokens"] = "x"; }},
      {"normalizer",
       [](json& f) {
         f["normalizer"] = {{"type", "Lowercase"}};
       }},
      {"this pre_tokenizer is not supported", [](json& f) { f["pre_tokenizer"] = nullptr; }},
      {"this pre_tokenizer is not supported",
       [](json& f) {
         f["pre_tokenizer"] = {{"type", "Metaspace"}};
       }},
      {"this pre_tokenizer is not supported", [](json& f) { f["pre_tokenizer"]["add_prefix_space"] = true; }},
      {"\"type\" is missing", [](json& f) { f["pre_tokenizer"] = 5; }},
      {"post_processor",
       [](json& f) {
         f["post_processor"] = {{"type", "BertProcessing"}};
       }},
      {"post_processor with a token behind the text is not supported",
       [](json& f) {
         f["post_processor"] = json::parse(
             R"({"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "a"}}]})");
       }},
      {"post_processor with more than one token in front is not supported",
       [](json& f) {
         f["post_processor"] = json::parse(
             R"({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "a"}}, {"SpecialToken": {"id": "b"}}]})");
       }},
  };
  for (const auto& c : cases) {
    json file = good_file();
    c.change(file);
    const std::string error = error_of(file.dump());
    CAPTURE(c.expected);
    CAPTURE(error);
    CHECK(has(error, c.expected));
  }
}

TEST_CASE("the normaliser NFC is accepted") {
  json file = good_file();
  file["normalizer"] = {{"type", "NFC"}};
  CHECK(error_of(file.dump()) == "");
}

TEST_CASE("bad settings beside tokenizer.json") {
  const std::string good = good_file().dump();
  const struct {
    const char *name, *content, *expected;
  } cases[] = {
      {"tokenizer_config.json", R"({"bos_token": "<nope>"})", "the token \"<nope>\" is not in the vocabulary"},
      {"tokenizer_config.json", R"({"bos_token": 5})",
       "/tokenizer_config.json: \"bos_token\" must be a string or an object with \"content\", not number"},
      {"tokenizer_config.json", R"({"eos_token": ["x"]})", "\"eos_token\" must be a string or an object"},
      {"special_tokens_map.json", R"({"additional_special_tokens": "x"})",
       "/special_tokens_map.json: \"additional_special_tokens\" must be array"},
      {"tokenizer_config.json", R"({"additional_special_tokens": ["<nope>"]})", "the token \"<nope>\" is not in"},
      {"special_tokens_map.json", R"({"eos_token": 5})", "/special_tokens_map.json: \"eos_token\" must be a string"},
      {"special_tokens_map.json", R"({"eos_token": "<nope>"})", "/special_tokens_map.json: \"eos_token\": the token"},
      {"tokenizer_config.json", R"({"bos_token": {}})", "\"bos_token\": \"content\" is missing"},
      {"tokenizer_config.json", R"({"add_bos_token": true})", "names none"},
      {"tokenizer_config.json", R"({"chat_template": 5})", "\"chat_template\" must be"},
      {"tokenizer_config.json", R"({"chat_template": []})", "no entry named default"},
      {"generation_config.json", R"({"eos_token_id": 9000000000})", "outside the vocabulary"},
      {"generation_config.json", R"({"eos_token_id": [1, "x"]})", "is not an integer"},
  };
  for (const auto& c : cases) {
    const std::string error = error_of(good, {{c.name, c.content}});
    CAPTURE(error);
    CHECK(has(error, c.expected));
    CHECK(!has(error, "json.exception"));
  }
}

TEST_CASE("specs that contradict themselves") {
  const TokenizerSpec good = read_tokenizer_json(golden_path("gpt2"));
  const std::function<void(TokenizerSpec&)> changes[] = {
      [](TokenizerSpec& s) { s = TokenizerSpec(); },
      [](TokenizerSpec& s) { s.types.pop_back(); },
      [](TokenizerSpec& s) { s.types[7] = static_cast<TokenType>(0); },
      [](TokenizerSpec& s) { s.types[7] = static_cast<TokenType>(-5); },
      [](TokenizerSpec& s) { s.types[7] = TokenType::Byte; },
      [](TokenizerSpec& s) { s.tokens[7] = ""; },
      [](TokenizerSpec& s) { s.tokens[7] = s.tokens[8]; },
      [](TokenizerSpec& s) { s.bos = 601; },
      [](TokenizerSpec& s) { s.eos = -2; },
      [](TokenizerSpec& s) { s.end_ids = {100000}; },
      [](TokenizerSpec& s) { s.add_bos = true; },
      [](TokenizerSpec& s) { s.add_bos_in_chats = true; },
      [](TokenizerSpec& s) { s.pattern = static_cast<Pattern>(99); },
  };
  for (const auto& change : changes) {
    TokenizerSpec spec = good;
    change(spec);
    CHECK_THROWS_AS(Tokenizer{spec}, TokenizerError);
  }
}
