// Opening models: SmolLM2's tokenizer from GGUF against transformers, and folders that are written and read back.
#include "tpo/model.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <iostream>

#include "tests/tensor/gguf_builder.h"
#include "tests/tokenizer/goldens.h"
#include "tests/tpo/tiny_world.h"
#include "tokenizer/hf.h"

using namespace thinker;

namespace {

constexpr const char* kTemplate =
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}";

// A GGUF file that has a tokenizer and nothing else: four special tokens, and those that "user" and "assistant" take.
struct TokenizerGguf : GgufBuilder {
  static constexpr std::array kTokens{"<s>", "</s>", "<|im_start|>", "<|im_end|>", "u", "s", "e", "r", "a", "i", "t",
                                      "n",   "Ċ"};
  uint64_t count = 0;

  TokenizerGguf() {
    text("tokenizer.ggml.model", "gpt2");
    key("tokenizer.ggml.tokens", GgufValueType::Array).put(GgufValueType::String).put<uint64_t>(kTokens.size());
    for (const char* token : kTokens) string(token);
    key("tokenizer.ggml.token_type", GgufValueType::Array).put(GgufValueType::I32).put<uint64_t>(kTokens.size());
    for (size_t id = 0; id < kTokens.size(); ++id) put<int32_t>(id < 4 ? 3 : 1);
    key("tokenizer.ggml.merges", GgufValueType::Array).put(GgufValueType::String).put<uint64_t>(0);
    key("tokenizer.ggml.bos_token_id", GgufValueType::U32).put<uint32_t>(0);
    key("tokenizer.ggml.eos_token_id", GgufValueType::U32).put<uint32_t>(1);
  }
  GgufBuilder& key(std::string_view name, GgufValueType type) {
    ++count;
    return GgufBuilder::key(name, type);
  }
  GgufBuilder& text(std::string_view name, std::string_view value) {
    return key(name, GgufValueType::String).string(value);
  }
  std::string file() const { return GgufBuilder{}.header(0, count).bytes + bytes; }
};

}  // namespace

TEST_CASE("model: SmolLM2's GGUF tokenizer and chat template give transformers' ids") {
  const std::string path = "models/SmolLM2-135M-Instruct.Q4_1.gguf";
  if (!std::filesystem::exists(path)) {
    std::cerr << "SKIP: SmolLM2's tokenizer against transformers: " << path << " is missing; `make model` fetches it\n";
    return;
  }
  const ChatTokenizer text = open_tokenizer(path);
  int64_t rows = 0;
  for (const auto& row : test::read_jsonl(test::golden_path("smollm2.jsonl"))) {
    const auto words = row["text"].get<std::string>();
    const auto ids = row["ids"].get<Ids>();
    CAPTURE(words);
    CHECK(text.tokenizer.encode(words, SpecialText::Plain) == ids);
    CHECK(text.tokenizer.encode(words, SpecialText::Parse) == row.value("parsed", ids));
    ++rows;
  }
  CHECK(rows >= 150);
  for (const auto& row : test::read_jsonl(test::golden_path("smollm2_chat.jsonl"))) {
    Messages messages;
    for (const auto& m : row["messages"]) messages.push_back({m["role"], m["content"]});
    const bool add = row["generation_prompt"].get<bool>();
    CHECK(render_ids(text.tokenizer, text.chat, messages, add ? GenerationPrompt::Add : GenerationPrompt::None) ==
          row["ids"].get<Ids>());
    if (add) CHECK(text.prompt_ids(messages) == row["ids"].get<Ids>());
  }
  const Ids hello = text.completion_ids("Hello");
  CHECK(hello.back() == text.end_ids.front());
  CHECK(text.tokenizer.decode(hello, SpecialTokens::Keep) == "Hello<|im_end|>");
}

TEST_CASE("model: where a GGUF file puts bos in front of a chat") {
  const TempFolder folder;
  const auto chat_begins_with_bos = [&](const TokenizerGguf& file) {
    folder.write("t.gguf", file.file());
    const ChatTokenizer text = open_tokenizer(folder / "t.gguf");
    const Ids ids = text.prompt_ids({{"user", "ru"}});
    CHECK(std::count(ids.begin(), ids.end(), text.tokenizer.spec().bos) <= 1);
    return ids.at(0) == text.tokenizer.spec().bos;
  };
  for (const char* pre : {"gpt-2", "llama-bpe"}) {
    for (const bool with_template : {false, true}) {
      TokenizerGguf silent;
      silent.text("tokenizer.ggml.pre", pre);
      if (with_template) silent.text("tokenizer.chat_template", kTemplate);
      CHECK(chat_begins_with_bos(silent) == (std::string(pre) == "llama-bpe" && !with_template));
      for (const bool asked : {false, true}) {
        TokenizerGguf telling = silent;
        telling.key("tokenizer.ggml.add_bos_token", GgufValueType::Bool).put<uint8_t>(asked);
        CHECK(chat_begins_with_bos(telling) == asked);
      }
    }
  }
}

TEST_CASE("model: a GGUF file that does not say how its text is cut is refused") {
  const TempFolder folder;
  const auto error_with = [&](const TokenizerGguf& file) {
    folder.write("t.gguf", file.file());
    return error_of([&] { open_tokenizer(folder / "t.gguf"); });
  };
  TokenizerGguf named;
  named.text("tokenizer.ggml.pre", "default");
  CHECK(holds(error_with(named),
              "t.gguf: the file does not say how its text is cut into words (tokenizer.ggml.pre is \"default\")"));
  CHECK(holds(error_with({}),
              "t.gguf: the file does not say how its text is cut into words (tokenizer.ggml.pre is missing)"));
}

TEST_CASE("model: saved and opened, it has the same ids, ends and log-probs") {
  const TempFolder folder;
  const auto device = open_device("cpu");
  Model model = tiny::untrained_model(*device);
  tiny::train_format(model, thought_style("none"), 32);
  model.save(folder / "saved");
  const Model again = open_model(*device, folder / "saved", DType::F32);
  CHECK(weights_of(again.net) == weights_of(model.net));
  CHECK(again.text.end_ids == model.text.end_ids);
  CHECK(again.text.chat.family == ChatFamily::Plain);
  const Ids prompt = model.text.prompt_ids({{"user", "abc?"}}), completion = model.text.completion_ids("mn|a b");
  CHECK(again.text.prompt_ids({{"user", "abc?"}}) == prompt);
  CHECK(again.text.completion_ids("mn|a b") == completion);
  CHECK(open_tokenizer(folder / "saved").completion_ids("mn|a b") == completion);
  CHECK(completion_logprobs(again.net, prompt, completion) == completion_logprobs(model.net, prompt, completion));
  CHECK(again.text.decode(completion) == "mn|a b");
  for (const auto& entry : std::filesystem::directory_iterator(folder / "saved"))
    CHECK(is_model_file(entry.path().filename().string()));
}

TEST_CASE("model: an earlier model's adapter does not stay beside a new one; other files do") {
  const TempFolder folder;
  const auto device = open_device("cpu");
  const Model model = tiny::untrained_model(*device);
  const std::string adapter = folder / "saved/adapter";
  std::filesystem::create_directories(adapter);
  for (const char* file : {"/adapter_config.json", "/adapter_model.safetensors", "/notes.txt"})
    write_file_atomically(adapter + file, "{}");
  model.save(folder / "saved");
  CHECK(!std::filesystem::exists(adapter + "/adapter_config.json"));
  CHECK(!std::filesystem::exists(adapter + "/adapter_model.safetensors"));
  CHECK(std::filesystem::exists(adapter + "/notes.txt"));
}

TEST_CASE("model: an earlier model's tokenizer files do not stay to be read instead of the new one's") {
  const TempFolder folder;
  const auto device = open_device("cpu");
  const Model model = tiny::untrained_model(*device);
  const auto read_again = [&] { return read_tokenizer_json(folder / "saved"); };
  const auto leave_files = [&] {
    folder.write("saved/chat_template.jinja", kTemplate);
    folder.write("saved/special_tokens_map.json", R"({"bos_token": "<end>"})");
  };
  std::filesystem::create_directories(folder / "saved");
  leave_files();
  model.save(folder / "saved");
  CHECK(read_again().chat_template.empty());
  CHECK(read_again().bos == -1);

  // A model that is saved over itself keeps what it had from such files.
  TokenizerSpec spec = tiny::spec();
  for (const char* token : {"<|im_start|>", "<|im_end|>"}) {
    spec.tokens.push_back(token);
    spec.types.push_back(TokenType::Control);
  }
  Config config = tiny::config();
  config.vocab += 2;
  Transformer net(*device, config, DType::F32);
  net.initialise(3);
  Model{net, ChatTokenizer(Tokenizer(spec))}.save(folder / "saved");
  leave_files();
  open_model(*device, folder / "saved", DType::F32).save(folder / "saved");
  CHECK(!std::filesystem::exists(folder / "saved/chat_template.jinja"));
  CHECK(read_again().chat_template == kTemplate);
  CHECK(read_again().bos == tiny::spec().eos);

  leave_files();
  const std::string adapter = folder / "saved/adapter";
  std::filesystem::create_directories(adapter);
  write_file_atomically(adapter + "/adapter_config.json", "{}");
  TextRewardModel{RewardModel(net), ChatTokenizer(Tokenizer(spec))}.save(folder / "saved");
  CHECK(read_again().chat_template.empty());
  CHECK(!std::filesystem::exists(adapter + "/adapter_config.json"));
}

TEST_CASE("model: without an end-of-text token the error names the model and where to name the token") {
  const TempFolder folder;
  const auto device = open_device("cpu");
  tiny::untrained_model(*device).save(folder / "saved");
  for (const bool missing : {false, true}) {
    folder.write("saved/tokenizer_config.json", "{}");
    if (missing) std::filesystem::remove(folder / "saved/tokenizer_config.json");
    for (const std::string& error : {error_of([&] { open_tokenizer(folder / "saved"); }),
                                     error_of([&] { open_model(*device, folder / "saved", DType::F32); })}) {
      CHECK(error.starts_with(folder / "saved: the model names no end-of-text token"));
      CHECK(holds(error, "\"eos_token\" in tokenizer_config.json"));
    }
  }
}

TEST_CASE("model: what cannot be opened is named") {
  const TempFolder folder;
  const auto device = open_device("cpu");
  CHECK(holds(error_of([&] { open_model(*device, folder / "none", DType::F32); }), "no such file or folder"));
  const std::string text = folder.write("model.txt", "x");
  CHECK(holds(error_of([&] { open_tokenizer(text); }), "neither a folder nor a .gguf file"));
  Model model = tiny::untrained_model(*device);
  model.save(folder / "small");
  TokenizerSpec larger = tiny::spec();
  larger.tokens.push_back("<more>");
  larger.types.push_back(TokenType::Control);
  folder.write("small/tokenizer.json", tokenizer_files(larger).tokenizer);
  CHECK(holds(error_of([&] { open_model(*device, folder / "small", DType::F32); }), "embedding only"));
}
