#include "tpo/judges/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <cctype>

#include "tensor/check.h"
#include "tpo/text.h"

namespace thinker {

namespace {

std::string pcre2_reason(int error) {
  PCRE2_UCHAR buffer[200] = {};
  pcre2_get_error_message(error, buffer, sizeof buffer);
  return reinterpret_cast<const char*>(buffer);
}

using MatchData = std::unique_ptr<pcre2_match_data, void (*)(pcre2_match_data*)>;
using MatchContext = std::unique_ptr<pcre2_match_context, void (*)(pcre2_match_context*)>;

MatchContext limited_context() {
  MatchContext context(pcre2_match_context_create(nullptr), pcre2_match_context_free);
  ENSURE(context, "no memory for a regular expression match");
  pcre2_set_match_limit(context.get(), 2'000'000);  // about a tenth of a second
  pcre2_set_heap_limit(context.get(), 64 * 1024);   // KiB
  return context;
}

[[noreturn]] void cannot_match(const std::string& pattern, std::string_view text, int error) {
  fail("regular expression \"", excerpt(pattern), "\" on a text of ", text.size(), " bytes: ", pcre2_reason(error));
}

}  // namespace

Regex::Regex(const std::string& pattern, Case letter_case) : pattern_(pattern) {
  uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_MATCH_INVALID_UTF | PCRE2_NEVER_BACKSLASH_C;
  if (letter_case == Case::ignore) options |= PCRE2_CASELESS;
  int error = 0;
  PCRE2_SIZE at = 0;
  pcre2_code* code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), options, &error, &at, nullptr);
  if (!code) fail("regular expression \"", excerpt(pattern), "\", character ", at + 1, ": ", pcre2_reason(error));
  code_ = std::shared_ptr<void>(code, [](void* p) { pcre2_code_free(static_cast<pcre2_code*>(p)); });
}

/// Calls take(match) for each occurrence until it returns false.
template <class Take>
void Regex::each_match(std::string_view text, const Take& take) const {
  const auto* code = static_cast<const pcre2_code*>(code_.get());
  const MatchData data(pcre2_match_data_create_from_pattern(code, nullptr), pcre2_match_data_free);
  ENSURE(data, "no memory for a regular expression match");
  const MatchContext context = limited_context();
  for (size_t at = 0; at <= text.size();) {
    const int rc =
        pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at, 0, data.get(), context.get());
    if (rc == PCRE2_ERROR_NOMATCH) return;
    if (rc < 0) cannot_match(pattern_, text, rc);
    const PCRE2_SIZE* span = pcre2_get_ovector_pointer(data.get());
    at = span[1];
    if (span[0] >= span[1]) {  // an empty match: step over one character (\K may even put the end before the start)
      at = std::max(span[0], span[1]) + 1;
      while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) ++at;
    }
    if (!take(text.substr(span[0], std::max(span[0], span[1]) - span[0]))) return;
  }
}

int64_t Regex::count(std::string_view text, int64_t limit) const {
  int64_t found = 0;
  if (limit > 0) each_match(text, [&](std::string_view) { return ++found < limit; });
  return found;
}

std::vector<std::string_view> Regex::find_all(std::string_view text) const {
  std::vector<std::string_view> found;
  each_match(text, [&](std::string_view match) { return found.push_back(match), true; });
  return found;
}

std::vector<std::string_view> Regex::split(std::string_view text) const {
  std::vector<std::string_view> pieces;
  const char* begin = text.data();
  for (std::string_view match : find_all(text)) {
    pieces.emplace_back(begin, match.data() - begin);
    begin = match.data() + match.size();
  }
  pieces.emplace_back(begin, text.data() + text.size() - begin);
  return pieces;
}

std::string Regex::replace(std::string_view text, const std::string& replacement) const {
  const auto* code = static_cast<const pcre2_code*>(code_.get());
  const MatchContext context = limited_context();
  const auto bytes = [](auto& s) { return reinterpret_cast<PCRE2_SPTR>(s.data()); };
  std::string out(text.size() + text.size() / 2 + 64, 0);
  for (;;) {
    PCRE2_SIZE size = out.size();
    const uint32_t options = PCRE2_SUBSTITUTE_GLOBAL | PCRE2_SUBSTITUTE_EXTENDED | PCRE2_SUBSTITUTE_OVERFLOW_LENGTH;
    const int rc =
        pcre2_substitute(code, bytes(text), text.size(), 0, options, nullptr, context.get(), bytes(replacement),
                         replacement.size(), reinterpret_cast<PCRE2_UCHAR*>(out.data()), &size);
    out.resize(size);  // what was written; or what is needed, its end included
    if (rc >= 0) return out;
    if (rc != PCRE2_ERROR_NOMEMORY) cannot_match(pattern_, text, rc);
  }
}

std::string Regex::quoted(std::string_view text) {
  std::string quoted;
  for (char c : text) {
    const bool plain = std::isalnum(static_cast<unsigned char>(c)) || static_cast<unsigned char>(c) >= 0x80;
    if (!plain) quoted += '\\';
    quoted += c;
  }
  return quoted;
}

std::string Regex::whole_word(std::string_view text) {
  return "(?<![\\p{L}\\p{N}_])" + quoted(text) + "(?![\\p{L}\\p{N}_])";
}

}  // namespace thinker
