// The command line within a test: what it prints, its exit status, and a model for it to work on.
#pragma once

#include <algorithm>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "tests/tensor/temp_folder.h"
#include "tools/command_line.h"
#include "tools/world/seed_model.h"
#include "tpo/jsonl.h"
#include "tpo/model.h"

namespace thinker {

struct Outcome {
  int status = 0;
  std::string out, err;
  /// The lines of standard output: each must be a JSON object.
  std::vector<Json> lines() const {
    std::istringstream stream(out);
    JsonlReader reader(stream, "stdout");
    std::vector<Json> list;
    while (auto line = reader.next()) list.push_back(line->json());
    return list;
  }
};

/// Sends the standard streams elsewhere for as long as it lives.
class Redirected {
 public:
  explicit Redirected(const std::string& input) : in_(input) {
    old_in_ = std::cin.rdbuf(in_.rdbuf());
    old_out_ = std::cout.rdbuf(out_.rdbuf());
    old_err_ = std::cerr.rdbuf(err_.rdbuf());
    std::cin.clear();
    std::cout.clear();
  }
  Redirected(const Redirected&) = delete;
  Redirected& operator=(const Redirected&) = delete;
  ~Redirected() {
    std::cin.rdbuf(old_in_);
    std::cout.rdbuf(old_out_);
    std::cerr.rdbuf(old_err_);
    std::cin.clear();
    std::cout.clear();
  }
  std::string out() const { return out_.str(); }
  std::string err() const { return err_.str(); }

 private:
  std::istringstream in_;
  std::ostringstream out_, err_;
  std::streambuf *old_in_, *old_out_, *old_err_;
};

inline Outcome thinker_with(const std::string& input, std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "thinker");
  std::vector<const char*> argv;
  for (const std::string& a : arguments) argv.push_back(a.c_str());
  const Redirected streams(input);
  const int status = run_command_line(static_cast<int>(argv.size()), argv.data());
  return {status, streams.out(), streams.err()};
}

inline Outcome run_thinker(std::vector<std::string> arguments) {
  return thinker_with("", std::move(arguments));
}

inline bool one_line(const std::string& text) {
  return std::count(text.begin(), text.end(), '\n') == 1 && text.ends_with("\n");
}

/// What a command says that must be refused: checks the exit status, and that the reason stands in one line.
inline std::string refusal_of(const std::vector<std::string>& arguments, int status, const std::string& reason) {
  const Outcome outcome = run_thinker(arguments);
  CAPTURE(outcome.err);
  CHECK(outcome.status == status);
  CHECK(one_line(outcome.err));
  CHECK(holds(outcome.err, reason));
  return outcome.err;
}

/// The demo's seed model before any training, in a folder. It opens all that a trained one opens.
inline const std::string& model_folder() {
  static const TempFolder folder;
  static const std::string path = [] {
    const auto device = open_device("cpu");
    ChatTokenizer text{Tokenizer(world::vocabulary())};
    Transformer net = world::new_model(*device, world::seed_config({}, text.tokenizer.vocabulary_size()), 1);
    Model{std::move(net), std::move(text)}.save(folder / "model");
    return folder / "model";
  }();
  return path;
}

inline const char* const kPrompts =
    "{\"id\":\"p\",\"prompt\":\"You face north. Turn 1)back 2)right. Which way now?\"}\n"
    "{\"id\":7,\"messages\":[{\"role\":\"user\",\"content\":\"You face south. Turn 1)left. Which way now?\"}]}\n"
    "{\"prompt\":\"You face west. Turn 1)back. Which way now?\"}\n";

}  // namespace thinker
