// What becomes of outputs that a judge could not score: of all of them, and of some.
#include "tensor/file.h"
#include "tests/tpo/tiny_world.h"
#include "tpo/stages/judge.h"
#include "tpo/stages/pair.h"
#include "tpo/text.h"

using namespace thinker;

namespace fs = std::filesystem;

namespace {

/// A command judge that lets the shell file `answers` set what it says of the line with this $id.
Json judge_by(const std::string& answers) {
  return {{"kind", "command"},
          {"command", "while IFS= read -r line; do id=${line#*:}; id=${id%%,*}; . '" + answers +
                          "'; echo \"{\\\"id\\\":$id,$answer}\"; done"}};
}

}  // namespace

TEST_CASE("unjudged: a judge that scores nothing ends the run with its reason; repaired, the run is resumed") {
  const tiny::World world;
  const TempFolder folder;
  const std::string answers = folder.write("answers", R"(answer='"error":"no key"')");
  const Recipe recipe =
      world.recipe({"judge=" + judge_by(answers).dump(), "iterations=1", "prompts.test=null", "select=last"});
  const std::string error = error_of([&] { world.run(recipe, "run"); });
  CHECK_MESSAGE(error.starts_with("the judge gave no score for any of "), error);
  CHECK_MESSAGE(holds(error, " outputs; the first reason, at prompt \"p1-"), error);
  CHECK_MESSAGE(error.ends_with(": no key"), error);
  const std::string iteration = world.folder / "run/iter-1/";
  CHECK(fs::exists(iteration + "samples.jsonl"));
  CHECK(!fs::exists(iteration + "judgments.jsonl"));

  write_file_atomically(answers, R"(answer='"score":'$id)");
  CHECK_NOTHROW(world.run(recipe, "run", Resume::yes));
  CHECK(read_jsonl(iteration + "judgments.jsonl").front().has("score"));
}

TEST_CASE("unjudged: a held-out evaluation without a score is not kept") {
  const tiny::World world;
  std::vector<Prompt> unchecked = tiny::prompts(6, 3);
  for (Prompt& p : unchecked) p.check = nullptr;
  const std::string path = world.write_prompts("unchecked.jsonl", unchecked);
  const std::string error = error_of([&] {
    world.run(world.recipe({"prompts.test=" + Json(path).dump(), "iterations=1"}), "run");
  });
  CHECK_MESSAGE(holds(error, "the judge gave no score for any of "), error);
  CHECK_MESSAGE(holds(error, "at prompt \"p3-"), error);
  CHECK(!fs::exists(world.folder / "run/iter-0/eval_direct.jsonl"));
}

TEST_CASE("unjudged: why there is no pair is told in words, with what the judge said first") {
  PairCounts counts;
  counts.prompts = 12;
  counts.equal_scores = 8;
  counts.too_few_valid = 4;
  counts.samples = 48;
  CHECK(why_no_pair(counts, {}) == "from 12 prompts: 8 with equal scores, 4 with fewer than two valid outputs");
  counts.equal_scores = 0;
  counts.equal_texts = 5;
  counts.not_better = 3;
  counts.unparsed = 7;
  counts.truncated = 2;
  counts.unjudged = 40;
  std::vector<JudgmentRecord> judgments(3);
  judgments[0].judged.score = 1;
  judgments[1].judged.error = "no check";
  judgments[2].judged.error = "another";
  CHECK(why_no_pair(counts, judgments) ==
        "from 12 prompts: 4 with fewer than two valid outputs, 5 with the same text as best and worst, 3 where length "
        "control prefers what the judge does not; of 48 outputs, 7 did not parse, 2 were cut, 40 were not judged (the "
        "first: no check)");
}
