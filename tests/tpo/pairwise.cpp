// Pairwise judging: the formats and odd answers, games in both orders, scores from them, the cache.
#include "tpo/judges/pairwise.h"

#include <cmath>

#include "tensor/file.h"
#include "tests/tensor/temp_folder.h"
#include "tests/tpo/tiny_world.h"
#include "tpo/fingerprint.h"
#include "tpo/judges/local_chat.h"
#include "tpo/judges/opponent.h"
#include "tpo/provenance.h"
#include "tpo/stages/judge.h"
#include "tpo/stages/pair.h"

using namespace thinker;

namespace {

Prompt prompt_of(const Messages& messages, const Json& id = "p") {
  return {id, "", messages, nullptr, std::nullopt};
}

JudgeView view_of(const std::string& response, const Messages& messages = {{"user", "Why?"}}) {
  return make_judge_view(prompt_of(messages), {std::nullopt, response, Parse::ok});
}

PairView game(const std::string& a, const std::string& b) {
  return {view_of(a), view_of(b)};
}

SampleRecord sample_of(const Json& id, int64_t number, const std::string& response) {
  SampleRecord s;
  s.id = id;
  s.sample = number;
  s.prompt_ids = {1};
  s.ids = {2, 0};
  s.logprobs = {-1, -1};
  s.text = response;
  s.split = {std::nullopt, response, Parse::ok};
  return s;
}

std::optional<int> verdict(const PairFormat& format, const std::string& answer) {
  const PairJudged judged = format.read(answer);
  CHECK(judged.verdict.has_value() == judged.error.empty());
  CHECK(judged.answer == answer);
  if (!judged.verdict) return std::nullopt;
  return static_cast<int>(*judged.verdict);
}

/// A judge that decides by a function of the two responses, and remembers what it was shown.
class FakePairJudge : public PairJudge {
 public:
  using Decide = std::function<PairJudged(const std::string& first, const std::string& second)>;
  explicit FakePairJudge(Decide decide) : decide_(std::move(decide)) {}
  std::vector<PairJudged> judge(std::span<const PairView> views, const OnJudged&) override {
    std::vector<PairJudged> all;
    for (const PairView& v : views) {
      shown.push_back(v.first() + " " + v.second());
      all.push_back(decide_(v.first(), v.second()));
    }
    return all;
  }
  std::vector<std::string> shown;

 private:
  Decide decide_;
};

PairJudged longer(const std::string& first, const std::string& second) {
  const Verdict v = first.size() > second.size()   ? Verdict::first
                    : first.size() < second.size() ? Verdict::second
                                                   : Verdict::tie;
  return {v, "", "by length"};
}

/// Answers from a list; the last one for ever. Counts what it was asked.
class FakeChat : public Chat {
 public:
  explicit FakeChat(std::vector<ChatReply> replies) : replies_(std::move(replies)) {}
  void ask(std::span<const ChatQuestion> questions, const OnReply& on_reply) override {
    for (size_t i = 0; i < questions.size(); ++i) {
      const ChatReply& reply = replies_[std::min(asked++, replies_.size() - 1)];
      if (reply.error == "dead") fail("dead");
      on_reply(i, reply);
    }
  }
  size_t asked = 0;

 private:
  std::vector<ChatReply> replies_;
};

struct Asked {
  FakeChat* chat;
  PairwiseJudge judge;
};

Asked judge_with(std::vector<ChatReply> replies, const std::string& cache, const std::string& format = "mt-bench",
                 const std::string& model = "m", Json files = nullptr) {
  auto chat = std::make_unique<FakeChat>(std::move(replies));
  FakeChat* seen = chat.get();
  return {seen, PairwiseJudge(pair_format(format), model, std::move(files), {}, std::move(chat), cache)};
}

std::vector<PairJudged> ask(PairwiseJudge& judge, const std::vector<PairView>& views) {
  return judge.judge(views);
}

}  // namespace

TEST_CASE("pairwise: a game's view holds the prompt and two responses of it, in the order shown") {
  const PairView view = game(" one ", "two");
  CHECK(dump_json(view.to_json()) == R"({"prompt":[{"role":"user","content":"Why?"}],"responses":["one","two"]})");
  CHECK_THROWS_AS(PairView(view_of("a"), view_of("b", {{"user", "How?"}})), Error);
  static_assert(!std::is_default_constructible_v<PairView>);
}

// Trap 30: an answer that is not exactly one verdict is a failure, and never anybody's win.
TEST_CASE("pairwise: verdicts of each format, and odd answers") {
  const PairFormat ste = pair_format("self-taught-evaluator"), mt = pair_format("mt-bench"),
                   arena = pair_format("arena-hard");
  CHECK(verdict(ste, "Both are fine, but [[A]]") == 1);
  CHECK(verdict(ste, "[[B]]\n") == -1);
  CHECK(verdict(ste, "[[A]] Sure: [[A]]") == 1);
  for (const char* odd : {"", "   \n", "A", "[A]", "[[a]]", "[[A]", "[[ A ]]", "[[A]] or [[B]]", "[[C]]",
                          "I cannot say.", "\xff\xfe[["}) {
    INFO(odd);
    CHECK_FALSE(verdict(ste, odd));
  }
  CHECK(verdict(mt, "[[C]]") == 0);
  CHECK(verdict(mt, "so: [[B]].") == -1);
  CHECK_FALSE(verdict(mt, "[[A]] [[C]]"));
  CHECK(verdict(arena, "My final verdict is: [[A>>B]]") == 1);
  CHECK(verdict(arena, "[[A>B]]") == 1);
  CHECK(verdict(arena, "[[A=B]]") == 0);
  CHECK(verdict(arena, "[[B>A]]") == -1);
  CHECK(verdict(arena, "[[B>>A]] yes [[B>>A]]") == -1);
  for (const char* odd : {"[[A>>B]] [[A>B]]", "[[A]]", "[[A<B]]", "[[A>>>B]]", "A>>B"}) {
    INFO(odd);
    CHECK_FALSE(verdict(arena, odd));
  }
  CHECK(ste.read("").error == "the judge's answer is empty");
  CHECK(ste.read("hm").error == "the judge's answer holds no verdict");
  CHECK(ste.read("[[A]][[B]]").error == "the judge's answer holds more than one verdict");
}

TEST_CASE("pairwise: the one-token format reads log-probs") {
  const PairFormat alpaca = pair_format("alpaca-eval");
  const auto read = [&](std::optional<double> m, std::optional<double> other) { return alpaca.read({m, other}); };
  CHECK(read(-0.1, -2.0).verdict == Verdict::first);
  CHECK(read(-2.0, -0.1).verdict == Verdict::second);
  CHECK(read(-0.5, -0.5).verdict == Verdict::tie);
  CHECK(read(-9.0, std::nullopt).verdict == Verdict::first);
  CHECK(read(std::nullopt, -9.0).verdict == Verdict::second);
  CHECK(read(-HUGE_VAL, -9.0).verdict == Verdict::second);
  CHECK(read(-0.1, -2.0).answer == R"({"m":-0.1,"M":-2.0})");
  for (const PairJudged& failed : {read(std::nullopt, std::nullopt), read(NAN, -1.0), read(-1.0, NAN),
                                   read(-HUGE_VAL, -HUGE_VAL), read(std::nullopt, -HUGE_VAL)}) {
    CHECK_FALSE(failed.verdict);
    CHECK(failed.error != "");
  }
}

TEST_CASE("pairwise: texts are filled in once, and a conversation of several turns is written out with its roles") {
  const PairFormat format = pair_format("mt-bench");
  const Messages sent = format.conversation(game("see {response_b} and {prompt}", "[[A]]"));
  REQUIRE(sent.size() == 2);
  CHECK(sent[0].role == "system");
  CHECK(holds(sent[0].content, "[[C]]"));
  CHECK(holds(sent[1].content, "[Conversation]\nWhy?\n"));
  CHECK(holds(sent[1].content, "begin]\nsee {response_b} and {prompt}\n[Answer of assistant A: end]"));
  CHECK(holds(sent[1].content, "begin]\n[[A]]\n[Answer of assistant B: end]"));
  const Messages turns{{"system", "Be brief."}, {"user", "Hi"}, {"assistant", "Hello"}, {"user", "Why?"}};
  const Messages long_one = format.conversation(PairView(view_of("a", turns), view_of("b", turns)));
  CHECK(holds(long_one[1].content, "System: Be brief.\n\nUser: Hi\n\nAssistant: Hello\n\nUser: Why?"));
}

TEST_CASE("pairwise: template files") {
  const TempFolder folder;
  const std::string good = folder.write("judge.json", R"({"system": "", "user": "{prompt}|{response_a}|{response_b}",
    "verdicts": {"a": "(?i)first wins", "b": "(?i)second wins", "tie": "^draw$"}})");
  const PairFormat format = pair_format(good);
  CHECK(format.conversation(game("x", "y")) == Messages{{"user", "Why?|x|y"}});
  CHECK(verdict(format, "First wins!") == 1);
  CHECK(verdict(format, "the SECOND wins") == -1);
  CHECK(verdict(format, "draw") == 0);
  CHECK_FALSE(verdict(format, "a draw"));
  CHECK_FALSE(verdict(format, "first wins or second wins"));
  const auto refused = [&](const std::string& text) {
    return error_of([&] { pair_format(folder.write("bad.json", text)); });
  };
  CHECK(holds(refused("[]"), "is an object"));
  CHECK(holds(refused(R"({"user": "{prompt}{response_a}", "verdicts": {}})"), "must hold {response_b} exactly once"));
  CHECK(holds(refused(R"({"user": "{prompt}{prompt}{response_a}{response_b}"})"), "{prompt} exactly once"));
  const std::string user = R"({"user": "{prompt}{response_a}{response_b}", )";
  CHECK(holds(refused(user + R"("verdict": {}})"), "unknown key \"verdict\"; did you mean \"verdicts\"?"));
  CHECK(holds(refused(user + R"("verdicts": {"a": "x"}})"), "verdicts.b is missing"));
  CHECK(holds(refused(user + R"("verdicts": {"a": "(", "b": "x"}})"), "verdicts.a: regular expression"));
  CHECK(holds(refused(user + R"("verdicts": {"a": "y", "b": "x", "c": "z"}})"), "use a, b, tie"));
  CHECK(holds(error_of([] { pair_format("mt_bench"); }), "did you mean \"mt-bench\"?"));
  // A pattern that would run for ever is a failed verdict.
  const PairFormat slow = pair_format(folder.write("slow.json", user + R"("verdicts": {"a": "^(a+)+$", "b": "x"}})"));
  CHECK_FALSE(slow.read(std::string(60, 'a') + "!").verdict);
}

TEST_CASE("pairwise: a recipe's object is checked key by key") {
  const auto error = [](const char* text) { return error_of([&] { check_judge(Json::parse(text)); }); };
  CHECK(error(R"({"kind": "pairwise", "model": "M"})") == "");
  CHECK(error(R"({"kind": "pairwise", "model": "M", "format": "alpaca-eval", "device": "cpu", "cache": null})") == "");
  const std::string server = R"({"kind": "pairwise", "model": "M", "endpoint": "http://h:1/v1", )";
  CHECK(error((server + R"("concurrency": 8, "requests_per_minute": 60, "timeout_s": 5, "retries": 0,
    "scores": "wins", "inconsistent": "tie", "temperature": 0.5, "max_new": 9, "cache": "F"})")
                  .c_str()) == "");
  CHECK(holds(error(R"({"kind": "pairwise"})"), "judge.model: missing"));
  CHECK(holds(error(R"({"kind": "pairwise", "model": "M", "fromat": "x"})"), "did you mean judge.format?"));
  CHECK(holds(error(R"({"kind": "pairwise", "model": "M", "retries": 1})"), "judge.retries: is for an \"endpoint\""));
  CHECK(error(R"({"kind": "pairwise", "model": "M", "endpoint": null})") == "");
  CHECK(holds(error(R"({"kind": "pairwise", "model": "M", "scores": "elo"})"), "judge.scores: \"elo\" is unknown"));
  CHECK(holds(error((server + R"("concurrency": 0})").c_str()), "judge.concurrency: must be from 1"));
  CHECK(holds(error((server + R"("timeout_s": "5"})").c_str()), "judge.timeout_s: not a number"));
  CHECK(holds(error(R"({"kind": "pairwise", "model": "M", "endpoint": "h:1"})"), "must begin with http://"));
  CHECK(holds(error(R"({"kind": "pairwise", "model": "M", "endpoint": "http://k:s@h"})"), "judge.endpoint: holds a"));
  // A key that was put where its variable's name belongs is not printed.
  const std::string leaked = error((server + R"("key_env": "sk-canary-key"})").c_str());
  CHECK(holds(leaked, "judge.key_env"));
  CHECK_FALSE(holds(leaked, "canary"));
  const ScoreRule rule = parse_pairwise(Json::parse(server + R"("scores": "wins", "inconsistent": "tie"})")).rule;
  CHECK(rule.scores == GameScores::wins);
  CHECK(rule.inconsistent == Inconsistent::tie);
  CHECK_THROWS_WITH_AS(make_judge(Json::parse(R"({"kind": "pairwise", "model": "M"})")), doctest::Contains("pairwise"),
                       Error);
}

TEST_CASE("pairwise: all pairs of the valid samples play in both orders, and the verdict is turned to a's side") {
  SampleRecord broken = sample_of(1, 2, "x");
  broken.split = {std::nullopt, std::nullopt, Parse::no_marker};
  const std::vector<SampleRecord> samples{sample_of(1, 0, "a"), sample_of(1, 1, "bbb"), broken, sample_of(1, 5, "cc"),
                                          sample_of(2, 0, "lone")};
  FakePairJudge judge(longer);
  const std::vector<Prompt> prompts{prompt_of({{"user", "q"}}, 1), prompt_of({{"user", "r"}}, 2)};
  const auto games = play_games(judge, prompts, samples);
  CHECK(judge.shown == std::vector<std::string>{"a bbb", "bbb a", "a cc", "cc a", "bbb cc", "cc bbb"});
  REQUIRE(games.size() == 6);
  CHECK(dump_json(game_to_json(games[1])) ==
        R"({"id":1,"a":0,"b":1,"order":"ba","view":{"prompt":[{"role":"user","content":"q"}],"responses":["bbb","a"]},)"
        R"("answer":"by length","verdict":-1})");
  CHECK(game_to_json(games[4])["b"] == 5);
  for (const GameRecord& g : games) {
    const GameRecord again = parse_game(JsonLine(game_to_json(g), "F:1"));
    CHECK(again.for_a() == g.for_a());
    CHECK(again.judged.verdict == g.judged.verdict);
    CHECK(dump_json(game_to_json(again)) == dump_json(game_to_json(g)));
  }
  const auto scores = scores_of_games(games);
  REQUIRE(scores.size() == 3);
  CHECK(scores[1].sample == 1);
  CHECK(*scores[1].judged.score > *scores[2].judged.score);
  CHECK(*scores[2].judged.score > *scores[0].judged.score);
  CHECK(*scores[0].judged.score == -*scores[1].judged.score);
}

// Trap 31: a judge that always prefers what it reads first has said nothing.
TEST_CASE("pairwise: position bias cancels, failures are ties, and both are counted") {
  const std::vector<Prompt> prompts{prompt_of({{"user", "q"}}, 1)};
  const std::vector<SampleRecord> samples{sample_of(1, 0, "a"), sample_of(1, 1, "bb"), sample_of(1, 2, "ccc")};
  FakePairJudge first_always([](const std::string&, const std::string&) { return PairJudged{Verdict::first, "", ""}; });
  auto games = play_games(first_always, prompts, samples);
  GameSummary s = summarise_games(games);
  CHECK(s.games == 6);
  CHECK(s.pairs == 3);
  CHECK(s.consistency() == 0.0);
  CHECK(s.first_rate() == 1.0);
  for (const GameScores how : {GameScores::bt, GameScores::wins})
    for (const JudgmentRecord& j : scores_of_games(games, {how, Inconsistent::keep}))
      CHECK(*j.judged.score == (how == GameScores::bt ? 0.0 : 0.5));

  FakePairJudge broken([](const std::string& a, const std::string& b) {
    if (a == "ccc" || b == "ccc") return PairJudged{std::nullopt, "no verdict", ""};
    return longer(a, b);
  });
  games = play_games(broken, prompts, samples);
  s = summarise_games(games);
  CHECK(s.errors == 4);
  CHECK(s.ties == 0);
  CHECK(s.pairs == 1);
  CHECK(s.consistency() == 1.0);
  CHECK(s.first_rate() == 0.5);
  CHECK(!summarise_games({}).consistency());
  CHECK(!summarise_games({}).first_rate());
  CHECK(game_summary_to_json(summarise_games({})).at("first_rate").is_null());
  auto scores = scores_of_games(games);
  CHECK(*scores[1].judged.score > *scores[2].judged.score);
  CHECK(*scores[2].judged.score == 0.0);
  scores = scores_of_games(games, {GameScores::wins, Inconsistent::keep});
  CHECK(*scores[0].judged.score == 0.25);
  CHECK(*scores[1].judged.score == 0.75);
  CHECK(*scores[2].judged.score == 0.5);

  FakePairJudge all_broken([](const std::string&, const std::string&) {
    return PairJudged{std::nullopt, "no verdict", ""};
  });
  CHECK(error_of([&] { play_games(all_broken, prompts, samples); }) ==
        "the judge gave no verdict in any of 6 games; the first reason, at prompt 1: no verdict");
  CHECK(play_games(all_broken, prompts, {samples[0]}).empty());  // no games: nothing failed
}

TEST_CASE("pairwise: \"inconsistent\": \"tie\" voids pairs whose orders disagree") {
  const std::vector<Prompt> prompts{prompt_of({{"user", "q"}}, 1)};
  const std::vector<SampleRecord> samples{sample_of(1, 0, "a"), sample_of(1, 1, "b")};
  // b wins when it is shown second, and it is a tie when it is shown first.
  FakePairJudge judge([](const std::string& first, const std::string&) {
    return PairJudged{first == "a" ? Verdict::second : Verdict::tie, "", ""};
  });
  const auto games = play_games(judge, prompts, samples);
  CHECK(*scores_of_games(games, {GameScores::wins, Inconsistent::keep})[1].judged.score == 0.75);
  CHECK(*scores_of_games(games, {GameScores::wins, Inconsistent::tie})[1].judged.score == 0.5);
  CHECK(*scores_of_games(games, {GameScores::bt, Inconsistent::keep})[1].judged.score > 0.5);
  CHECK(*scores_of_games(games, {GameScores::bt, Inconsistent::tie})[1].judged.score == 0.0);
  // A pair that played in one order only has nothing to disagree with.
  const auto won = std::find_if(games.begin(), games.end(), [](const GameRecord& g) { return g.for_a() != 0; });
  REQUIRE(won != games.end());
  CHECK(*scores_of_games({*won}, {GameScores::wins, Inconsistent::tie})[1].judged.score == 1.0);
}

TEST_CASE("pairwise: judgments.jsonl of games gives one score a sample; damaged lines are named") {
  const TempFolder folder;
  const std::string good = R"({"id":1,"a":0,"b":1,"order":"ab","view":{},"answer":"","verdict":1})"
                           "\n"
                           R"({"id":1,"a":0,"b":1,"order":"ba","view":{},"answer":"?","error":"no verdict"})"
                           "\n";
  const auto scores = read_judgments(folder.write("J", good), {GameScores::wins, Inconsistent::keep});
  REQUIRE(scores.size() == 2);
  CHECK(*scores[0].judged.score == 0.75);
  // The second game by the other names, 1 before 0: the same game, and of the same pair.
  const std::string won = R"({"id":1,"a":0,"b":1,"order":"ab","view":{},"verdict":1})"
                          "\n";
  const std::string same = won + R"({"id":1,"a":0,"b":1,"order":"ba","view":{},"verdict":1})"
                                 "\n",
                    turned = won + R"({"id":1,"a":1,"b":0,"order":"ab","view":{},"verdict":-1})"
                                   "\n";
  for (const std::string& text : {same, turned}) {
    const std::vector<GameRecord> games = read_judgment_file(folder.write("J", text)).games;
    REQUIRE(games.size() == 2);
    CHECK(games[1].for_a() == 1);
    CHECK(summarise_games(games).consistency() == 1.0);
  }
  const auto error = [&](const std::string& line) {
    return error_of([&] { read_judgments(folder.write("J", good + line + "\n")); });
  };
  CHECK(holds(error(R"({"id":1,"a":0,"b":0,"order":"ab","view":{},"verdict":1})"), "J:3: \"a\" and \"b\""));
  CHECK(holds(error(R"({"id":1,"a":0,"b":1,"order":"AB","view":{},"verdict":1})"), "J:3: \"order\""));
  CHECK(holds(error(R"({"id":1,"a":0,"b":1,"order":"ab","view":{},"verdict":2})"), "J:3: \"verdict\""));
  CHECK(holds(error(R"({"id":1,"a":0,"b":1,"order":"ab","view":{}})"), "J:3: \"error\""));
  CHECK(holds(error(R"({"id":1,"sample":0,"view":{},"score":1})"), "J:3: the file mixes"));
  CHECK(holds(error(R"({"id":1,"a":0,"b":1,"order":"ab","view":{},"verdict":-1})"), "J:3: this sample, or pair"));
  CHECK(error(R"({"id":1,"a":0,"b":2,"order":"ab","view":{},"verdict":1})").empty());
  CHECK(holds(error(R"({"id":1,"a":0,"b":2,"order":"ab","view":{"responses":["x","y"]},"verdict":1})"),
              "sample 0 of prompt 1 was shown with two responses"));
  const std::string one = R"({"id":1,"sample":0,"view":{},"score":1})";
  CHECK(holds(error_of([&] { read_judgments(folder.write("J", one + "\n" + one + "\n")); }), "J:2: this sample, or"));
}

TEST_CASE("pairwise: against an opponent a score is the win rate over both orders") {
  FakePairJudge judge([](const std::string& first, const std::string& second) {
    if (first == "mute" && second == "bb") return PairJudged{std::nullopt, "broken", ""};
    if (first == "silent" || second == "silent") return PairJudged{std::nullopt, "broken", ""};
    return longer(first, second);
  });
  std::vector<Prompt> prompts;
  std::vector<SampleRecord> theirs;
  for (int i = 0; i < 6; ++i) {
    prompts.push_back(prompt_of({{"user", "q" + std::to_string(i)}}, i));
    theirs.push_back(sample_of(i, 0, "bb"));
  }
  theirs[4].split = {std::nullopt, std::nullopt, Parse::no_end};
  OpponentJudge pointwise(judge);
  pointwise.add(prompts, theirs);
  std::vector<JudgeView> ours;
  const char* const responses[] = {"aaa", "a", "bb", "mute", "?", "silent"};
  for (int i = 0; i < 6; ++i) ours.push_back(view_of(responses[i], prompts[i].messages));
  const auto judged = pointwise.judge(ours);
  CHECK(*judged[0].score == 1.0);
  CHECK(*judged[1].score == 0.0);
  CHECK(*judged[2].score == 0.5);
  CHECK(*judged[3].score == 0.75);  // won one, the other had no verdict
  CHECK(*judged[4].score == 1.0);   // the opponent's output did not parse
  CHECK_FALSE(judged[5].score);
  CHECK(judged[5].error == "broken");
  CHECK(judge.shown.size() == 8);  // not the equal one, not the one without an opponent
  std::vector<Prompt> twins{prompts[0], prompts[0]};
  twins[1].id = 7;
  const std::vector<SampleRecord> outputs{sample_of(0, 0, "bb"), sample_of(7, 0, "cc")};
  OpponentJudge confused(judge);
  CHECK(holds(error_of([&] { confused.add(twins, outputs); }), "prompts 0 and 7 are the same text"));
  const JudgeView stranger = view_of("x", {{"user", "new"}});
  CHECK(holds(error_of([&] { pointwise.judge({&stranger, 1}); }), "no output for the prompt \"new\""));
}

TEST_CASE("cache: a verdict is asked for once, by views, formats and models; equal views share it") {
  const TempFolder folder;
  const std::string cache = folder / "cache.jsonl";
  const std::vector<PairView> views{game("a", "b"), game("b", "a"), game("a", "b")};
  {
    Asked first = judge_with({{"[[A]]", {}, ""}, {"hm", {}, ""}}, cache);
    const auto judged = ask(first.judge, views);
    CHECK(first.chat->asked == 2);
    CHECK(judged[0].verdict == Verdict::first);
    CHECK_FALSE(judged[1].verdict);
    CHECK(judged[2].verdict == Verdict::first);
    ask(first.judge, views);
    CHECK(first.chat->asked == 2);
  }
  Asked second = judge_with({{"[[B]]", {}, ""}}, cache);
  const auto judged = ask(second.judge, views);
  CHECK(second.chat->asked == 0);
  CHECK(judged[0].verdict == Verdict::first);
  CHECK(judged[0].answer == "[[A]]");
  CHECK(judged[1].error == "the judge's answer holds no verdict");
  Asked other_model = judge_with({{"[[B]]", {}, ""}}, cache, "mt-bench", "n");
  CHECK(ask(other_model.judge, views)[0].verdict == Verdict::second);
  CHECK(other_model.chat->asked == 2);
  Asked other_format = judge_with({{"[[B]]", {}, ""}}, cache, "self-taught-evaluator");
  ask(other_format.judge, views);
  CHECK(other_format.chat->asked == 2);
  CHECK(read_jsonl(cache).size() == 6);
  // A model trained anew at the same place.
  const TempFolder place;
  place.write("config.json", "{}");
  for (const char* weights : {"before", "after", "after"}) {
    place.write("model.safetensors", weights);
    Asked local = judge_with({{"[[A]]", {}, ""}}, folder / "local.jsonl", "mt-bench", "m", model_hashes(place.path()));
    ask(local.judge, {game("a", "b")});
  }
  CHECK(read_jsonl(folder / "local.jsonl").size() == 2);
  Asked no_file = judge_with({{"[[B]]", {}, ""}}, "");
  ask(no_file.judge, views);
  CHECK(no_file.chat->asked == 2);
}

TEST_CASE("cache: what was judged before a dead judge is kept; a failed request is asked again") {
  const TempFolder folder;
  const std::string cache = folder / "cache.jsonl";
  const std::vector<PairView> views{game("a", "b"), game("b", "a"), game("a", "c")};
  Asked dying = judge_with({{"[[A]]", {}, ""}, {"", {}, "HTTP 500"}, {"", {}, "dead"}}, cache);
  CHECK(error_of([&] { ask(dying.judge, views); }) == "dead");
  CHECK(read_jsonl(cache).size() == 1);
  Asked next = judge_with({{"", {}, "HTTP 500"}, {"[[B]]", {}, ""}}, cache);
  const auto judged = ask(next.judge, views);
  CHECK(next.chat->asked == 2);
  CHECK(judged[0].verdict == Verdict::first);
  CHECK(judged[1].error == "HTTP 500");
  CHECK(judged[2].verdict == Verdict::second);
  CHECK(read_jsonl(cache).size() == 2);
}

TEST_CASE("cache: a torn last line is cut off, other damage is named") {
  const TempFolder folder;
  const std::string cache = folder / "cache.jsonl";
  const std::vector<PairView> views{game("a", "b"), game("b", "a")};
  {
    Asked first = judge_with({{"[[A]]", {}, ""}}, cache);
    ask(first.judge, views);
  }
  const std::string whole = read_text_file(cache);
  for (const size_t cut : {size_t{1}, size_t{20}, whole.size() / 2 - 1}) {
    folder.write("cache.jsonl", whole.substr(0, whole.size() - cut));
    Asked again = judge_with({{"[[A]]", {}, ""}}, cache);
    ask(again.judge, views);
    CHECK(again.chat->asked == 1);
    CHECK(read_text_file(cache) == whole);
  }
  folder.write("cache.jsonl", "{\"key\n" + whole);
  Asked damaged = judge_with({{"[[A]]", {}, ""}}, cache);
  CHECK(holds(error_of([&] { ask(damaged.judge, views); }), cache + ":1: "));
  CHECK(sha256("\"abc\"") == "6cc43f858fbb763301637b5af970e2a46b46f461f27e5a0f41e009c59b827b25");
}

TEST_CASE("pairwise: a local model answers, the same alone and in company; log-probs are those of one forward") {
  const tiny::World world;
  ChatOptions options{.temperature = 1.0, .max_new = 8, .choices = {}};
  LocalChat chat(world.folder / "seed", "cpu", options);
  const std::vector<ChatQuestion> questions{{{{"user", "abc"}}, 5}, {{{"user", "ha"}}, 6}};
  std::vector<std::string> together(2), alone(2);
  chat.ask(questions, [&](size_t i, const ChatReply& r) { together[i] = r.text; });
  for (size_t q = 0; q < 2; ++q)
    chat.ask(std::span(questions).subspan(q, 1), [&](size_t, const ChatReply& r) { alone[q] = r.text; });
  CHECK(together == alone);
  CHECK(together[0] != "");

  const std::vector<ChatQuestion> bad{{{{"user", std::string(200, 'a')}}, 1}, {{{"user", "ab"}}, 2}};
  std::vector<ChatReply> replies(2);
  chat.ask(bad, [&](size_t i, const ChatReply& r) { replies[i] = r; });
  CHECK(holds(replies[0].error, "fill the judge's context of 128"));
  CHECK(replies[1].error == "");

  LocalChat weigher(world.folder / "seed", "cpu", {.temperature = 0, .max_new = 1, .choices = {"a", "m"}});
  std::vector<std::optional<double>> logprobs;
  weigher.ask(std::span(questions).first(1), [&](size_t, const ChatReply& r) { logprobs = r.logprobs; });
  REQUIRE(logprobs.size() == 2);
  const Model model = world.open();
  const auto a = model.text.tokenizer.encode("a", SpecialText::Plain)[0];
  GenerateOptions forced;
  forced.max_new = 1;
  forced.control = [&](const GeneratedSample&) { return NextToken{{a}, false}; };
  const auto drawn = generate(model.net, {{model.text.prompt_ids({{"user", "abc"}})}}, forced);
  CHECK(*logprobs[0] == doctest::Approx(drawn[0].logprobs[0]).epsilon(1e-4));
  LocalChat missing(world.folder / "nowhere", "cpu", options);
  CHECK(holds(error_of([&] { missing.ask(questions, {}); }), "nowhere"));
}
