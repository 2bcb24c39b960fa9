#include "tools/world/world.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "tensor/check.h"
#include "tensor/rng.h"
#include "tokenizer/train.h"
#include "tools/world/thoughts.h"

namespace thinker::world {

namespace {

constexpr std::array<const char*, kCategories> kNames = {"turn", "ball", "add", "copy", "reverse", "max", "fact"};

constexpr std::array<const char*, 4> kDirections = {"north", "east", "south", "west"};  // clockwise
constexpr std::array<const char*, 4> kTurns = {"", "right", "back", "left"};            // by quarters, clockwise

constexpr std::string_view kCups = "ABCDE";
constexpr std::string_view kDigits = "0123456789";
constexpr std::string_view kLetters = "bcdfghjklmnpqrst";  // no vowels, so that no word appears by accident

constexpr std::array<const char*, 40> kAnimals = {
    "ant",  "ape",  "bat",  "bear", "bee", "boar", "calf", "carp", "cat",  "cow",  "crab", "crow", "deer", "dog",
    "dove", "duck", "elk",  "fish", "fly", "fox",  "frog", "goat", "hare", "hen",  "lamb", "lion", "lynx", "mole",
    "moth", "mule", "newt", "owl",  "pig", "rat",  "seal", "swan", "toad", "wasp", "wolf", "worm"};
constexpr std::array<const char*, 8> kColours = {"black", "blue", "brown", "green", "grey", "pink", "red", "white"};

/// Openings and endings of the question for two animals' colours; every pair of them asks the same.
constexpr std::array<const char*, 3> kFactOpenings = {"Colours of ", "What do they like: ", "Favourites of "};
constexpr std::array<const char*, 2> kFactEndings = {"?", ", in order?"};

/// The made-up facts: fixed for all seeds.
const char* colour_of(int64_t animal) {
  Rng rng(40, Purpose::generate_data, 0, static_cast<uint32_t>(animal));
  return kColours[rng.below(kColours.size())];
}

std::string step(int64_t i) {
  return concat(" ", i, ")");
}

int64_t between(Rng& rng, int64_t low, int64_t high) {
  return low + rng.below(high - low + 1);
}

Task turn_task(Rng& rng) {
  int64_t at = rng.below(4);
  Task task{Category::turn, concat("You face ", kDirections[at], ". Turn"), "", concat("=", kDirections[at])};
  for (int64_t i = 1, n = between(rng, 4, 7); i <= n; ++i) {
    const int64_t quarters = between(rng, 1, 3);
    at = (at + quarters) % 4;
    task.prompt += step(i) + kTurns[quarters];
    task.work += concat(step(i), kTurns[quarters], "=", kDirections[at]);
  }
  task.prompt += ". Which way now?";
  task.answer = kDirections[at];
  return task;
}

Task ball_task(Rng& rng) {
  char at = kCups[rng.below(5)];
  Task task{Category::ball, concat("The ball is under ", at, ". Swap"), "", concat("=", at)};
  for (int64_t i = 1, n = between(rng, 3, 6); i <= n; ++i) {
    const int64_t a = rng.below(4);
    const int64_t b = between(rng, a + 1, 4);
    if (at == kCups[a])
      at = kCups[b];
    else if (at == kCups[b])
      at = kCups[a];
    task.prompt += concat(step(i), kCups[a], kCups[b]);
    task.work += concat(step(i), kCups[a], kCups[b], "=", at);
  }
  task.prompt += ". Where is it?";
  task.answer = at;
  return task;
}

Task add_task(Rng& rng) {
  int64_t sum = 0;
  Task task{Category::add, "Last digit of the sum", "", "=0"};
  for (int64_t i = 1, n = between(rng, 4, 7); i <= n; ++i) {
    const int64_t digit = rng.below(10);
    sum += digit;
    task.prompt += concat(step(i), digit);
    task.work += concat(step(i), digit, "=", sum % 10);
  }
  task.prompt += "?";
  task.answer = std::to_string(sum % 10);
  return task;
}

/// Tasks whose thought can only be a draft of the answer.
Task drafted(Category category, std::string prompt, std::string answer) {
  return {category, std::move(prompt), answer, "Draft: " + answer};
}

Task fact_task(Rng& rng) {
  const int64_t first = rng.below(40);
  const int64_t second = (first + between(rng, 1, 39)) % 40;
  const char* opening = kFactOpenings[rng.below(kFactOpenings.size())];
  return drafted(
      Category::fact,
      concat(opening, kAnimals[first], " and ", kAnimals[second], kFactEndings[rng.below(kFactEndings.size())]),
      concat(colour_of(first), " and ", colour_of(second)));
}

/// n different letters: which comes after which is then never in doubt.
std::string draw_letters(Rng& rng, int64_t n) {
  std::string letters(kLetters);
  rng.shuffle(letters);
  return letters.substr(0, n);
}

Task any_task(Category category, Rng& rng) {
  switch (category) {
    case Category::turn: return turn_task(rng);
    case Category::ball: return ball_task(rng);
    case Category::add: return add_task(rng);
    case Category::copy: {
      const std::string text = draw_letters(rng, between(rng, 3, 4));
      return drafted(category, "Repeat " + text + ".", text);
    }
    case Category::reverse: {
      const std::string text = draw_letters(rng, between(rng, 3, 4));
      return drafted(category, "Reverse " + text + ".", {text.rbegin(), text.rend()});
    }
    case Category::max: {
      std::string digits;
      for (int64_t i = between(rng, 3, 5); i > 0; --i) digits += kDigits[rng.below(10)];
      return drafted(category, "Largest digit of " + digits + "?", {*std::max_element(digits.begin(), digits.end())});
    }
    case Category::fact: return fact_task(rng);
  }
  fail("unknown category");
}

const char* name(Split split) {
  constexpr std::array<const char*, 4> names = {"seed", "train", "select", "test"};
  return names[static_cast<size_t>(split)];
}

}  // namespace

const char* name(Category category) {
  return kNames[static_cast<size_t>(category)];
}

Split split_of(const std::string& prompt) {
  uint64_t hash = 14695981039346656037u;  // FNV-1a
  for (unsigned char c : prompt) hash = (hash ^ c) * 1099511628211u;
  // Sixteenths: 9 for the seed's texts, 4 for preference training, 1 for selection, 2 for the test. FNV's low bits are
  // poor: take high ones.
  const uint64_t part = hash >> 60;
  return part < 9 ? Split::seed : part < 13 ? Split::train : part < 14 ? Split::select : Split::test;
}

Task make_task(uint64_t seed, Split split, int64_t index, Category category) {
  Rng rng(seed, Purpose::generate_data, static_cast<uint32_t>(split), static_cast<uint32_t>(index),
          static_cast<uint32_t>(category));
  for (;;) {
    Task task = any_task(category, rng);
    if (split_of(task.prompt) == split) return task;
  }
}

Task make_task(uint64_t seed, Split split, int64_t index) {
  return make_task(seed, split, index, static_cast<Category>(index % kCategories));
}

Prompt to_prompt(const Task& task, Split split, int64_t index) {
  Prompt prompt;
  prompt.id = Json(concat(name(split), "-", index));
  prompt.category = name(task.category);
  prompt.messages = {{"user", task.prompt}};
  prompt.check = Json{{"exact", task.answer}};
  return prompt;
}

std::vector<Prompt> prompts(uint64_t seed, Split split, int64_t begin, int64_t count) {
  std::vector<Prompt> lines;
  for (int64_t i = begin; i < begin + count; ++i) lines.push_back(to_prompt(make_task(seed, split, i), split, i));
  return lines;
}

std::string thought_style_file() {
  return R"({"instruction": "Think first. {query}", "split": "<R>"})";
}

ThoughtStyle thought_style() {
  return parse_thought_style(thought_style_file(), "world");
}

ThoughtStyle worked_style() {
  return {"worked", "Show your work. {query}", "", "<R>", Placement::user};
}

std::vector<std::string> phrases() {
  std::vector<std::string> all = {"<R>",
                                  "Think first. ",
                                  "Show your work. ",
                                  "um ",
                                  "You face ",
                                  ". Turn",
                                  ". Which way now?",
                                  "The ball is under ",
                                  ". Swap",
                                  ". Where is it?",
                                  "Last digit of the sum",
                                  "Repeat ",
                                  "Reverse ",
                                  "Largest digit of ",
                                  " and "};
  const auto add = [&](const auto& words) { all.insert(all.end(), words.begin(), words.end()); };
  add(thought_phrases());
  add(kDirections);
  all.insert(all.end(), kTurns.begin() + 1, kTurns.end());
  add(kAnimals);
  add(kColours);
  add(kFactOpenings);
  all.push_back(kFactEndings[1]);  // the other one is a character
  for (int64_t i = 1; i <= 7; ++i) all.push_back(step(i));
  for (const char* direction : kDirections) all.push_back(concat("=", direction));
  for (std::string_view states : {kCups, kDigits})
    for (char state : states) all.push_back(concat("=", state));
  for (size_t a = 0; a < kCups.size(); ++a)
    for (size_t b = a + 1; b < kCups.size(); ++b) all.push_back({kCups[a], kCups[b]});
  return all;
}

TokenizerSpec vocabulary_with(const std::vector<std::string>& phrases) {
  std::string alphabet = "\n";
  for (char c = ' '; c <= '~'; ++c) alphabet += c;
  const std::vector<std::string> control = {"<|end|>"};
  TokenizerSpec spec = character_spec(alphabet, control);
  spec.eos = 0;
  for (const std::string& phrase : phrases) {
    spec.tokens.push_back(phrase);
    spec.types.push_back(TokenType::UserDefined);
  }
  return spec;
}

TokenizerSpec vocabulary() {
  return vocabulary_with(phrases());
}

}  // namespace thinker::world
