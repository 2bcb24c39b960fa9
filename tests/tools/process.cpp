// Standard streams that are closed or cannot be read, and absurd numbers of threads.
#include "tools/process.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

#include <cstdlib>
#include <iostream>
#include <sstream>

#include "tensor/file.h"
#include "tests/tensor/threads.h"
#include "tests/tools/cli.h"

extern char** environ;

using namespace thinker;

namespace {

/// What the standard streams are: paths, or "" for a closed one.
struct Streams {
  std::string in = "/dev/null", out = "/dev/null", err = "/dev/null";
};

/// Runs `thinker` as a process of its own (this test program's case "child: thinker") and gives its exit status.
int status_of(const std::vector<std::string>& arguments, const Streams& streams) {
  std::string packed;
  for (const std::string& a : arguments) packed += a + "\n";
  ::setenv("THINKER_TEST_ARGUMENTS", packed.c_str(), 1);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  const std::string* const paths[] = {&streams.in, &streams.out, &streams.err};
  for (int stream = 0; stream < 3; ++stream) {
    if (paths[stream]->empty())
      posix_spawn_file_actions_addclose(&actions, stream);
    else
      posix_spawn_file_actions_addopen(&actions, stream, paths[stream]->c_str(),
                                       stream == 0 ? O_RDONLY : O_WRONLY | O_CREAT | O_TRUNC, 0600);
  }
  char self[] = "/proc/self/exe", only[] = "--test-case=child: thinker", skipped[] = "--no-skip",
       intro[] = "--no-intro";
  char* const argv[] = {self, only, skipped, intro, nullptr};
  pid_t pid = -1;
  REQUIRE(::posix_spawn(&pid, self, &actions, nullptr, argv, environ) == 0);
  posix_spawn_file_actions_destroy(&actions);
  ::unsetenv("THINKER_TEST_ARGUMENTS");
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace

TEST_CASE("process: standard input that cannot be read is an error, not an empty input") {
  const TempFolder folder;
  const std::string model = model_folder(), err = folder / "err";
  for (const char* command : {"tokenize", "chat"}) {
    CAPTURE(command);
    CHECK(status_of({command, model}, {.err = err}) == 0);
    CHECK(status_of({command, model}, {.in = folder.path(), .err = err}) == 1);
    CHECK(holds(read_text_file(err), "cannot be read: Is a directory"));
    CHECK(status_of({command, model}, {.in = "", .err = err}) == 1);
    CHECK(holds(read_text_file(err), "cannot be read: Bad file descriptor"));
  }
}

TEST_CASE("process: nothing that is printed goes into a file that took a closed stream's place") {
  const TempFolder folder;
  const std::string model = model_folder(), err = folder / "err", log = folder / "log.jsonl";
  const std::string data = folder.write("data.jsonl", "{\"prompt\":\"north\",\"completion\":\"south\"}\n");
  for (const Streams& streams : {Streams{.err = ""}, Streams{.in = "", .out = "", .err = ""}}) {
    CHECK(status_of({"sft", model, "--data", data, "--out", folder / "out", "--log", log}, streams) == 0);
    REQUIRE(read_jsonl(log).size() == 1);
    CHECK(read_jsonl(log).front().integer("step") == 1);
  }
  // What a command was to print is not lost in silence.
  const std::string text = folder.write("text.jsonl", "{\"text\":\"north\"}\n");
  CHECK(status_of({"tokenize", model, "--input", text}, {.out = "", .err = err}) == 1);
  CHECK(holds(read_text_file(err), "standard output: cannot be written"));
  CHECK(status_of({"sft", model, "--data", data, "--out", folder / "out", "--log", log}, {.out = ""}) == 0);
}

TEST_CASE("process: more threads than a few for each processor are not started, and a line says so") {
  const int most = 4 * omp_get_num_procs();
  const auto said_with = [](int threads) {
    const test::Threads asked(threads);
    std::ostringstream err;
    std::streambuf* const old = std::cerr.rdbuf(err.rdbuf());
    limit_threads();
    std::cerr.rdbuf(old);
    return concat(omp_get_max_threads(), " ", err.str());
  };
  CHECK(said_with(100'000) ==
        concat(most, " OMP_NUM_THREADS asks for 100000 threads: ", most, " are used, 4 for each processor\n"));
  CHECK(said_with(most) == concat(most, " "));
  CHECK(said_with(1) == "1 ");
}
