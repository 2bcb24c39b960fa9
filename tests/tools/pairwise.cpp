// The commands with a pairwise judge behind an endpoint: judge, pair with other scores, eval against stored outputs.
#include <doctest/doctest.h>

#include <iostream>
#include <sstream>

#include "tensor/file.h"
#include "tests/tpo/http_server.h"
#include "tools/command_line.h"
#include "tpo/jsonl.h"

using namespace thinker;

namespace {

/// Exit status; what was said on standard error.
std::pair<int, std::string> run_thinker(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "thinker");
  std::vector<const char*> argv;
  for (const std::string& a : arguments) argv.push_back(a.c_str());
  const std::ostringstream said;
  std::streambuf* const before = std::cerr.rdbuf(said.rdbuf());
  const int status = run_command_line(static_cast<int>(argv.size()), argv.data());
  std::cerr.rdbuf(before);
  return {status, said.str()};
}

}  // namespace

TEST_CASE("cli: games by an endpoint, an interrupted judging continued, pairs from its verdicts by bt and by wins") {
  // "cc" beats "bb" beats "aa"; where "odd" plays, the judge has no verdict.
  std::atomic<bool> dead = false;
  HttpServer server([&](const std::string&, const std::string& body) {
    const std::string text = Json::parse(body)["messages"][0]["content"];
    if (dead && holds(text, "aa")) return HttpServer::response(401, "");
    const std::string verdict = holds(text, "odd") ? "?" : text < text.substr(text.find('/') + 1) ? "B" : "A";
    return HttpServer::response(200, Json{{"choices", {{{"message", {{"content", verdict}}}}}}}.dump());
  });
  const TempFolder folder;
  folder.write("prompts.jsonl", "{\"id\":\"p\",\"prompt\":\"q\"}\n");
  std::string lines;
  int64_t sample = 0;
  for (const char* response : {"bb", "aa", "cc", "odd"}) {
    lines += Json{{"id", "p"},          {"sample", sample++},   {"prompt_ids", {1}},
                  {"ids", {sample, 9}}, {"logprobs", {-1, -1}}, {"text", response},
                  {"thought", nullptr}, {"response", response}, {"parse", "ok"},
                  {"stop", "end"}}
                 .dump() +
             "\n";
  }
  const std::string samples = folder.write("samples.jsonl", lines), judgments = folder / "judgments.jsonl",
                    pairs = folder / "pairs.jsonl";
  const std::string format = folder.write("format.json", R"({"user": "{response_a}/{response_b}/{prompt}",
    "verdicts": {"a": "A", "b": "B"}})");
  const Json judge{{"kind", "pairwise"}, {"format", format}, {"endpoint", server.url()}, {"model", "m"}};
  const std::string file = folder.write("judge.json", judge.dump());

  dead = true;
  const std::vector<std::string> command{"judge", "--samples", samples, "--judge", file, "--out", judgments};
  const auto [failed, reason] = run_thinker(command);
  CHECK(failed == 1);
  CHECK(holds(reason, "HTTP 401"));
  CHECK(!std::filesystem::exists(judgments));
  dead = false;
  const auto [done, summary] = run_thinker(command);
  CHECK(done == 0);
  CHECK(holds(summary, "12 games, 6 without a verdict (ties), 0 ties; the two orders agree in 3 of 3 pairs (100.0 %)"));
  CHECK(holds(summary, "the response shown first won 3 of 6 (50.0 %)"));
  CHECK(read_jsonl(judgments).size() == 12);
  CHECK(read_jsonl(folder / "judge-cache.jsonl").size() == 12);

  std::vector<double> best;
  for (const char* scores : {"bt", "wins"}) {
    REQUIRE(run_thinker({"pair", "--samples", samples, "--judgments", judgments, "--out", pairs, "--scores", scores})
                .first == 0);
    const auto built = read_jsonl(pairs);
    REQUIRE(built.size() == 1);
    CHECK(built[0].string("chosen") == "cc");
    CHECK(built[0].string("rejected") == "aa");
    best.push_back(built[0].number("score_chosen"));
  }
  CHECK(best[0] > 2);
  CHECK(best[1] == doctest::Approx(5.0 / 6));  // four wins and two ties
  CHECK(
      run_thinker({"pair", "--samples", samples, "--judgments", judgments, "--out", pairs, "--scores", "elo"}).first ==
      2);
  const auto [usage, message] = run_thinker(
      {"eval", "M", "--prompts", folder / "prompts.jsonl", "--judge", file, "--out", folder / "eval.jsonl"});
  CHECK(usage == 2);
  CHECK(holds(message, "--against"));
}
