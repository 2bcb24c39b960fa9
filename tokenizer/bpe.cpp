#include "tokenizer/bpe.h"

#include <algorithm>
#include <cstdio>
#include <queue>

#include "tokenizer/error.h"
#include "tokenizer/utf8.h"

namespace thinker {
namespace {

uint64_t pair_key(int32_t left, int32_t right) {
  return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) | static_cast<uint32_t>(right);
}

bool is_added(TokenType type) {
  return type == TokenType::Control || type == TokenType::UserDefined;
}

[[noreturn]] void fail_outside_alphabet(std::string_view piece) {
  const bool valid = utf8_step(piece, 0).kind == Utf8Kind::Character;
  char code[16];
  std::snprintf(code, sizeof code, valid ? "U+%04X" : "byte %02X",
                valid ? utf8_decode(piece) : static_cast<uint32_t>(static_cast<unsigned char>(piece[0])));
  const bool printable = valid && static_cast<unsigned char>(piece[0]) > ' ' && piece[0] != 0x7F;
  tokenizer_fail("the ", valid ? "character " : "", code, printable ? " " : "", printable ? piece : "",
                 " is not in this model's alphabet");
}

}  // namespace

Tokenizer::Tokenizer(TokenizerSpec spec, const std::string& where)
    : spec_(std::move(spec)), pretokenizer_(spec_.pattern) {
  check_spec(spec_, where);
  StringMap by_form;
  index_tokens(by_form, where);
  index_merges(by_form, where);
}

void Tokenizer::index_tokens(StringMap& by_form, const std::string& where) {
  const auto size = static_cast<int32_t>(spec_.tokens.size());
  byte_ids_.fill(-1);
  bytes_.reserve(size);
  StringMap added;
  for (int32_t id = 0; id < size; ++id) {
    const std::string& token = spec_.tokens[id];
    const TokenType type = spec_.types[id];
    bytes_.push_back(type == TokenType::Normal ? bytes_of_form(token) : token);
    if (type == TokenType::Unused) continue;
    const auto [same, is_new] = (is_added(type) ? added : by_form).try_emplace(token, id);
    if (!is_new)
      tokenizer_fail(where, ": tokens ", same->second, " and ", id, " are the same text: ", utf8_excerpt(token, 80));
    if (is_added(type)) added_by_first_[static_cast<unsigned char>(token[0])].push_back(id);
    if (type != TokenType::Normal) continue;
    if (bytes_[id].size() == 1) byte_ids_[static_cast<unsigned char>(bytes_[id][0])] = id;
    if (spec_.ignore_merges || spec_.pattern == Pattern::Characters) whole_.try_emplace(bytes_[id], id);
  }
  by_form.merge(added);  // a merge may make a token that is added as well
  for (std::vector<int32_t>& ids : added_by_first_) {
    std::stable_sort(ids.begin(), ids.end(), [&](int32_t a, int32_t b) { return bytes_[a].size() > bytes_[b].size(); });
  }
}

void Tokenizer::index_merges(const StringMap& by_form, const std::string& where) {
  merges_.reserve(spec_.merges.size());
  for (size_t rank = 0; rank < spec_.merges.size(); ++rank) {
    const std::string_view merge = spec_.merges[rank];
    const size_t space = merge.find(' ');
    if (space == std::string_view::npos || space == 0 || space + 1 == merge.size() || space != merge.rfind(' ')) {
      tokenizer_fail(where, ": merge ", rank, " is not two tokens: ", utf8_excerpt(merge, 80));
    }
    const auto find = [&](const std::string& token) {
      const auto found = by_form.find(token);
      if (found == by_form.end())
        tokenizer_fail(where, ": merge ", rank, " names an unknown token: ", utf8_excerpt(token, 80));
      return found->second;
    };
    const std::string left(merge.substr(0, space)), right(merge.substr(space + 1));
    merges_.try_emplace(pair_key(find(left), find(right)), Merge{static_cast<int32_t>(rank), find(left + right)});
  }
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, SpecialText special) const {
  std::vector<int32_t> ids;
  size_t plain_from = 0;
  for (size_t at = 0; at < text.size();) {
    const std::optional<int32_t> whole = whole_token_at(text, at, special);
    if (!whole) {
      ++at;
      continue;
    }
    encode_plain(ids, text.substr(plain_from, at - plain_from));
    ids.push_back(*whole);
    at += bytes_[*whole].size();
    plain_from = at;
  }
  encode_plain(ids, text.substr(plain_from));
  return ids;
}

// The longest added token that stands at text[at].
std::optional<int32_t> Tokenizer::whole_token_at(std::string_view text, size_t at, SpecialText special) const {
  for (int32_t id : added_by_first_[static_cast<unsigned char>(text[at])]) {
    if (special == SpecialText::Plain && is_control(id)) continue;
    if (text.substr(at).starts_with(bytes_[id])) return id;
  }
  return std::nullopt;
}

void Tokenizer::encode_plain(std::vector<int32_t>& ids, std::string_view text) const {
  // A piece that came before is copied from where its ids stand.
  struct Range {
    size_t from, count;
  };
  std::unordered_map<std::string_view, Range> seen;
  pretokenizer_.split(text, [&](std::string_view piece) {
    const auto [known, is_new] = seen.try_emplace(piece, Range{ids.size(), 0});
    if (is_new) {
      encode_piece(ids, piece);
      known->second.count = ids.size() - known->second.from;
    } else {
      const Range range = known->second;
      for (size_t i = 0; i < range.count; ++i) ids.push_back(ids[range.from + i]);
    }
  });
}

void Tokenizer::encode_piece(std::vector<int32_t>& ids, std::string_view piece) const {
  const auto whole = whole_.find(piece);
  if (whole != whole_.end()) {
    ids.push_back(whole->second);
  } else if (spec_.pattern == Pattern::Characters) {
    fail_outside_alphabet(piece);
  } else {
    merge_bytes(ids, piece);
  }
}

// A pair that may be merged. It is out of date when one of its two tokens has since become part of another.
struct Tokenizer::Candidate {
  Merge merge;
  int64_t at;           // position of the left token
  int32_t left, right;  // the two ids

  bool operator<(const Candidate& other) const {  // priority_queue puts the largest on top
    return merge.rank != other.merge.rank ? merge.rank > other.merge.rank : at > other.at;
  }
};

void Tokenizer::merge_bytes(std::vector<int32_t>& ids, std::string_view piece) const {
  struct Node {
    int32_t id;              // -1: swallowed by its left neighbour
    int64_t previous, next;  // -1: none
  };
  std::vector<Node> nodes;
  for (char byte : piece) {
    const int32_t id = byte_ids_[static_cast<unsigned char>(byte)];
    const auto at = static_cast<int64_t>(nodes.size());
    if (id >= 0) nodes.push_back({id, at - 1, at + 1});
  }
  if (nodes.empty()) return;
  nodes.back().next = -1;

  std::priority_queue<Candidate> candidates;
  const auto consider = [&](int64_t at) {
    if (at < 0 || nodes[at].next < 0) return;
    const int32_t left = nodes[at].id, right = nodes[nodes[at].next].id;
    const auto found = merges_.find(pair_key(left, right));
    if (found != merges_.end()) candidates.push({found->second, at, left, right});
  };
  for (int64_t at = 0; at < static_cast<int64_t>(nodes.size()); ++at) consider(at);

  while (!candidates.empty()) {
    const Candidate best = candidates.top();
    candidates.pop();
    Node& left = nodes[best.at];
    if (left.id != best.left || left.next < 0 || nodes[left.next].id != best.right) continue;
    Node& right = nodes[left.next];
    right.id = -1;
    left.id = best.merge.id;
    left.next = right.next;
    if (left.next >= 0) nodes[left.next].previous = best.at;
    consider(left.previous);
    consider(best.at);
  }
  for (int64_t at = 0; at >= 0; at = nodes[at].next) ids.push_back(nodes[at].id);
}

std::string Tokenizer::decode(std::span<const int32_t> ids, SpecialTokens special) const {
  std::string bytes;
  for (int32_t id : ids) {
    const std::string& token = token_bytes(id);
    if (special == SpecialTokens::Keep || !is_control(id)) bytes += token;
  }
  return utf8_replace_invalid(bytes);
}

const std::string& Tokenizer::token_bytes(int32_t id) const {
  if (id < 0 || id >= vocabulary_size()) {
    tokenizer_fail("token id ", id, " is outside the vocabulary of ", vocabulary_size());
  }
  return bytes_[id];
}

std::optional<int32_t> Tokenizer::control_id(std::string_view text) const {
  if (text.empty()) return std::nullopt;
  for (int32_t id : added_by_first_[static_cast<unsigned char>(text[0])]) {
    if (is_control(id) && bytes_[id] == text) return id;
  }
  return std::nullopt;
}

std::string StreamDecoder::push(int32_t id) {
  const std::string& bytes = tokenizer_.token_bytes(id);
  if (special_ == SpecialTokens::Skip && tokenizer_.is_control(id)) return "";
  waiting_ += bytes;
  size_t certain = 0;
  while (certain < waiting_.size()) {
    const Utf8Step step = utf8_step(waiting_, certain);
    if (step.kind == Utf8Kind::Incomplete) break;
    certain += step.length;
  }
  std::string text = utf8_replace_invalid(std::string_view(waiting_).substr(0, certain));
  waiting_.erase(0, certain);
  return text;
}

std::string StreamDecoder::flush() {
  std::string text = utf8_replace_invalid(waiting_);
  waiting_.clear();
  return text;
}

}  // namespace thinker
