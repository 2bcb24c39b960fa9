// What the tests of the loop share: a model of a few thousand weights over an alphabet of characters, which writes
// "thought|answer" most of the time, with prompts, a thought style and recipes for it. A whole run takes a fraction of
// a second.
#pragma once

#include "tests/nn/models.h"
#include "tests/tensor/temp_folder.h"
#include "tokenizer/train.h"
#include "tpo/run.h"
#include "tpo/supervised.h"

namespace thinker::tiny {

inline const std::string kThoughtLetters = "mnopqrst", kAnswerLetters = "abcdefgh ";

inline TokenizerSpec spec() {
  const std::vector<std::string> control = {"<end>"};
  TokenizerSpec spec = character_spec(kThoughtLetters + kAnswerLetters + "|?Z\n", control);
  spec.eos = 0;
  return spec;
}

inline Config config() {
  Config c;
  c.vocab = static_cast<int64_t>(spec().tokens.size());
  c.width = 16;
  c.layers = 1;
  c.heads = 2;
  c.kv_heads = 1;
  c.head_dim = 8;
  c.ffn = 24;
  c.context = 128;
  c.tied_head = true;
  return c;
}

inline std::string letters(Rng& rng, const std::string& alphabet, int64_t most) {
  std::string text;
  for (int64_t n = 1 + rng.below(most); n > 0; --n) text += alphabet[rng.below(static_cast<int64_t>(alphabet.size()))];
  return text;
}

inline std::vector<Prompt> prompts(int64_t n, uint64_t seed) {
  Rng rng(seed, Purpose::generate_data);
  std::vector<Prompt> list;
  for (int64_t i = 0; i < n; ++i) {
    Prompt p;
    p.id = "p" + std::to_string(seed) + "-" + std::to_string(i);
    p.category = i % 2 ? "odd" : "even";
    p.messages = {{"user", letters(rng, "abcdefgh", 3) + letters(rng, "abcdefgh", 6) + "?"}};
    p.check = Json::array(
        {{{"contains", "a"}}, {{"contains", "b"}}, {{"contains", std::string(1, p.messages[0].content[0])}}});
    list.push_back(std::move(p));
  }
  return list;
}

/// A style whose instruction holds a letter that nothing else has.
inline const char* const kStyle = R"({"instruction": "Z{query}\n", "split": "|"})";

/// Trains the format for a moment; the letters themselves stay random.
inline void train_format(Model& model, const ThoughtStyle& style, int64_t examples = 320) {
  Rng rng(5, Purpose::generate_data);
  std::vector<SftExample> data;
  for (const Prompt& p : prompts(examples, 99)) {
    const std::string answer = letters(rng, kAnswerLetters, 8);
    // Half of the markers stand on a line of their own, as where the sampler writes them.
    const std::string split = rng.below(2) ? style.split : "\n\n" + style.split + "\n";
    const std::string text = style.thinks() ? letters(rng, kThoughtLetters, 4) + split + answer : answer;
    data.push_back(
        to_example(model.text.prompt_ids(apply_thought(p.messages, style)), model.text.completion_ids(text)));
  }
  TrainOptions options;
  options.lr = 2e-2;
  options.batch = 16;
  options.epochs = 2;
  train_sft(model.net, data, options, {});
}

inline Model untrained_model(Device& device) {
  Model model{Transformer(device, config(), DType::F32), ChatTokenizer(Tokenizer(spec()))};
  model.net.initialise(3);
  return model;
}

/// A folder with all that a recipe names: the model, the style and the prompts.
class World {
 public:
  World() : device(open_device("cpu")) {
    style_path = folder.write("style.json", kStyle);
    style = thought_style(style_path);
    Model model = untrained_model(*device);
    train_format(model, style);
    train_format(model, thought_style("none"));
    train_format(model, style);
    model.save(folder / "seed");
    write_prompts("train.jsonl", prompts(24, 1));
    write_prompts("select.jsonl", prompts(6, 2));
    write_prompts("test.jsonl", prompts(6, 3));
  }

  std::string write_prompts(const std::string& name, const std::vector<Prompt>& list) const {
    std::vector<Json> lines;
    for (const Prompt& p : list) lines.push_back(prompt_to_json(p));
    write_jsonl(folder / name, lines);
    return folder / name;
  }

  Model open() const { return open_model(*device, folder / "seed", DType::F32); }

  /// Two iterations with thoughts, selection and evaluation, changed by "key=value" overrides.
  Recipe recipe(const std::vector<std::string>& overrides = {}) const {
    Json json{
        {"name", "tiny"},
        {"model", folder / "seed"},
        {"prompts",
         {{"train", folder / "train.jsonl"}, {"select", folder / "select.jsonl"}, {"test", folder / "test.jsonl"}}},
        {"thought", style_path},
        {"thought_budget", 4},
        {"warmup", nullptr},
        {"iterations", 2},
        {"prompts_per_iteration", 8},
        {"sampling", {{"k", 6}, {"temperature", 1.0}, {"top_p", 1.0}, {"max_new", 24}}},
        {"dpo", {{"lr", 1e-3}, {"batch", 3}, {"epochs", 2}, {"warmup", 1}}},
        {"eval", {{"temperature", 1.0}, {"top_p", 1.0}, {"resample", 2}}}};
    for (const std::string& o : overrides) override_key(&json, o);
    return parse_recipe(json, "tiny");
  }

  /// As the program does it: a model opened anew, prompts opened anew.
  RunResult run(const Recipe& recipe, const std::string& name, Resume resume = Resume::no,
                RunOptions options = {}) const {
    Model model = open();
    options.folder = folder / name;
    options.resume = resume;
    return run_loop(recipe, model, open_prompts(recipe), options);
  }

  TempFolder folder;
  std::unique_ptr<Device> device;
  std::string style_path;
  ThoughtStyle style;
};

/// The lines that a stage of an iteration left in a run's log.
inline std::vector<Json> log_of(const std::string& folder, int64_t iteration, const std::string& stage) {
  std::vector<Json> lines;
  for (const JsonLine& line : read_jsonl(folder + "/log.jsonl")) {
    if (line.integer("iteration") == iteration && line.string("stage") == stage) lines.push_back(line.json());
  }
  return lines;
}

}  // namespace thinker::tiny
