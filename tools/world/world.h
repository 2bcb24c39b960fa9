// The world of the small-scale reproduction: seven kinds of task that a model can be taught from nothing in minutes.
//
// In three of them (thinking_helps below) a list of steps must be followed, which a shallow network cannot do in one
// pass but does easily when it writes down where it stands after each step: walking with turns, a ball under swapped
// cups, a sum's last digit. In the other four (copy, reverse, largest digit, made-up facts) thinking should make no
// difference.
//
//     You face north. Turn 1)left 2)back 3)left. Which way now?     =north 1)left=west 2)back=east 3)left=north<R>north
//
// A worked thought repeats each step before it says where that leads. Without the repetition a model has to learn at
// once how to find the next step and what to do with it, and for long learns neither.
//
// The vocabulary has a token for each character and one for each word and set phrase of these texts, so that a sequence
// is some twenty tokens long; that is what makes the demo quick.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tokenizer/spec.h"
#include "tpo/judge.h"
#include "tpo/thought.h"

namespace thinker::world {

/// Four streams of tasks. A prompt belongs to one split for good, by a hash of its text: no prompt of one split is ever
/// met in another, whatever the seeds.
enum class Split : uint32_t { seed, train, select, test };

enum class Category { turn, ball, add, copy, reverse, max, fact };
inline constexpr int64_t kCategories = 7;
inline constexpr int64_t kThinkingCategories = 3;  // the first ones

/// "turn", "ball", ...
const char* name(Category category);
inline bool thinking_helps(Category category) {
  return static_cast<int64_t>(category) < kThinkingCategories;
}

struct Task {
  Category category;
  std::string prompt;
  std::string answer;
  std::string work;  // a thought that leads to the answer
};

/// Task `index` of a split. Tasks of one category lie kCategories apart, so that any run of tasks is balanced.
Task make_task(uint64_t seed, Split split, int64_t index);

/// The same with a given category.
Task make_task(uint64_t seed, Split split, int64_t index, Category category);

/// The split that a prompt's text belongs to.
Split split_of(const std::string& prompt);

/// A line for the loop: id "test-12", the category, one user message, and the check {"exact": answer}.
Prompt to_prompt(const Task& task, Split split, int64_t index);

/// Tasks begin ... begin + count - 1 of a split as lines for the loop.
std::vector<Prompt> prompts(uint64_t seed, Split split, int64_t begin, int64_t count);

/// Asks the seed model for a thought: "Think first. {query}", split at "<R>".
ThoughtStyle thought_style();

/// The same as the text of a thought style's file, which a recipe can name.
std::string thought_style_file();

/// Asks it for a worked solution in the same form: what the seed model knows from its "books", under another
/// instruction.
ThoughtStyle worked_style();

/// Printable ASCII, newline, the given phrases as a token each, and one control token that ends a turn. Without a chat
/// template: a prompt is the user's text as it is (ChatFamily::Plain).
TokenizerSpec vocabulary_with(const std::vector<std::string>& phrases);

/// That of this world, with its words and set phrases.
TokenizerSpec vocabulary();

/// Words and set phrases that are one token each.
std::vector<std::string> phrases();

}  // namespace thinker::world
