#include "tools/world/talk.h"

#include <array>

#include "tensor/check.h"
#include "tensor/rng.h"
#include "tools/world/world.h"

namespace thinker::world {

namespace {

constexpr std::array<const char*, 24> kAnimals = {"ant",  "bear", "bee",  "cat", "cow",  "crab", "crow", "deer",
                                                  "dog",  "duck", "fish", "fox", "frog", "goat", "hare", "lion",
                                                  "mole", "moth", "owl",  "pig", "seal", "swan", "toad", "wolf"};
constexpr std::array<const char*, 16> kWords = {"big", "blue",  "brave", "calm", "fast", "green", "grey", "kind",
                                                "old", "quick", "quiet", "red",  "shy",  "small", "soft", "wise"};

constexpr double kRightAnimal = 0.6, kGoOn = 0.75;
constexpr int64_t kMostWords = 16;
constexpr int64_t kSeedNumbers = 1'000'000;  // questions of the seed's texts begin here

template <size_t N>
std::string one_of(Rng& rng, const std::array<const char*, N>& list) {
  return list[rng.below(static_cast<int64_t>(N))];
}

/// The animal of question `number`.
std::string animal_of(int64_t number) {
  Rng rng(12, Purpose::generate_data, 7, static_cast<uint32_t>(number));
  return one_of(rng, kAnimals);
}

Messages question(int64_t number) {
  return {{"user", concat("Question ", number, ": tell me about the ", animal_of(number), ".")}};
}

std::string answer(Rng& rng, const std::string& asked) {
  std::string text = "The " + (rng.uniform() < kRightAnimal ? asked : one_of(rng, kAnimals)) + " is";
  for (int64_t n = 1;; ++n) {
    text += " " + one_of(rng, kWords);
    if (n == kMostWords || rng.uniform() >= kGoOn) return text + ".";
    text += " and";
  }
}

}  // namespace

std::vector<Prompt> talk_prompts(int64_t begin, int64_t count) {
  std::vector<Prompt> prompts;
  for (int64_t i = begin; i < begin + count; ++i) {
    Prompt p;
    p.id = i;
    p.messages = question(i);
    p.check = {{"starts_with", "The " + animal_of(i) + " is"}};
    prompts.push_back(std::move(p));
  }
  return prompts;
}

std::vector<SftExample> talk_examples(const ChatTokenizer& text, uint64_t seed, int64_t count) {
  std::vector<SftExample> examples;
  for (int64_t i = kSeedNumbers; i < kSeedNumbers + count; ++i) {
    Rng rng(seed, Purpose::corrupt, 7, static_cast<uint32_t>(i));
    examples.push_back(to_example(text.prompt_ids(question(i)), text.completion_ids(answer(rng, animal_of(i)))));
  }
  return examples;
}

TokenizerSpec talk_vocabulary() {
  std::vector<std::string> phrases = {"Question ", ": tell me about the", "The", " is", " and"};
  for (const char* animal : kAnimals) phrases.push_back(concat(" ", animal));
  for (const char* word : kWords) phrases.push_back(concat(" ", word));
  return vocabulary_with(phrases);
}

Config talk_config(int64_t vocabulary_size) {
  Config c;
  c.vocab = vocabulary_size;
  c.width = 64;
  c.layers = 2;
  c.heads = c.kv_heads = 4;
  c.head_dim = 16;
  c.ffn = 160;
  c.context = 192;
  c.tied_head = true;
  return c;
}

}  // namespace thinker::world
