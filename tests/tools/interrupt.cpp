// Ctrl-C: a command that is interrupted anywhere ends with status 130 and one line that says how to go on; gone on
// with, it ends with the same bytes as one that was left alone. No process stays behind.
#include "tools/interrupt.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <map>
#include <sstream>
#include <thread>

#include "tensor/file.h"
#include "tests/tensor/temp_folder.h"
#include "tools/command_line.h"
#include "tools/process.h"
#include "tools/world/seed_model.h"
#include "tools/world/world.h"
#include "tpo/jsonl.h"
#include "tpo/model.h"

extern char** environ;

using namespace thinker;

namespace fs = std::filesystem;

namespace {

/// `thinker` as a process of its own: this test program, which then runs the case below.
class Program {
 public:
  Program(const std::vector<std::string>& arguments, const std::string& stderr_path) {
    std::string packed;
    for (const std::string& a : arguments) packed += a + "\n";
    ::setenv("THINKER_TEST_ARGUMENTS", packed.c_str(), 1);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 2, stderr_path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    char self[] = "/proc/self/exe", only[] = "--test-case=child: thinker", skipped[] = "--no-skip";
    char* const argv[] = {self, only, skipped, nullptr};
    REQUIRE(::posix_spawn(&pid_, self, &actions, nullptr, argv, environ) == 0);
    posix_spawn_file_actions_destroy(&actions);
    ::unsetenv("THINKER_TEST_ARGUMENTS");
  }

  void send(int signal) const { ::kill(pid_, signal); }

  /// The exit status; 1000 and the signal that ended it.
  int wait() const {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
  }

 private:
  pid_t pid_ = -1;
};

void sleep_ms(int64_t ms) {
  std::this_thread::sleep_for(std::chrono::milliseconds(ms));
}

bool appears(const std::string& path) {
  for (int i = 0; i < 3000 && !fs::exists(path); ++i) sleep_ms(10);
  return fs::exists(path);
}

/// A folder with a model, prompts and a recipe of a run that takes seconds.
struct Place {
  TempFolder folder;
  std::string recipe;

  explicit Place(const std::string& judge = R"({"kind": "rule"})") {
    const auto device = open_device("cpu");
    ChatTokenizer text{Tokenizer(world::vocabulary())};
    Transformer net = world::new_model(*device, world::seed_config({}, text.tokenizer.vocabulary_size()), 1);
    Model{std::move(net), std::move(text)}.save(folder / "model");
    const auto prompts = [&](const std::string& name, int first, int count) {
      std::string lines;
      const char* const ways[] = {"north", "east", "south", "west"};
      const char* const turns[] = {"back", "left", "right"};
      for (int i = first; i < first + count; ++i) {
        const std::string prompt = std::string("You face ") + ways[i % 4] + ". Turn 1)" + turns[i / 4 % 3] + " 2)" +
                                   turns[i / 12 % 3] + " 3)" + turns[i / 36 % 3] + ". Which way now?";
        lines += Json{{"id", i}, {"prompt", prompt}, {"check", {{"contains", "e"}}}}.dump() + "\n";
      }
      return folder.write(name, lines);
    };
    const Json json{{"name", "run"},
                    {"dtype", "f32"},
                    {"model", folder / "model"},
                    {"prompts",
                     {{"train", prompts("train.jsonl", 0, 80)},
                      {"select", prompts("select.jsonl", 80, 10)},
                      {"test", prompts("test.jsonl", 90, 10)}}},
                    {"thought", "none"},
                    {"iterations", 1},
                    {"prompts_per_iteration", 80},
                    {"sampling", {{"k", 4}, {"temperature", 1.0}, {"top_p", 1.0}, {"max_new", 32}}},
                    {"judge", Json::parse(judge)},
                    {"pairs", {{"parse_failures", "drop"}}},
                    {"dpo", {{"lr", 1e-3}, {"batch", 4}, {"epochs", 2}}},
                    {"log", {"jsonl", "tensorboard"}}};
    recipe = folder.write("recipe.json", json.dump());
  }

  std::vector<std::string> command(const std::string& out, bool resume = false) const {
    std::vector<std::string> words = {"train", recipe, "--out", folder / out};
    if (resume) words.push_back("--resume");
    return words;
  }
};

/// The files of a run that hold no times.
std::map<std::string, std::string> files_of(const std::string& run) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(run)) {
    const std::string name = fs::relative(entry.path(), run).string();
    if (!entry.is_regular_file() || name == "log.jsonl" || name == "report.html" || name.starts_with("tensorboard"))
      continue;
    files[name] = read_text_file(entry.path().string());
  }
  return files;
}

}  // namespace

TEST_CASE("child: thinker" * doctest::skip()) {
  const char* packed = std::getenv("THINKER_TEST_ARGUMENTS");
  if (!packed) return;
  std::vector<std::string> arguments = {"thinker"};
  std::string word;
  for (const char* c = packed; *c; ++c) {
    if (*c == '\n')
      arguments.push_back(std::exchange(word, ""));
    else
      word += *c;
  }
  std::vector<const char*> argv;
  for (const std::string& a : arguments) argv.push_back(a.c_str());
  keep_standard_streams();
  const int status = run_command_line(static_cast<int>(argv.size()), argv.data());
  std::fflush(nullptr);
  std::_Exit(status);
}

TEST_CASE("interrupt: train stopped anywhere, as often as one likes, ends with the same bytes") {
  const Place place;
  const std::string err = place.folder / "err";
  std::vector<std::string> quiet = place.command("straight");
  quiet.push_back("--quiet");
  const int straight = Program(quiet, err).wait();
  CHECK(read_text_file(err) == "");
  REQUIRE(straight == 0);
  const auto expected = files_of(place.folder / "straight/run");
  REQUIRE(expected.contains("iter-1/checkpoint/model.safetensors"));
  int stopped = 0, status = 130;
  for (int64_t delay = 60; status == 130 && stopped < 200; delay += 60) {
    const Program program(place.command("again", stopped > 0), err);
    // Not before it waits for signals: that would simply end it.
    if (stopped == 0) REQUIRE(appears(place.folder / "again/run/log.jsonl"));
    sleep_ms(delay);
    program.send(stopped % 2 ? SIGTERM : SIGINT);
    status = program.wait();
    if (status == 1000 + SIGINT || status == 1000 + SIGTERM) {
      status = 130;
      continue;  // it was not yet, or no longer, waiting for signals
    }
    stopped += status == 130;
    const std::string text = read_text_file(err);
    if (status == 130) CHECK(holds(text, "go on with: thinker train "));
    if (status == 130) CHECK(holds(text, " --resume\n"));
  }
  CHECK(status == 0);
  CHECK(stopped > 1);
  const auto found = files_of(place.folder / "again/run");
  CHECK(found.size() == expected.size());
  for (const auto& [name, text] : expected) CHECK_MESSAGE((found.contains(name) && found.at(name) == text), name);
}

TEST_CASE("interrupt: a judge that is waited for is not left behind, nor after a second Ctrl-C or a kill") {
  for (const int signal : {SIGINT, -SIGINT, SIGKILL}) {  // -: twice
    // Tells its process, answers nothing, and does not mind that its input ends.
    const TempFolder notes;
    const std::string pid_file = notes / "pid";
    const Place place(Json{{"kind", "command"},
                           {"command", "echo $$ > " + pid_file + ".new; mv " + pid_file + ".new " + pid_file +
                                           "; while :; do sleep 1; done"}}
                          .dump());
    const std::string err = place.folder / "err";
    const Program program(place.command("out"), err);
    REQUIRE(appears(pid_file));
    const pid_t judge = std::stoi(read_text_file(pid_file));
    CHECK(::kill(judge, 0) == 0);
    program.send(signal == SIGKILL ? SIGKILL : SIGINT);
    if (signal < 0) program.send(SIGINT);
    const int status = program.wait();
    if (signal == SIGINT) {
      CHECK(status == 130);
      CHECK(holds(read_text_file(err), "stopped in judge 0/"));
    }
    if (signal == SIGKILL) CHECK(status == 1000 + SIGKILL);
    for (int i = 0; i < 500 && ::kill(judge, 0) == 0; ++i) sleep_ms(10);
    CHECK(::kill(judge, 0) != 0);
  }
}

TEST_CASE("train: of two at once on one folder, one is told") {
  const Place place(R"({"kind": "command", "command": "sleep 100"})");
  const std::string err = place.folder / "err";
  const Program first(place.command("out"), "/dev/null");
  REQUIRE(appears(place.folder / "out/run/log.jsonl"));
  CHECK(Program(place.command("out", true), err).wait() == 1);
  const std::string text = read_text_file(err);
  CHECK(holds(text, "another process works in this folder"));
  CHECK(std::count(text.begin(), text.end(), '\n') == 1);
  first.send(SIGINT);
  CHECK(first.wait() == 130);
}

TEST_CASE("train --plan: standard output is the recipe and nothing else") {
  const Place place;
  const std::vector<const char*> argv = {"thinker", "train", place.recipe.c_str(), "--plan"};
  std::ostringstream out, err;
  std::streambuf *const old_out = std::cout.rdbuf(out.rdbuf()), *const old_err = std::cerr.rdbuf(err.rdbuf());
  const int status = run_command_line(static_cast<int>(argv.size()), argv.data());
  std::cout.rdbuf(old_out);
  std::cerr.rdbuf(old_err);
  CHECK(status == 0);
  CHECK(Json::parse(out.str()).at("name") == "run");
  CHECK(!err.str().empty());
}
