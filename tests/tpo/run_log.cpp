// The log of a run: what a resumed stage writes again goes, all else stays.
#include "tpo/run_log.h"

#include <doctest/doctest.h>

#include "tensor/file.h"
#include "tests/tensor/temp_folder.h"

using namespace thinker;

TEST_CASE("log: a stage that begins again drops its own lines, a torn one too; lines of strange types stay") {
  const TempFolder folder;
  const std::string before = R"({"iteration":1,"stage":"train","epoch":1})";
  const std::string strange = R"({"iteration":"x","stage":5})";
  const std::string other = R"({"iteration":1,"stage":"pair","epoch":"x"})";
  const std::string again = R"({"iteration":1,"stage":"train","epoch":2})";
  const std::string path =
      folder.write("log.jsonl", before + "\n" + strange + "\n" + other + "\n" + again + "\n{\"iteration\":1,\"st");
  RunLog log(path, "", {});
  log.begin(1, "train", 1);
  CHECK(read_text_file(path) == before + "\n" + strange + "\n" + other + "\n");
  log.write({{"epoch", 2}});
  CHECK(read_text_file(path) == before + "\n" + strange + "\n" + other + "\n" + again + "\n");
}
