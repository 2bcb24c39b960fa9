#include "tools/world/world.h"

#include <doctest/doctest.h>

#include <map>
#include <regex>
#include <set>
#include <sstream>

#include "tensor/check.h"
#include "tools/world/seed_model.h"
#include "tools/world/thoughts.h"
#include "tpo/judges/rule.h"

using namespace thinker;
using namespace thinker::world;

namespace {

constexpr Split kSplits[] = {Split::seed, Split::train, Split::select, Split::test};

/// The step that follows each " 1)", " 2)", ... of a text.
std::vector<std::string> listed(const std::string& text) {
  std::vector<std::string> items;
  const std::regex item(" [0-9]\\)([A-Za-z0-9]+)");
  for (std::sregex_iterator i(text.begin(), text.end(), item), end; i != end; ++i) items.push_back((*i)[1]);
  return items;
}

/// What follows each "=" of a worked thought.
std::vector<std::string> states_of(const std::string& work) {
  std::vector<std::string> states;
  std::istringstream parts(work.substr(1));
  for (std::string part; std::getline(parts, part, '=');) states.push_back(part.substr(0, part.find(' ')));
  return states;
}

std::string between(const std::string& text, const std::string& before, const std::string& after) {
  const size_t begin = text.find(before) + before.size();
  return text.substr(begin, text.find(after, begin) - begin);
}

/// The answer from the prompt's text alone, found in another way than the generator's: a walk on a grid, a row of cups
/// that are really swapped, a sum.
std::string solve(const Task& task) {
  const std::string& prompt = task.prompt;
  switch (task.category) {
    case Category::turn: {
      const std::map<std::string, std::pair<int, int>> vectors = {
          {"north", {0, 1}}, {"east", {1, 0}}, {"south", {0, -1}}, {"west", {-1, 0}}};
      auto [x, y] = vectors.at(between(prompt, "You face ", "."));
      for (const std::string& turn : listed(prompt)) {
        const int times = turn == "right" ? 1 : turn == "back" ? 2 : turn == "left" ? 3 : 0;
        REQUIRE(times > 0);
        for (int i = 0; i < times; ++i) std::tie(x, y) = std::pair(y, -x);
      }
      for (const auto& [direction, v] : vectors)
        if (v == std::pair(x, y)) return direction;
      return "";
    }
    case Category::ball: {
      std::map<char, bool> ball;
      ball[between(prompt, "The ball is under ", ".")[0]] = true;
      for (const std::string& cups : listed(prompt)) std::swap(ball[cups.at(0)], ball[cups.at(1)]);
      for (const auto& [cup, has] : ball)
        if (has) return {cup};
      return "";
    }
    case Category::add: {
      int sum = 0;
      for (const std::string& digit : listed(prompt)) sum += std::stoi(digit);
      return std::to_string(sum % 10);
    }
    case Category::copy: return between(prompt, "Repeat ", ".");
    case Category::reverse: {
      std::string turned;
      for (char c : between(prompt, "Reverse ", ".")) turned.insert(0, 1, c);
      return turned;
    }
    case Category::max: {
      char greatest = '0';
      for (char c : between(prompt, "Largest digit of ", "?"))
        if (c > greatest) greatest = c;
      return {greatest};
    }
    case Category::fact: return task.answer;  // made up: the test of facts compares them with each other
  }
  return "";
}

ChatTokenizer world_tokenizer() {
  return ChatTokenizer(Tokenizer(vocabulary()));
}

}  // namespace

TEST_CASE("world: answers are right, and the worked thought ends in the answer") {
  for (int64_t i = 0; i < 7 * 300; ++i) {
    const Task task = make_task(5, Split::train, i);
    CAPTURE(task.prompt);
    CHECK(task.answer == solve(task));
    CHECK(task.work.ends_with(task.answer));
  }
}

TEST_CASE("world: each step of a worked thought is right") {
  for (int64_t i = 0; i < 7 * 50; ++i) {
    const Task task = make_task(6, Split::seed, i);
    if (!thinking_helps(task.category)) continue;
    const std::vector<std::string> states = states_of(task.work);
    CHECK(listed(task.work) == listed(task.prompt));
    REQUIRE(states.size() == listed(task.prompt).size() + 1);
    for (size_t steps = 0; steps < states.size(); ++steps) {
      Task shorter = task;  // the prompt with its first steps only
      const size_t cut = task.prompt.find(concat(" ", steps + 1, ")"));
      shorter.prompt = task.prompt.substr(0, cut);
      CHECK(states[steps] == solve(shorter));
    }
  }
}

TEST_CASE("world: facts never contradict each other, and there are forty") {
  std::map<std::string, std::string> colours;
  for (int64_t i = 0; i < 2000; ++i) {
    const Task task = make_task(3, kSplits[i % 4], i, Category::fact);
    const std::regex form("(?:Colours of|What do they like:|Favourites of) (\\w+) and (\\w+)(?:\\?|, in order\\?)");
    std::smatch animals;
    REQUIRE(std::regex_match(task.prompt, animals, form));
    std::istringstream words(task.answer);
    std::string first, conjunction, second;
    words >> first >> conjunction >> second;
    CHECK(colours.try_emplace(animals[1], first).first->second == first);
    CHECK(colours.try_emplace(animals[2], second).first->second == second);
  }
  CHECK(colours.size() == 40);
}

TEST_CASE("world: tasks depend on seed, split and index only; runs of tasks are balanced") {
  std::map<std::string, int> count;
  for (int64_t i = 0; i < 700; ++i) {
    const Task task = make_task(1, Split::test, i), again = make_task(1, Split::test, i);
    CHECK(task.prompt == again.prompt);
    CHECK(task.answer == again.answer);
    ++count[name(task.category)];
  }
  CHECK(count.size() == kCategories);
  for (const auto& [category, n] : count) CHECK(n == 100);
  CHECK(make_task(1, Split::test, 0).prompt != make_task(2, Split::test, 0).prompt);
}

TEST_CASE("world: no prompt of one split occurs in another, whatever the seed; most prompts of a split differ") {
  std::map<std::string, Split> seen;
  std::map<Split, std::set<std::string>> different;
  for (uint64_t seed : {1, 2}) {
    for (Split split : kSplits) {
      for (int64_t i = 0; i < 1400; ++i) {
        const std::string prompt = make_task(seed, split, i).prompt;
        CHECK(split_of(prompt) == split);
        CHECK(seen.try_emplace(prompt, split).first->second == split);
        different[split].insert(prompt);
      }
    }
  }
  for (const auto& [split, prompts] : different) CHECK(prompts.size() > 2800 * 7 / 10);
}

TEST_CASE("world: a prompt line is checked by the rule judge: the answer scores 1, others 0") {
  const std::vector<Prompt> lines = prompts(1, Split::test, 7, 14);
  REQUIRE(lines.size() == 14);
  std::vector<JudgeView> views;
  for (size_t i = 0; i < lines.size(); ++i) {
    const Task task = make_task(1, Split::test, static_cast<int64_t>(i) + 7);
    CHECK(lines[i].id == Json(concat("test-", i + 7)));
    CHECK(lines[i].category == name(task.category));
    CHECK(lines[i].messages == Messages{{"user", task.prompt}});
    for (const std::string& answer : {task.answer, "um " + task.answer})
      views.push_back(make_judge_view(lines[i], split_output("x<R>" + answer, world::thought_style(), Stop::end)));
  }
  const std::vector<Judged> judged = RuleJudge().judge(views);
  for (size_t i = 0; i < judged.size(); ++i) CHECK(judged[i].score == (i % 2 == 0 ? 1.0 : 0.0));
}

TEST_CASE("world: every text can be encoded and read back, and is short") {
  const ChatTokenizer text = world_tokenizer();
  int64_t tokens = 0, texts = 0;
  for (int64_t i = 0; i < 2000; ++i) {
    const SeedText seed = seed_text(9, i, SeedMix{});
    const std::vector<int32_t> prompt = text.prompt_ids(seed.prompt), completion = text.completion_ids(seed.completion);
    CHECK(text.decode(prompt) == seed.prompt.at(0).content);
    CHECK(text.decode(completion) == seed.completion);
    CHECK(completion.back() == text.end_ids.at(0));
    tokens += static_cast<int64_t>(prompt.size() + completion.size());
    ++texts;
  }
  CHECK(tokens < 25 * texts);
}

TEST_CASE("world: both instructions leave the task's text as it is and name the marker's style") {
  for (const ThoughtStyle& style : {world::thought_style(), worked_style()}) {
    const Messages asked = apply_thought({{"user", "Repeat bcd."}}, style);
    REQUIRE(asked.size() == 1);
    CHECK(asked[0].content.ends_with(" Repeat bcd."));
    CHECK(style.split == "<R>");
  }
}

TEST_CASE("world: the seed's texts are mixed as they are said to be") {
  const SeedMix mix;
  int64_t worked = 0, direct = 0, thoughts = 0, useful = 0, formed = 0;
  std::map<ThoughtKind, int64_t> kinds;
  constexpr int64_t kTexts = 20000;
  for (int64_t i = 0; i < kTexts; ++i) {
    const SeedText text = seed_text(4, i, mix);
    const std::string& prompt = text.prompt.at(0).content;
    const SplitOutput split = split_output(text.completion, world::thought_style(), Stop::end);
    const bool thinks = prompt.starts_with("Think first. "), works = prompt.starts_with("Show your work. ");
    worked += works;
    thoughts += thinks;
    direct += !thinks && !works;
    if (works) CHECK(split.parse == Parse::ok);
    if (!thinks && !works) CHECK(text.completion.find("<R>") == std::string::npos);
    if (!thinks || split.parse != Parse::ok) continue;
    ++formed;
    const ThoughtKind kind = kind_of(*split.thought);
    ++kinds[kind];
    useful += kind == ThoughtKind::worked || kind == ThoughtKind::draft;
  }
  const auto share = [](int64_t part, int64_t whole) { return static_cast<double>(part) / static_cast<double>(whole); };
  CHECK(share(worked, kTexts) == doctest::Approx(mix.worked).epsilon(0.05));
  CHECK(share(direct, kTexts) == doctest::Approx(mix.direct).epsilon(0.05));
  CHECK(share(formed, thoughts) == doctest::Approx(1 - mix.malformed).epsilon(0.05));
  CHECK(share(useful, formed) == doctest::Approx(mix.useful).epsilon(0.1));
  CHECK(kinds[ThoughtKind::ramble] > kinds[ThoughtKind::doubt]);
  CHECK(kinds[ThoughtKind::doubt] > formed / 10);
  CHECK(kinds[ThoughtKind::other] == 0);
}

TEST_CASE("world: a thought's kind is told by its form, after trimming too") {
  CHECK(kind_of("=north 1)left=west") == ThoughtKind::worked);
  CHECK(kind_of("Draft: bcd") == ThoughtKind::draft);
  CHECK(kind_of("One thing at a time. Is it 3? Or 4?") == ThoughtKind::doubt);
  CHECK(kind_of("What is being asked? One thing at a time.") == ThoughtKind::ramble);
  CHECK(kind_of("") == ThoughtKind::other);
  CHECK(kind_of("What is being asked? north") == ThoughtKind::other);
  for (int64_t i = 0; i < 100; ++i) {
    Rng rng(3, Purpose::corrupt, static_cast<uint32_t>(i));
    CHECK(kind_of(ramble(rng)) == ThoughtKind::ramble);
    CHECK(kind_of(doubt(rng, "a", "b")) == ThoughtKind::doubt);
  }
}

TEST_CASE("world: the seed of the control knows no useful thought") {
  const SeedMix mix = without_useful_thoughts({}).mix;
  int64_t thoughts = 0;
  for (int64_t i = 0; i < 5000; ++i) {
    const SeedText text = seed_text(4, i, mix);
    const std::string& prompt = text.prompt.at(0).content;
    CHECK_FALSE(prompt.starts_with("Show your work. "));
    thoughts += prompt.starts_with("Think first. ");
    CHECK(text.completion.find("Draft: ") == std::string::npos);
    CHECK(text.completion.find('=') == std::string::npos);
  }
  CHECK(thoughts > 2300);
  CHECK(thoughts < 2700);
}

TEST_CASE("world: the seed's examples train completions only, and fit the seed model") {
  const ChatTokenizer text = world_tokenizer();
  const Config config = seed_config({}, text.tokenizer.vocabulary_size());
  config.validate("seed");
  for (const SftExample& example : seed_examples(text, 2, 100, SeedMix{})) {
    REQUIRE(example.ids.size() == example.trained.size());
    CHECK(static_cast<int64_t>(example.ids.size()) <= config.context);
    CHECK(example.trained.front() == 0);
    CHECK(example.trained.back() == 1);
    CHECK(std::is_sorted(example.trained.begin(), example.trained.end()));
    for (int32_t id : example.ids) CHECK(id < config.vocab);
  }
}
