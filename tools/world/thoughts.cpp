#include "tools/world/thoughts.h"

#include <algorithm>
#include <string_view>

namespace thinker::world {

namespace {

constexpr std::array<const char*, 8> kSentences = {
    "Let me think about this.", "What is being asked?",     "I should be careful here.",   "That looks easy enough.",
    "I have seen this before.", "Hmm, let me start again.", "The answer should be short.", "One thing at a time."};

constexpr const char* kDraft = "Draft: ";
constexpr const char* kDoubt = "Is it ";
constexpr const char* kOr = "? Or ";

std::string sentences(Rng& rng, int64_t count) {
  std::string text;
  for (int64_t i = 0; i < count; ++i) text += kSentences[rng.below(kSentences.size())] + std::string(" ");
  return text;
}

/// What is left of a thought after the sentences at its beginning.
std::string_view without_sentences(std::string_view thought) {
  const auto next = [&] {
    return std::find_if(kSentences.begin(), kSentences.end(), [&](const char* s) { return thought.starts_with(s); });
  };
  for (auto found = next(); found != kSentences.end(); found = next()) {
    thought.remove_prefix(std::string_view(*found).size());
    if (thought.starts_with(' ')) thought.remove_prefix(1);
  }
  return thought;
}

}  // namespace

const char* name(ThoughtKind kind) {
  constexpr std::array<const char*, 5> names = {"worked", "draft", "doubt", "ramble", "other"};
  return names[static_cast<size_t>(kind)];
}

std::string ramble(Rng& rng) {
  return sentences(rng, 2 + rng.below(4));
}

std::string doubt(Rng& rng, const std::string& one, const std::string& other) {
  return sentences(rng, 1 + rng.below(3)) + kDoubt + one + kOr + other + "?";
}

ThoughtKind kind_of(const std::string& thought) {
  if (thought.starts_with('=')) return ThoughtKind::worked;
  if (thought.starts_with(kDraft)) return ThoughtKind::draft;
  const std::string_view rest = without_sentences(thought);
  if (rest.starts_with(kDoubt)) return ThoughtKind::doubt;
  return rest.empty() && !thought.empty() ? ThoughtKind::ramble : ThoughtKind::other;
}

std::vector<std::string> thought_phrases() {
  std::vector<std::string> all = {kDraft, kDoubt, kOr};
  for (const char* sentence : kSentences) all.push_back(sentence + std::string(" "));
  return all;
}

}  // namespace thinker::world
