#include "tpo/report/report.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <limits>
#include <memory>

#include "tensor/check.h"
#include "tensor/file.h"
#include "tests/tpo/page_text.h"
#include "tpo/report/arms.h"
#include "tpo/report/html.h"
#include "tpo/report/run_data.h"
#include "tpo/report/sections.h"
#include "tpo/report/svg.h"

using namespace thinker;
using namespace thinker::report;
using test::contains;
using test::kScript;
using test::occurrences;

namespace {

namespace fs = std::filesystem;

/// A made-up run, small enough to know every number of it.
class MadeUpRun {
 public:
  explicit MadeUpRun(const std::string& name, const std::string& thought = "generic", int seed = 7)
      : root_(fs::temp_directory_path() / ("thinker-report-" + std::to_string(::getpid()))), folder(root_ / name) {
    fs::create_directories(folder);
    write("recipe.json", Json{{"name", name},
                              {"seed", seed},
                              {"thought", thought},
                              {"model", "models/tiny"},
                              {"iterations", 1},
                              {"judge", {{"kind", "rule"}}},
                              {"warmup", {{"samples", 0}}}}
                             .dump());
  }
  ~MadeUpRun() { fs::remove_all(folder); }

  void write(const std::string& file, const std::string& content) const {
    fs::create_directories((folder / file).parent_path());
    write_file_atomically((folder / file).string(), content);
  }
  void write_lines(const std::string& file, const std::vector<Json>& lines) const {
    std::string content;
    for (const Json& line : lines) content += line.dump() + "\n";
    write(file, content);
  }

  static Json sample(const Json& id, int64_t sample, const std::string& thought, const std::string& response) {
    return {{"id", id},           {"sample", sample},     {"prompt_ids", {1}},
            {"ids", {2}},         {"logprobs", {-0.5}},   {"text", thought + "<R>" + response},
            {"thought", thought}, {"response", response}, {"parse", "ok"},
            {"stop", "end"}};
  }
  static Json unparsed(const Json& id, int64_t number, const std::string& output) {
    Json line = sample(id, number, "", "");
    line["text"] = output;
    line["thought"] = line["response"] = nullptr;
    line["parse"] = "no_marker";
    return line;
  }
  static Json eval(const Json& id, const std::string& category, double score) {
    Json line = sample(id, 0, "four", "answer");
    line["category"] = category;
    line["attempts"] = 1;
    line["first_parse"] = "ok";
    line["score"] = score;
    return line;
  }

  void write_eval(const std::string& file, const std::vector<double>& scores) const {
    std::vector<Json> lines;
    for (size_t i = 0; i < scores.size(); ++i)
      lines.push_back(eval("test-" + std::to_string(i), i % 2 ? "odd" : "even", scores[i]));
    write_lines(file, lines);
  }

  /// All that a finished run leaves.
  void finish() const {
    write_eval("iter-0/eval_direct.jsonl", {1, 0, 0, 0});
    write_eval("iter-0/eval.jsonl", {0, 0, 0, 0});
    write_lines("iter-1/prompts.jsonl", {{{"id", "p<b>1</b>"}, {"category", "even"}, {"prompt", "Which way? <i>"}},
                                         {{"id", 2}, {"category", "odd"}, {"prompt", "And now?"}}});
    write_lines("iter-1/samples.jsonl", {sample("p<b>1</b>", 0, "hidden-thought", "good-answer"),
                                         sample("p<b>1</b>", 1, "", kScript), unparsed(2, 0, "unparsed-output")});
    write_lines(
        "iter-1/judgments.jsonl",
        {{{"id", "p<b>1</b>"}, {"sample", 0}, {"view", Json::object()}, {"answer", ""}, {"score", 0.75}},
         {{"id", "p<b>1</b>"}, {"sample", 1}, {"view", Json::object()}, {"answer", ""}, {"error", "judge <broke>"}}});
    write_lines("iter-1/pairs.jsonl", {{{"id", "p<b>1</b>"}, {"chosen_sample", 0}, {"rejected_sample", 1}}});
    write("iter-1/checkpoint/config.json", "{}");
    // Not {1, 1, 1, 0}: g++ 12.2 -O3 -march=znver3 stores that list as four ones here (right with
    // -fno-tree-slp-vectorize).
    write_eval("iter-1/eval.jsonl", {1, 0.5, 1, 0.5});
    write_lines("log.jsonl", log());
  }

  static std::vector<Json> log() {
    std::vector<Json> lines{{{"iteration", 1},
                             {"stage", "pair"},
                             {"prompts", 2},
                             {"pairs", 1},
                             {"failure_pairs", 0},
                             {"too_few_valid", 1},
                             {"equal_scores", 0},
                             {"equal_texts", 0},
                             {"not_better", 0},
                             {"rho", 0.25},
                             {"mean_chosen_length", 11},
                             {"mean_rejected_length", 25},
                             {"rho_trials",
                              {{{"rho", 0}, {"pairs", 1}, {"chosen_length", 31.5}, {"rejected_length", 24}},
                               {{"rho", 0.25}, {"pairs", 1}, {"chosen_length", 11}, {"rejected_length", 25}}}}}};
    for (int step = 1; step <= 3; ++step) {
      lines.push_back({{"iteration", 1},
                       {"stage", "train"},
                       {"step", step},
                       {"epoch", 1},
                       {"loss", 0.6931 / step},
                       {"margin", 0.1 * step},
                       {"logp_chosen", -20.5},
                       {"logp_rejected", -31.25},
                       {"accuracy", 0.5}});
    }
    lines.push_back({{"iteration", 1},
                     {"stage", "train"},
                     {"select_epoch", 1},
                     {"score", 0.5},
                     {"low", 0.25},
                     {"high", 0.625},
                     {"parse_rate", 1}});
    return lines;
  }

 private:
  fs::path root_;

 public:
  fs::path folder;
};

std::string page_of(const std::vector<std::string>& folders, const std::string& title = "") {
  return report_page(experiment_of_runs(folders, title));
}

/// Every tag is closed by its own, in order: a crude check that catches a forgotten end.
void check_balanced(const std::string& page) {
  std::vector<std::string> open;
  const std::string body = page.substr(page.find("<body>"));
  for (size_t at = body.find('<'); at != body.npos; at = body.find('<', at + 1)) {
    const size_t end = body.find_first_of(" >", at);
    const std::string tag = body.substr(at + 1, end - at - 1);
    if (tag.starts_with("/")) {
      if (tag == "/html") break;
      REQUIRE(!open.empty());
      REQUIRE(open.back() == tag.substr(1));
      open.pop_back();
    } else {
      open.push_back(tag);
    }
  }
  CHECK(open.empty());
}

}  // namespace

TEST_CASE("report: a run's numbers are read and measured") {
  const MadeUpRun made("thought");
  made.finish();
  const RunData run = read_run(made.folder.string());
  CHECK(run.name == made.folder.string());
  CHECK(run.seed == 7);
  CHECK(run.thinks);
  for (const std::string& what : run.missing) MESSAGE(what);
  CHECK(run.missing.empty());
  REQUIRE(run.evaluations.size() == 3);
  REQUIRE(run.last_trained());
  CHECK(run.last_trained()->summary.score == doctest::Approx(0.75));
  CHECK(run.last_trained()->categories.at("even").mean == doctest::Approx(1.0));
  CHECK(run.last_trained()->categories.at("odd").mean == doctest::Approx(0.5));
  CHECK(run.last_trained()->categories.at("odd").count == 2);
  CHECK(run.last_trained()->thought_length.mean == doctest::Approx(4));
  CHECK(run.last_trained()->response_length.mean == doctest::Approx(6));
  CHECK(stage_name(run, run.evaluations[1]) == "seed, thinking");
  REQUIRE(run.iterations.size() == 1);
  CHECK(run.iterations[0].steps.size() == 3);
  CHECK(run.iterations[0].pairing->rho == doctest::Approx(0.25));
  CHECK(run.iterations[0].selections.at(0).interval.high == doctest::Approx(0.625));

  const Measured d = measure(PairedScores(*run.last_trained(), run.evaluations[0]).all, run.seed);
  CHECK(d.count == 4);
  CHECK(d.mean == doctest::Approx(0.5));
  // The interval is that of the differences, not that of two independent means.
  const std::vector<double> differences{0, 0.5, 1, 0.5};
  CHECK(d.interval.low == bootstrap_interval(differences, run.seed).low);
}

TEST_CASE("report: the page shows a run, and hostile text stays text") {
  const MadeUpRun made("thought");
  made.finish();
  const std::string page = page_of({made.folder.string()}, kScript);
  check_balanced(page);
  CHECK(!contains(page, "<script"));
  CHECK(!contains(page, "<b>1"));
  CHECK(!contains(page, "<broke"));
  CHECK(contains(page, "&lt;script&gt;alert(1)&lt;/script&gt;"));
  CHECK(contains(page, "0.750 ["));
  CHECK(contains(page, "0.6931"));
  CHECK(contains(page, "-31.25"));
  CHECK(contains(page, "sample 0 · score 0.750"));
  CHECK(contains(page, "no score: judge &lt;broke&gt;"));
  CHECK(contains(page, "does not parse: no_marker"));
  CHECK(contains(page, "unparsed-output"));
  CHECK(occurrences(page, "class=\"badge chosen\"") == 1);
  CHECK(occurrences(page, "class=\"badge rejected\"") == 1);
  CHECK(!contains(page, "What is not there"));
  // The thought stands in a folded element, the response does not.
  const size_t thought = page.find("hidden-thought"), folded = page.rfind("<details>", thought),
               unfolded = page.rfind("</details>", thought);
  CHECK(folded > unfolded);
  CHECK(page.find("</details>", thought) < page.find("good-answer", thought));
  // Self-contained: nothing is loaded.
  for (const char* loader : {"src=", "href=", "url(", "@import", "http:", "https:"}) CHECK(!contains(page, loader));
  CHECK(contains(page, "<td class=\"label\">at the end</td><td class=\"label\">seed, thinking</td>"));
  CHECK(!contains(page, "thought: mean score"));  // one run alone is not named in every line
  CHECK(contains(page, "default-src 'none'"));
}

TEST_CASE("report: where the judge scored nothing there is no score, not one of 0") {
  const MadeUpRun made("unscored");
  made.finish();
  Json failed = MadeUpRun::eval("test-0", "even", 0);
  failed.erase("score");
  failed["error"] = "the judge is gone";
  Json lost = MadeUpRun::unparsed("test-1", 0, "rambling");  // a 0 that says nothing of the others
  lost.update({{"category", "odd"}, {"attempts", 3}, {"first_parse", "no_marker"}, {"score", 0}});
  for (const char* file : {"iter-0/eval_direct.jsonl", "iter-0/eval.jsonl", "iter-1/eval.jsonl"})
    made.write_lines(file, {failed, lost});
  const RunData run = read_run(made.folder.string());
  CHECK(!score_of(run.evaluations[0]));
  CHECK(run.evaluations[0].categories.empty());
  const std::string page = page_of({made.folder.string()});
  check_balanced(page);
  for (const char* zero : {">0.000", " 0.000", "score 0.000"}) CHECK(!contains(page, zero));
}

TEST_CASE("report: the browser's scores of games are by the recipe's rule") {
  const MadeUpRun made("games");
  made.finish();
  const auto game = [](int a, int b, const char* order, int verdict) {
    return Json{{"id", 2},           {"a", a}, {"b", b}, {"order", order}, {"view", Json::object()}, {"answer", ""},
                {"verdict", verdict}};
  };
  made.write_lines("iter-1/samples.jsonl", {MadeUpRun::sample(2, 0, "", "x"), MadeUpRun::sample(2, 1, "", "y")});
  made.write_lines("iter-1/judgments.jsonl", {game(0, 1, "ab", 1), game(0, 1, "ba", 1)});
  made.write_lines("iter-1/pairs.jsonl", {});
  const Json judge{{"kind", "pairwise"}, {"model", "m"}, {"scores", "wins"}};
  made.write("recipe.json", Json{{"name", "games"}, {"judge", judge}}.dump());
  const RunData run = read_run(made.folder.string());
  CHECK(*run.iterations.at(0).judgments.at(0).judged.score == 1.0);  // by Bradley and Terry above 2
}

TEST_CASE("report: two runs are drawn together and compared on the same prompts") {
  const MadeUpRun a("thought"), b("direct", "none");
  a.finish();
  b.write_eval("iter-0/eval.jsonl", {1, 0, 0, 0});
  b.write_eval("iter-1/eval.jsonl", {1, 0, 0, 0});
  const std::string page = page_of({a.folder.string(), b.folder.string()});
  check_balanced(page);
  CHECK(contains(page, "At the end thought minus direct is +0.500 ["));
  CHECK(contains(page, "<th class=\"label\" scope=\"col\">thought prompt</th>"));  // what sets the arms apart
  CHECK(contains(page, "<title>Thought Preference Optimization: thought, direct</title>"));
  CHECK(!contains(page, "not compared"));
}

TEST_CASE("report: runs of other judges or other held-out prompts are shown, and not compared") {
  const MadeUpRun a("thought"), b("direct", "none");
  a.finish();
  b.write_eval("iter-1/eval.jsonl", {-1, -2, -3});
  const auto judged_by = [&](const Json& judge) {
    Json recipe = parse_json(read_text_file((b.folder / "recipe.json").string()), "recipe.json");
    recipe["judge"] = judge;
    b.write("recipe.json", recipe.dump());
  };
  const auto page = [&] { return page_of({a.folder.string(), b.folder.string()}); };
  const auto markdown = [&] { return report_markdown(experiment_of_runs({a.folder.string(), b.folder.string()}, "")); };
  CHECK(contains(page(), "thought minus direct is"));
  CHECK(contains(page(), "<td class=\"number\">2, 1</td>"));  // outputs of the odd category, of each arm
  judged_by({{"kind", "rule"}, {"timeout_s", 5}});
  CHECK(contains(page(), "thought minus direct is"));
  judged_by({{"kind", "answer"}});
  CHECK(!contains(page(), "thought minus direct is"));
  CHECK(!contains(page(), "Win rates at the end"));
  CHECK(contains(page(), "thought and direct are not compared: their judges differ."));
  CHECK(contains(markdown(), "- not compared: thought, direct: their judges differ"));
  judged_by({{"kind", "rule"}});
  a.write("iter-0/prompts.jsonl", "{\"id\": \"test-0\", \"prompt\": \"A?\"}\n");
  b.write("iter-0/prompts.jsonl", "{\"id\": \"test-0\", \"prompt\": \"B?\"}\n");
  CHECK(contains(page(), "thought and direct are not compared: their held-out prompts differ."));
}

TEST_CASE("report: an unfinished run says what is not there") {
  const MadeUpRun made("begun");
  std::string page = page_of({made.folder.string()});
  check_balanced(page);
  CHECK(contains(page, "<li>log.jsonl is not there"));
  CHECK(contains(page, "of 1 planned iterations, 0 have begun"));
  CHECK(contains(page, "there is no evaluation on held-out prompts"));

  made.write_eval("iter-0/eval.jsonl", {0, 1});
  made.write("iter-1/prompts.jsonl", "{\"id\": 1, \"prompt\": \"Hello\"}\n");
  made.write("log.jsonl",
             "{\"iteration\": 0, \"stage\": \"warmup\", \"samples\": 10, \"kept\": 9}\n{\"iteration\": 1, \"sta");
  page = page_of({made.folder.string()});
  check_balanced(page);
  CHECK(contains(page, "<li>iter-1/samples.jsonl is not there"));
  CHECK(contains(page, "<li>iter-1/eval.jsonl is not there"));
  CHECK(contains(page, "<li>iter-0/eval_direct.jsonl is not there"));
  CHECK(contains(page, "<li>iter-1: the training is not finished"));
  CHECK(contains(page, "log.jsonl ends within a line"));
  CHECK(contains(page, "9 of 10 forced samples were kept"));
  CHECK(contains(page, "no trained model has been evaluated yet"));
}

TEST_CASE("report: broken files are named with their line") {
  const MadeUpRun made("broken");
  const std::string folder = made.folder.string();
  CHECK_THROWS_WITH_AS(page_of({}), doctest::Contains("at least one run"), Error);
  CHECK_THROWS_WITH_AS(page_of({folder + "-not"}), doctest::Contains("holds no recipe.json"), Error);
  made.write("log.jsonl", "\n{\"iteration\": 1}\n");
  CHECK_THROWS_WITH_AS(page_of({folder}), doctest::Contains("log.jsonl:2: \"stage\" is missing"), Error);
  made.write("log.jsonl", "{]\n");
  CHECK_THROWS_WITH_AS(page_of({folder}), doctest::Contains("log.jsonl:1: broken JSON"), Error);
  made.write("log.jsonl", "");
  made.write("iter-1/pairs.jsonl", "{\"id\": 1, \"chosen_sample\": 0}\n");
  CHECK_THROWS_WITH_AS(page_of({folder}), doctest::Contains("pairs.jsonl:1: \"rejected_sample\" is missing"), Error);
  made.write("iter-1/pairs.jsonl", "");
  made.write("iter-0/eval.jsonl", "{}\n");
  CHECK_THROWS_WITH_AS(page_of({folder}), doctest::Contains("eval.jsonl:1: \"id\" is missing"), Error);
  made.write("iter-0/eval.jsonl", "");
  made.write("recipe.json", "[]\n");
  CHECK_THROWS_WITH_AS(page_of({folder}), doctest::Contains("recipe.json: a recipe is a JSON object"), Error);
  for (const std::string section : {"pairs", "judge", "warmup", "dpo"}) {
    made.write("recipe.json", "{\"" + section + "\": [{}]}\n");
    const std::string expected = "recipe.json: " + section + ": is not an object";
    CHECK_THROWS_WITH_AS(page_of({folder}), doctest::Contains(expected.c_str()), Error);
  }
}

namespace {

/// Two arms of three seeds; the first seed's run is whole.
Experiment three_seeds(std::vector<std::unique_ptr<MadeUpRun>>& keep) {
  Experiment e;
  e.title = "Three | seeds";
  e.introduction = {"Words with <b>markup</b> & a | bar."};
  e.seed_recipe = {{"mix", {{"useful", 0.25}}}, {"note", kScript}};
  e.claims = {{"a", Claim::Kind::set_up, true, "it starts below"}, {"b", Claim::Kind::finding, false, kScript}};
  e.exhibits = {
      {"Kinds <i>", kScript, "% of all", {{"draft | <u>", {2.5, 97.5}}}, {"kind", "<s>"}, {{"draft | x", "1"}}}};
  for (const char* arm : {"direct", "thinking"}) {
    e.arms.push_back({arm, concat(arm, " arm"), {}});
    for (int seed = 11; seed <= 13; ++seed) {
      keep.push_back(std::make_unique<MadeUpRun>(concat(arm, seed), e.arms.size() == 1 ? "none" : "generic", seed));
      const MadeUpRun& run = *keep.back();
      run.finish();
      const double end = e.arms.size() == 1 ? 0.25 : 0.75;
      run.write_eval("iter-1/eval.jsonl", {end + 0.01 * (seed - 12), end + 0.01 * (seed - 12)});
      run.write_eval("iter-0/eval.jsonl", {0.5, 0.0});
      e.arms.back().runs.push_back(run.folder.string());
    }
  }
  return e;
}

}  // namespace

TEST_CASE(
    "report: an interval over seeds is Student's t, or the prompts' where that is wider, within the values' range") {
  CHECK(student_t(2) == doctest::Approx(4.303));
  CHECK(student_t(11) == doctest::Approx(2.201).epsilon(0.002));
  CHECK(student_t(1000) == doctest::Approx(1.962).epsilon(0.001));
  const auto at = [](double x, double half) { return Measured{x, {x - half, x + half}, 10, {0, 1}}; };
  const Measured wide = over_seeds({at(0.4, 0.01), at(0.5, 0.01), at(0.6, 0.01)});
  CHECK(wide.mean == doctest::Approx(0.5));
  CHECK(wide.count == 30);
  CHECK(wide.interval.high - 0.5 == doctest::Approx(4.303 * 0.1 / std::sqrt(3.0)));
  const Measured lucky = over_seeds({at(0.5, 0.03), at(0.5, 0.03), at(0.5, 0.03)});
  CHECK(lucky.interval.high - 0.5 == doctest::Approx(0.03 / std::sqrt(3.0)));
  CHECK(over_seeds({at(0.8, 0.01), at(1.0, 0.0)}).interval.high == 1.0);
  CHECK(over_seeds({at(0.3, 0.1)}).interval.low == doctest::Approx(0.2));
  CHECK_THROWS_AS(over_seeds({}), Error);
}

TEST_CASE("report: a hash in the recipe is told by its first digits, and whole in recipe.json") {
  const MadeUpRun run("hashes");
  run.finish();
  const std::string hash = "0123abcd" + std::string(56, '7');
  run.write("recipe.json", Json{{"name", "hashes"}, {"model", "models/" + hash}, {"thought", hash + "0"}}.dump());
  const std::string page = page_of({run.folder.string()});
  CHECK(contains(page, "<td class=\"label\">models/0123abcd\u2026</td>"));
  CHECK(contains(page, "<td class=\"label\">" + hash + "0, format -</td>"));  // longer: no hash
  CHECK(occurrences(page, "models/" + hash) == 1);
}

TEST_CASE("report: a difference is higher or lower when its interval is, and there are prompts enough") {
  CHECK(verdict({0.5, {0.4, 0.6}, 10}) == "higher");
  CHECK(verdict({-0.5, {-0.6, -0.4}, 10}) == "lower");
  CHECK(verdict({0.5, {0.0, 0.6}, 10}) == "not told apart");
  CHECK(verdict({0.5, {0.4, 0.6}, 9}) == "too few prompts to tell");
}

TEST_CASE("report: arms of several seeds, claims, the seed model's recipe") {
  std::vector<std::unique_ptr<MadeUpRun>> keep;
  Experiment e = three_seeds(keep);
  const std::string page = report_page(e);
  check_balanced(page);
  CHECK(!contains(page, "<script"));
  CHECK(!contains(page, "<b>markup"));
  CHECK(contains(
      page, "(a) <span class=\"badge good\">\u2713 held</span> <span class=\"badge\">set-up</span> it starts below"));
  CHECK(contains(page, "(b) <span class=\"badge bad\">\u2717 not held</span> &lt;script&gt;"));
  CHECK(contains(page, "mix.useful"));
  CHECK(occurrences(page, "<p>rho is fixed by the recipe.</p>") == 1);  // said once for both arms
  CHECK(contains(page, "0.740, 0.750, 0.760"));                         // each seed, in the table
  // Win rates of each seed's four prompts, all won; at equal lengths the fit holds a certain winner back a little.
  CHECK(contains(page, "<td class=\"number\">1.000 [1.000, 1.000]</td><td class=\"number\">0.9"));
  CHECK(contains(page, "What each rho would make of the lengths, last iteration, thinking arm"));
  CHECK(contains(page, "<td class=\"number\">31.5</td>"));
  // The experiment's own exhibit: a chart and a table, of data that cannot become markup.
  CHECK(contains(page, "<h2>Kinds &lt;i&gt;</h2>"));
  CHECK(contains(page, "draft | &lt;u&gt;, iteration 1: 97.5"));
  CHECK(contains(page, "&lt;s&gt;"));
  CHECK(occurrences(page, "class=\"thin\"") >= 6);
  // The mean of the differences, seed by seed, and the sign of the comparison.
  CHECK(contains(
      page, "thinking arm minus direct arm is +0.500 [0.500, 0.500] on the same prompts: too few prompts to tell."));
  for (RunData run : {read_run(e.arms[0].runs[0])}) CHECK(run.seed == 11);
  // Only the first seed's samples are browsed.
  CHECK(occurrences(page, "hidden-thought") == 2);

  SUBCASE("exhibits are written and read back; a row of another width is named") {
    Json json = experiment_to_json(e);
    keep[0]->write("experiment.json", json.dump());
    const Experiment back = read_experiment(keep[0]->folder.string());
    CHECK(experiment_to_json(back)["exhibits"] == json["exhibits"]);
    json["exhibits"][0]["rows"][0]["cells"].push_back("2");
    keep[0]->write("experiment.json", json.dump());
    CHECK_THROWS_WITH_AS(read_experiment(keep[0]->folder.string()),
                         doctest::Contains("exhibits[0]: rows[0]: has 3 cells under 2 headers"), Error);
  }
  SUBCASE("seeds that do not match, or other prompts under the same ids, are not compared") {
    for (size_t i = 3; i < 6; ++i) keep[i]->write("iter-0/prompts.jsonl", "{\"id\": \"test-0\", \"prompt\": \"A?\"}\n");
    for (size_t i = 0; i < 3; ++i) keep[i]->write("iter-0/prompts.jsonl", "{\"id\": \"test-0\", \"prompt\": \"B?\"}\n");
    CHECK(!contains(report_page(e), "thinking arm minus direct arm"));
  }
  SUBCASE("an unfinished seed is named, and the others are shown") {
    fs::remove(keep[5]->folder / "iter-1" / "eval.jsonl");
    const std::string partly = report_page(e);
    check_balanced(partly);
    CHECK(contains(partly, "thinking arm, seed 13: iter-1/eval.jsonl is not there"));
    CHECK(contains(partly, "0.740, 0.750<"));
  }
  SUBCASE("a broken line of any seed is named") {
    keep[4]->write("iter-0/eval.jsonl", "{}\n");
    CHECK_THROWS_WITH_AS(report_page(e), doctest::Contains("thinking12/iter-0/eval.jsonl:1: "), Error);
  }
}

TEST_CASE("report: the browser's filters are style alone, and cards know their outcome") {
  const MadeUpRun made("thought");
  made.finish();
  made.write_lines("iter-0/prompts.jsonl", {{{"id", "test-0"}, {"category", "even"}, {"prompt", "Zero?"}},
                                            {{"id", "test-1"}, {"category", "odd"}, {"prompt", "<i>One?"}}});
  made.write_eval("iter-1/eval.jsonl", {1, 0});
  const std::string page = page_of({made.folder.string()});
  check_balanced(page);
  CHECK(contains(page, "training, first iteration</label>"));
  CHECK(!contains(page, "training, last iteration</label>"));  // there is none
  CHECK(contains(page, "<span class=\"badge good\">improved</span> even: Zero?"));
  CHECK(contains(page, "<span class=\"badge\">same score</span> odd: &lt;i&gt;One?"));
  CHECK(contains(page, "<span class=\"badge\">gave a pair</span> even, first iteration: Which way? &lt;i&gt;"));
  CHECK(contains(page, "<span class=\"badge\">no pair</span> odd, first iteration: And now?"));
  CHECK(contains(page, "section:has(#filter-k-1:checked) .card:not(.k0){display:none}"));
  CHECK(contains(page, "seed, thinking \u00B7 score 0.000"));
  CHECK(contains(page, "iteration 1 \u00B7 score 1.000"));
  CHECK_THROWS_AS(style_of("</style>"), Error);
}

TEST_CASE("report: markdown, with nothing in it that data could turn into markup") {
  CHECK(markdown_text("a|b *c* _d_ `e` <f> [g](h) $i$ & [0.1, 0.2]") ==
        "a\\|b \\*c\\* \\_d\\_ \\`e\\` &lt;f> [g\\](h) \\$i\\$ &amp; [0.1, 0.2]");
  CHECK(markdown_text("# no heading\nnor line") == "\\# no heading nor line");
  CHECK(markdown_text("-") == "-");
  std::vector<std::unique_ptr<MadeUpRun>> keep;
  const std::string page = report_markdown(three_seeds(keep));
  CHECK(contains(page, "# Three \\| seeds\n"));
  CHECK(contains(page, "- (a) **held**, set-up: it starts below\n"));
  CHECK(contains(page, "- (b) **not held**: &lt;script>"));
  CHECK(contains(page, "| model | direct arm | thinking arm |\n| --- | ---: | ---: |\n"));
  CHECK(contains(page, "| iteration 1 | 0.250 ["));
  CHECK(contains(page, "| direct arm | 11, 12, 13 |"));
  CHECK(contains(page, "## Win rates at the end\n"));
  CHECK(contains(page, "| draft \\| x | 1 |"));
  CHECK(!contains(page, "<"));
}

TEST_CASE("report: written whole, and the same bytes every time") {
  const MadeUpRun made("thought");
  made.finish();
  const std::string path = (made.folder / "report.html").string();
  write_report({made.folder.string()}, "", path);
  const bool same = read_text_file(path) == page_of({made.folder.string()});  // a failure need not print both pages
  CHECK(same);
  CHECK_THROWS_AS(write_report({made.folder.string()}, "", "/nonexistent/report.html"), Error);
}
