#include "tools/world/seed_text.h"

#include <array>

#include "tensor/rng.h"
#include "tools/world/thoughts.h"
#include "tpo/parallel.h"
#include "tpo/supervised.h"

namespace thinker::world {

namespace {

constexpr double kDoubts = 0.3;  // of the useless thoughts

/// An answer of the same kind that is wrong.
std::string wrong_answer(uint64_t seed, int64_t index, const Task& task) {
  for (int64_t i = 1;; ++i) {
    const std::string other = make_task(seed ^ static_cast<uint64_t>(i), Split::seed, index, task.category).answer;
    if (other != task.answer) return other;
  }
}

/// The answer made worse in one of three ways: "um " in front, cut short, or another one.
std::string spoil(Rng& rng, const std::string& wrong, const Task& task) {
  const int64_t how = rng.below(3);
  if (how == 0) return "um " + task.answer;
  const size_t end = task.category == Category::fact ? task.answer.find(" and ") : task.answer.size() - 1;
  const bool is_one_word = thinking_helps(task.category) || task.category == Category::max;
  return how == 1 && !is_one_word ? task.answer.substr(0, end) : wrong;
}

/// A thought that leads nowhere.
std::string useless_thought(Rng& rng, const std::string& wrong, const Task& task) {
  if (rng.uniform() >= kDoubts) return ramble(rng);
  return rng.below(2) == 0 ? doubt(rng, task.answer, wrong) : doubt(rng, wrong, task.answer);
}

/// Thought, marker, answer; or, when it is to be malformed, without the marker or with one too many.
std::string put_together(Rng& rng, const std::string& thought, const std::string& answer, bool malformed) {
  const std::string marker = thought_style().split;
  if (!malformed) return thought + marker + answer;
  return rng.below(2) == 0 ? thought + answer : thought + marker + answer + marker + answer;
}

/// Copying and reversing are what takes longest to learn, so they come three times as often as the other two.
Category draw_category(Rng& rng, const SeedMix& mix) {
  using enum Category;
  static constexpr std::array kOthers = {copy, copy, copy, reverse, reverse, reverse, max, fact};
  const bool thinking = rng.uniform() < mix.thinking_tasks;
  return thinking ? static_cast<Category>(rng.below(kThinkingCategories)) : kOthers[rng.below(kOthers.size())];
}

}  // namespace

SeedText seed_text(uint64_t seed, int64_t index, const SeedMix& mix) {
  Rng rng(seed, Purpose::corrupt, static_cast<uint32_t>(index));
  const Task task = make_task(seed, Split::seed, index, draw_category(rng, mix));
  const double kind = rng.uniform();
  const bool works = kind < mix.worked, direct = !works && kind < mix.worked + mix.direct;
  const bool useful = works || (!direct && rng.uniform() < mix.useful);
  const std::string wrong = wrong_answer(seed, index, task);
  const double spoilt = direct || useful ? mix.spoilt : mix.spoilt_after_useless;
  const std::string answer = rng.uniform() < spoilt ? spoil(rng, wrong, task) : task.answer;
  const Messages asked = {{"user", task.prompt}};
  if (direct) return {asked, answer};
  static const ThoughtStyle kThought = thought_style(), kWorked = worked_style();
  const std::string thought = useful ? task.work : useless_thought(rng, wrong, task);
  const bool malformed = !works && rng.uniform() < mix.malformed;
  return {apply_thought(asked, works ? kWorked : kThought), put_together(rng, thought, answer, malformed)};
}

std::vector<SftExample> seed_examples(const ChatTokenizer& text, uint64_t seed, int64_t count, const SeedMix& mix) {
  return parallel_map(count, [&](int64_t i) {
    const SeedText source = seed_text(seed, i, mix);
    return to_example(text.prompt_ids(source.prompt), text.completion_ids(source.completion));
  });
}

}  // namespace thinker::world
