// What the model wrote: for each category a prompt or two of the last iteration with all their samples. Which ones is
// decided by a rule, not by a person: the first that gave a pair, and the first that gave none.
#include <algorithm>
#include <set>

#include "tensor/check.h"
#include "tpo/report/sections.h"
#include "tpo/text.h"

namespace thinker::report {

namespace {

constexpr size_t kLongest = 4000;  // bytes shown of one text

/// A text of a prompt's or a model's, as it is, in a box that no direction mark or long word can break out of.
Html quoted(const std::string& data) {
  size_t end = std::min(data.size(), kLongest);
  while (end < data.size() && end > 0 && (static_cast<unsigned char>(data[end]) & 0xC0) == 0x80) --end;
  Html cut;
  if (end < data.size())
    cut = element("span", {{"class", "missing"}}, text(concat(" … and ", data.size() - end, " bytes more")));
  return element("div", {{"class", "text"}}, text(data.substr(0, end)) + cut);
}

using SampleKey = std::pair<std::string, int64_t>;  // the prompt's id, the sample's number

/// An iteration, ready to be looked up.
struct Browser {
  const IterationData& data;
  std::map<std::string, std::vector<const SampleRecord*>> samples;
  std::map<SampleKey, const JudgmentRecord*> judgments;
  std::map<std::string, const PairLine*> pairs;

  explicit Browser(const IterationData& iteration) : data(iteration) {
    for (const SampleRecord& s : data.samples) samples[s.id.dump()].push_back(&s);
    for (const JudgmentRecord& j : data.judgments) judgments[{j.id.dump(), j.sample}] = &j;
    for (const PairLine& p : data.pairs) pairs[p.id.dump()] = &p;
  }

  const PairLine* pair_of(const Prompt& prompt) const {
    const auto found = pairs.find(prompt.id->dump());
    return found == pairs.end() ? nullptr : found->second;
  }
};

std::string score_words(const Browser& browser, const SampleRecord& s) {
  if (!s.valid()) return concat("does not parse: ", name(s.split.parse));
  const auto found = browser.judgments.find({s.id.dump(), s.sample});
  if (found == browser.judgments.end()) return "not judged";
  const Judged& judged = found->second->judged;
  return judged.score ? "score " + fixed(*judged.score, 3) : "no score: " + excerpt(judged.error, 100);
}

Html sample_card(const Browser& browser, const SampleRecord& s, const PairLine* pair) {
  Html head = text(concat("sample ", s.sample, " · ", score_words(browser, s)));
  if (!s.forced.empty()) head += text(" · markers written for it");
  if (pair && pair->chosen_sample == s.sample) head += " <span class=\"badge chosen\">chosen</span>"_html;
  if (pair && pair->rejected_sample == s.sample) head += " <span class=\"badge rejected\">rejected</span>"_html;
  Html body = element("p", {{"class", "head"}}, head);
  if (s.split.thought) {
    const std::string label = s.split.thought->empty()
                                  ? "thought: empty"
                                  : concat("thought, ", count_code_points(*s.split.thought), " characters");
    body += element("details", element("summary", text(label)) + quoted(*s.split.thought));
  }
  if (s.split.response)
    body += quoted(*s.split.response);
  else
    body += element("details", "<summary>the output as it is</summary>"_html + quoted(s.text));
  return element("div", {{"class", "sample"}}, body);
}

Html prompt_card(const Browser& browser, const Prompt& prompt) {
  const PairLine* pair = browser.pair_of(prompt);
  Html inner =
      element("p", {{"class", "head"}},
              text("prompt " + excerpt(prompt.id->is_string() ? prompt.id->get<std::string>() : prompt.id->dump())));
  for (const Message& m : prompt.messages) {
    if (prompt.messages.size() > 1) inner += element("p", {{"class", "head"}}, text(m.role));
    inner += quoted(m.content);
  }
  const auto found = browser.samples.find(prompt.id->dump());
  if (found == browser.samples.end())
    return element("article", inner + "<p class=\"missing\">No samples yet.</p>"_html);
  Html first, others;
  size_t folded = 0;
  for (const SampleRecord* s : found->second) {
    const bool marked = pair && (pair->chosen_sample == s->sample || pair->rejected_sample == s->sample);
    if (!marked) ++folded;
    if (marked && pair->chosen_sample == s->sample)
      first = sample_card(browser, *s, pair) + first;
    else
      (marked ? first : others) += sample_card(browser, *s, pair);
  }
  inner += pair ? first : "<p class=\"head\">No pair from this prompt.</p>"_html;
  if (folded > 0)
    inner += element(
        "details",
        element("summary", text(concat(pair ? "the other " : "all ", folded, folded == 1 ? " sample" : " samples"))) +
            others);
  return element("article", inner);
}

/// The first prompt of a category with a pair and, where categories are few, the first without.
std::vector<const Prompt*> pick(const Browser& browser, const std::string& category, bool both) {
  const Prompt *with = nullptr, *without = nullptr;
  for (const Prompt& p : browser.data.prompts) {
    if (p.category != category) continue;
    const Prompt*& slot = browser.pair_of(p) ? with : without;
    if (!slot) slot = &p;
  }
  std::vector<const Prompt*> picked;
  if (with) picked.push_back(with);
  if (without && (both || !with)) picked.push_back(without);
  return picked;
}

}  // namespace

Html samples_section(const Runs& runs) {
  Html inner = paragraph(
      "Training samples of the last iteration that has any. Shown for each category: the first prompt that gave a "
      "pair, then "
      "(where categories are few) the first that gave none. The judge saw the prompt and the response, never the "
      "thought.");
  for (const RunData& run : runs) {
    inner += element("h3", text(run.name));
    const auto last = std::find_if(run.iterations.rbegin(), run.iterations.rend(),
                                   [](const auto& d) { return !d.samples.empty() && !d.prompts.empty(); });
    if (last == run.iterations.rend()) {
      inner += "<p class=\"missing\">No samples with their prompts yet.</p>"_html;
      continue;
    }
    const Browser browser(*last);
    std::set<std::string> categories;
    for (const Prompt& p : last->prompts) categories.insert(p.category);
    inner += paragraph(concat("Iteration ", last->iteration, "."));
    for (const std::string& category : categories) {
      Html cards;
      for (const Prompt* p : pick(browser, category, categories.size() <= 10)) cards += prompt_card(browser, *p);
      const std::string label = category.empty() ? "(no category)" : excerpt(category, 80);
      inner += element("details", {{"class", "category"}},
                       element("summary", text(label)) + element("div", {{"class", "cards"}}, cards));
    }
  }
  return section("Samples", inner);
}

}  // namespace thinker::report
