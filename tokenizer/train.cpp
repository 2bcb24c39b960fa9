#include "tokenizer/train.h"

#include <algorithm>
#include <queue>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "tokenizer/error.h"
#include "tokenizer/utf8.h"

namespace thinker {
namespace {

struct Pair {
  int32_t left, right;
  bool operator==(const Pair&) const = default;
};

struct PairHash {
  size_t operator()(const Pair& p) const {
    return std::hash<uint64_t>{}((static_cast<uint64_t>(p.left) << 32) | static_cast<uint32_t>(p.right));
  }
};

// Counts every pair once and then only what a merge changes: a merge touches the words that hold its pair.
class Trainer {
 public:
  Trainer(TokenizerSpec& spec, std::string_view text) : spec_(spec) {
    for (size_t id = 0; id < spec.tokens.size(); ++id) ids_.emplace(spec.tokens[id], static_cast<int32_t>(id));
    collect_words(text);
    for (size_t w = 0; w < words_.size(); ++w) {
      change_counts(words_[w], words_[w].count);
      for (size_t i = 0; i + 1 < words_[w].ids.size(); ++i) note_place({words_[w].ids[i], words_[w].ids[i + 1]}, w);
    }
    for (const auto& [pair, places] : places_) best_.push({counts_[pair], pair});
  }

  // Merges the most frequent pair. Returns false when none occurs twice.
  bool step() {
    while (!best_.empty()) {
      const Entry top = best_.top();
      best_.pop();
      const int64_t count = counts_[top.pair];
      if (count < 2) continue;
      if (count == top.count) {
        merge(top.pair);
        return true;
      }
      best_.push({count, top.pair});  // it has lost occurrences since it was pushed
    }
    return false;
  }

 private:
  struct Word {
    std::vector<int32_t> ids;
    int64_t count;
  };
  struct Entry {
    int64_t count;
    Pair pair;
    bool operator<(const Entry& other) const {  // priority_queue puts the largest on top
      if (count != other.count) return count < other.count;
      return pair.left != other.pair.left ? pair.left > other.pair.left : pair.right > other.pair.right;
    }
  };

  void collect_words(std::string_view text) {
    std::unordered_map<std::string_view, size_t> index;
    Pretokenizer(spec_.pattern).split(text, [&](std::string_view piece) {
      const auto [known, is_new] = index.try_emplace(piece, words_.size());
      if (is_new) {
        words_.push_back({{}, 0});
        for (char byte : piece) words_.back().ids.push_back(ids_.at(byte_level_form({&byte, 1})));
      }
      ++words_[known->second].count;
    });
  }

  void change_counts(const Word& word, int64_t by) {
    for (size_t i = 0; i + 1 < word.ids.size(); ++i) counts_[{word.ids[i], word.ids[i + 1]}] += by;
  }

  void note_place(Pair pair, size_t word) {
    std::vector<size_t>& places = places_[pair];
    if (places.empty() || places.back() != word) places.push_back(word);
  }

  void merge(Pair pair) {
    const std::string token = spec_.tokens[pair.left] + spec_.tokens[pair.right];
    spec_.merges.push_back(spec_.tokens[pair.left] + " " + spec_.tokens[pair.right]);
    // Two ways of merging may give the same token: it keeps its id.
    const auto [known, is_new] = ids_.try_emplace(token, static_cast<int32_t>(spec_.tokens.size()));
    if (is_new) {
      spec_.tokens.push_back(token);
      spec_.types.push_back(TokenType::Normal);
    }
    const int32_t merged = known->second;
    const std::vector<size_t> places = std::move(places_[pair]);
    places_.erase(pair);
    std::unordered_set<Pair, PairHash> grown;
    for (size_t w : places) rewrite(words_[w], w, pair, merged, grown);
    for (const Pair& p : grown) best_.push({counts_[p], p});
  }

  void rewrite(Word& word, size_t w, Pair pair, int32_t merged, std::unordered_set<Pair, PairHash>& grown) {
    change_counts(word, -word.count);
    std::vector<int32_t> ids;
    for (size_t i = 0; i < word.ids.size(); ++i) {
      const bool here = i + 1 < word.ids.size() && Pair{word.ids[i], word.ids[i + 1]} == pair;
      ids.push_back(here ? merged : word.ids[i]);
      i += here;
    }
    word.ids = std::move(ids);
    change_counts(word, word.count);
    for (size_t i = 0; i + 1 < word.ids.size(); ++i) {
      const Pair now{word.ids[i], word.ids[i + 1]};
      if (now.left != merged && now.right != merged) continue;
      note_place(now, w);
      grown.insert(now);
    }
  }

  TokenizerSpec& spec_;
  std::unordered_map<std::string, int32_t> ids_;
  std::vector<Word> words_;  // the text's distinct pieces
  std::unordered_map<Pair, int64_t, PairHash> counts_;
  std::unordered_map<Pair, std::vector<size_t>, PairHash> places_;  // words that hold the pair, or once did
  std::priority_queue<Entry> best_;                                 // a pair's count may have fallen since; see step()
};

TokenizerSpec control_spec(std::span<const std::string> control, Pattern pattern) {
  TokenizerSpec spec;
  spec.pattern = pattern;
  spec.tokens.assign(control.begin(), control.end());
  spec.types.assign(control.size(), TokenType::Control);
  return spec;
}

}  // namespace

TokenizerSpec train_bpe(std::string_view text, int64_t vocabulary, Pattern pattern,
                        std::span<const std::string> control) {
  TokenizerSpec spec = control_spec(control, pattern);
  std::vector<std::string> bytes;
  for (int b = 0; b < 256; ++b) bytes.push_back(byte_level_form(std::string(1, static_cast<char>(b))));
  std::sort(bytes.begin(), bytes.end());
  spec.tokens.insert(spec.tokens.end(), bytes.begin(), bytes.end());
  spec.types.resize(spec.tokens.size(), TokenType::Normal);

  const auto size = [&] { return static_cast<int64_t>(spec.tokens.size()); };
  if (vocabulary < size() || vocabulary > kMaxVocabulary) {
    tokenizer_fail("a vocabulary of ", vocabulary, " is not possible: it must be from ", size(),
                   " (bytes and control tokens) to ", kMaxVocabulary);
  }
  Trainer trainer(spec, text);
  while (size() < vocabulary && trainer.step()) {
  }
  return spec;
}

TokenizerSpec character_spec(std::string_view alphabet, std::span<const std::string> control) {
  TokenizerSpec spec = control_spec(control, Pattern::Characters);
  std::unordered_set<std::string> seen;
  for (size_t at = 0; at < alphabet.size();) {
    const Utf8Step step = utf8_step(alphabet, at);
    if (step.kind != Utf8Kind::Character) tokenizer_fail("the alphabet is not valid UTF-8 at byte ", at);
    const std::string character(alphabet.substr(at, step.length));
    if (!seen.insert(character).second) tokenizer_fail("the alphabet has '", character, "' twice");
    spec.tokens.push_back(byte_level_form(character));
    spec.types.push_back(TokenType::Normal);
    at += step.length;
  }
  return spec;
}

}  // namespace thinker
