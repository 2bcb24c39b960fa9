// What the model wrote, to browse: held-out prompts with the answers of the seed and of the end, and training prompts
// of the first and the last iteration with all their samples. Which ones is decided by a rule, not by a person: the
// first of each category and outcome. Filters are radio buttons and CSS; a browser that lacks :has() shows everything.
#include <algorithm>
#include <set>

#include "tensor/check.h"
#include "tpo/report/sections.h"
#include "tpo/text.h"

namespace thinker::report {

namespace {

constexpr size_t kBudget = 1'200'000;  // bytes of all cards
constexpr size_t kEach = 2;            // cards of a category and outcome
constexpr size_t kMostFilters = 20;    // categories with a button of their own
constexpr size_t kLongest = 2000;      // bytes shown of one text

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

/// A thought, folded, and a response; or the output that could not be split.
Html output(const SampleRecord& s) {
  Html body;
  if (s.split.thought) {
    const std::string label = s.split.thought->empty()
                                  ? "thought: empty"
                                  : concat("thought, ", count_code_points(*s.split.thought), " characters");
    body += element("details", element("summary", text(label)) + quoted(*s.split.thought));
  }
  if (s.split.response) return body + quoted(*s.split.response);
  return body + element("details", "<summary>the output as it is</summary>"_html + quoted(s.text));
}

Html sample_card(const Browser& browser, const SampleRecord& s, const PairLine* pair) {
  Html head = text(concat("sample ", s.sample, " · ", score_words(browser, s)));
  if (!s.forced.empty()) head += text(" · markers written for it");
  if (pair && pair->chosen_sample == s.sample) head += " <span class=\"badge chosen\">chosen</span>"_html;
  if (pair && pair->rejected_sample == s.sample) head += " <span class=\"badge rejected\">rejected</span>"_html;
  const Html body = element("p", {{"class", "head"}}, head) + output(s);
  return element("div", {{"class", "sample"}}, body);
}

/// What a filter asks of a card.
enum class Outcome { improved, worsened, same, pair, no_pair };
constexpr const char* kOutcomes[] = {"improved", "worsened", "same score", "gave a pair", "no pair"};
enum class Source { held_out, first_iteration, last_iteration };
constexpr const char* kSources[] = {"held out, before and after", "training, first iteration",
                                    "training, last iteration"};

struct Card {
  size_t arm;
  Source source;
  Outcome outcome;
  std::string category;
  Html html;  // within the card's own fold
  std::string prompt;
};

Html prompt_text(const Prompt& prompt) {
  Html inner;
  for (const Message& m : prompt.messages) {
    if (prompt.messages.size() > 1) inner += element("p", {{"class", "head"}}, text(m.role));
    inner += quoted(m.content);
  }
  return inner;
}

std::string prompt_line(const Prompt& prompt) {
  return prompt.messages.empty() ? "" : excerpt(prompt.messages.back().content, 110);
}

Html all_samples(const Browser& browser, const Prompt& prompt) {
  const PairLine* pair = browser.pair_of(prompt);
  const auto found = browser.samples.find(prompt.id->dump());
  if (found == browser.samples.end()) return "<p class=\"missing\">No samples yet.</p>"_html;
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
  Html inner = pair ? first : "<p class=\"head\">No pair from this prompt.</p>"_html;
  if (folded > 0)
    inner += element(
        "details",
        element("summary", text(concat(pair ? "the other " : "all ", folded, folded == 1 ? " sample" : " samples"))) +
            others);
  return inner;
}

/// Takes cards until a category has enough of an outcome.
class Quota {
 public:
  bool take(const std::string& category, Outcome outcome) { return taken_[{category, outcome}]++ < kEach; }

 private:
  std::map<std::pair<std::string, Outcome>, size_t> taken_;
};

void add_training(std::vector<Card>& cards, size_t arm, const IterationData& data, Source source) {
  const Browser browser(data);
  Quota quota;
  for (const Prompt& p : data.prompts) {
    const Outcome outcome = browser.pair_of(p) ? Outcome::pair : Outcome::no_pair;
    if (quota.take(p.category, outcome))
      cards.push_back({arm, source, outcome, p.category, prompt_text(p) + all_samples(browser, p), prompt_line(p)});
  }
}

Html evaluated(const std::string& label, const EvalRecord& r) {
  const std::string score = r.judged.score ? "score " + fixed(*r.judged.score, 3) : "no score";
  return element("div", {{"class", "sample"}},
                 element("p", {{"class", "head"}}, text(label + " · " + score)) + output(r.sample));
}

void add_held_out(std::vector<Card>& cards, size_t arm, const RunData& run) {
  const Evaluation *before = run.find(Stage::seed), *after = run.last_trained();
  if (!before || !after) return;
  std::map<std::string, const EvalRecord*> first, last;
  for (const EvalRecord& r : before->records) first[r.sample.id.dump()] = &r;
  for (const EvalRecord& r : after->records) last[r.sample.id.dump()] = &r;
  Quota quota;
  for (const Prompt& p : run.held_out) {
    const auto a = first.find(p.id->dump()), b = last.find(p.id->dump());
    if (a == first.end() || b == last.end() || !a->second->judged.score || !b->second->judged.score) continue;
    const double gain = *b->second->judged.score - *a->second->judged.score;
    const Outcome outcome = gain > 0 ? Outcome::improved : gain < 0 ? Outcome::worsened : Outcome::same;
    if (!quota.take(p.category, outcome)) continue;
    cards.push_back({arm, Source::held_out, outcome, p.category,
                     prompt_text(p) + evaluated(stage_name(run, *before), *a->second) +
                         evaluated(stage_name(run, *after), *b->second),
                     prompt_line(p)});
  }
}

std::vector<Card> cards_of(const std::vector<Arm>& arms) {
  std::vector<Card> cards;
  for (size_t a = 0; a < arms.size(); ++a) {
    const RunData& run = *arms[a].runs.front();
    add_held_out(cards, a, run);
    const auto has_samples = [](const IterationData& d) { return !d.samples.empty() && !d.prompts.empty(); };
    const auto first = std::find_if(run.iterations.begin(), run.iterations.end(), has_samples);
    const auto last = std::find_if(run.iterations.rbegin(), run.iterations.rend(), has_samples);
    if (first == run.iterations.end()) continue;
    add_training(cards, a, *first, Source::first_iteration);
    if (last->iteration != first->iteration) add_training(cards, a, *last, Source::last_iteration);
  }
  std::stable_sort(cards.begin(), cards.end(), [](const Card& x, const Card& y) { return x.category < y.category; });
  return cards;
}

/// Every second card of the longest list goes until the rest fits.
size_t fit(std::vector<Card>& cards) {
  size_t dropped = 0;
  const auto bytes = [&] {
    size_t sum = 0;
    for (const Card& c : cards) sum += c.html.str().size();
    return sum;
  };
  while (cards.size() > 1 && bytes() > kBudget) {
    std::vector<Card> kept;
    for (size_t i = 0; i < cards.size(); i += 2) kept.push_back(std::move(cards[i]));
    dropped += cards.size() - kept.size();
    cards = std::move(kept);
  }
  return dropped;
}

/// A row of radio buttons: "all" (0), and one for each name that is not empty, the preset one pressed; the rule that
/// hides what a button does not ask for.
Html filter(const char* letter, const std::string& legend, const std::vector<std::string>& names, size_t preset,
            std::string* css) {
  const auto there = [](const std::string& name) { return !name.empty(); };
  if (std::count_if(names.begin(), names.end(), there) < 2) return {};
  const std::string group = concat("filter-", letter);
  Html buttons;
  for (size_t i = 0; i <= names.size(); ++i) {  // 0: all
    if (i > 0 && !there(names[i - 1])) continue;
    const std::string id = concat(group, "-", i);
    Html input = i == preset ? element("input", {{"type", "radio"}, {"name", group}, {"id", id}, {"checked", ""}})
                             : element("input", {{"type", "radio"}, {"name", group}, {"id", id}});
    buttons += element("label", input + text(i == 0 ? "all" : names[i - 1]));
    if (i > 0) *css += concat("section:has(#", id, ":checked) .card:not(.", letter, i - 1, "){display:none}\n");
  }
  return element("fieldset", element("legend", text(legend)) + buttons);
}

}  // namespace

Html samples_section(const Runs& runs) {
  const std::vector<Arm> arms = arms_of(runs);
  std::vector<Card> cards = cards_of(arms);
  if (cards.empty()) return section("Samples", "<p class=\"missing\">No samples with their prompts yet.</p>"_html);
  const size_t dropped = fit(cards);
  std::vector<std::string> arm_names, categories;
  for (const Arm& arm : arms) arm_names.push_back(excerpt(arm.label, 60));
  for (const Card& c : cards)
    if (categories.size() < kMostFilters && (categories.empty() || categories.back() != category_label(c.category)))
      categories.push_back(category_label(c.category));
  // What no card is gets no button.
  std::vector<std::string> sources(std::size(kSources)), outcomes(std::size(kOutcomes));
  for (const Card& c : cards) {
    sources[static_cast<size_t>(c.source)] = kSources[static_cast<size_t>(c.source)];
    outcomes[static_cast<size_t>(c.outcome)] = kOutcomes[static_cast<size_t>(c.outcome)];
  }
  std::string css;
  Html filters = filter("a", "arm", arm_names, 0, &css);
  filters += filter("s", "prompts", sources, sources[0].empty() ? 0 : 1, &css);
  filters += filter("k", "category", categories, 0, &css);
  filters += filter("o", "outcome", outcomes, 0, &css);
  Html list;
  std::set<size_t> opened;
  for (const Card& c : cards) {
    const auto k = std::find(categories.begin(), categories.end(), category_label(c.category)) - categories.begin();
    const char* tone = c.outcome == Outcome::improved   ? "badge good"
                       : c.outcome == Outcome::worsened ? "badge bad"
                                                        : "badge";
    const Html summary = element("span", {{"class", tone}}, text(kOutcomes[static_cast<size_t>(c.outcome)])) +
                         text(concat(" ", category_label(c.category), arms.size() > 1 ? ", " + arm_names[c.arm] : "",
                                     c.source == Source::held_out          ? ""
                                     : c.source == Source::first_iteration ? ", first iteration"
                                                                           : ", last iteration",
                                     ": ", c.prompt));
    const std::string classes =
        concat("card a", c.arm, " s", static_cast<int>(c.source), " k", k, " o", static_cast<int>(c.outcome));
    const Html inside = element("summary", summary) + c.html;
    // One example an arm stands open: what thinking did before, and what it does now.
    const bool shown = c.source == Source::held_out && c.outcome == Outcome::improved && arms[c.arm].thinks() &&
                       opened.insert(c.arm).second;
    list += shown ? element("details", {{"class", classes}, {"open", ""}}, inside)
                  : element("details", {{"class", classes}}, inside);
    list += "\n"_html;
  }
  Html inner = paragraph(
      "Of each arm's first seed. Held-out prompts show one answer of the seed model and one of the end; training "
      "prompts "
      "show all K samples of an iteration, the chosen and the rejected marked. Shown are the first prompts of each "
      "category "
      "and outcome. The judge saw the prompt and the response, never the thought.");
  if (dropped > 0) inner += paragraph(concat(dropped, " more would have made the page too large."));
  inner += element("form", {{"class", "filters"}}, filters);
  return section("Samples", style_of(css) + inner + element("div", {{"class", "cards"}}, list) +
                                "<p class=\"head count\"> of these prompts are shown.</p>"_html);
}

}  // namespace thinker::report
