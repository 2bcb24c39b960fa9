// IFEval: instructions whose following a program can check (Zhou et al., "Instruction-Following Evaluation for Large
// Language Models", arXiv 2311.07911): 25 types, here a table of functions over a response and the type's arguments.
//
// A line of its data is {"key", "prompt", "instruction_id_list": [ID, …], "kwargs": [{ARGUMENT: VALUE, …}, …]}, one
// object of arguments for each instruction; arguments may be null, which is the same as absent. The two lists make a
// rule judge's check.
//
// Strict: the response follows the instruction as it stands. Loose: it or one of its variants does (without the first
// line, the last, both; each with and without asterisks), which forgives an opening phrase or markdown.
//
// The definitions are the reference's, also where measure.h has others. Known differences, counted by
// tests/compare_ifeval.py: the language of a text is told by another detector, and where that one is not sure we say so
// in place of guessing; sentences are found without NLTK's trained tables; where the reference draws a missing argument
// at random, the line is refused, and a "letter" that is none (such as '#') is counted as any other character.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tpo/jsonl.h"

namespace thinker {

/// undecided: the check cannot tell (the language of three words), which is neither met nor unmet.
enum class Met { no, yes, undecided };

namespace ifeval {

struct Instruction {
  std::string id;  // "group:name"
  std::function<Met(const std::string& response)> follows;
};

/// True for a check of this format.
bool is_ifeval(const Json& check);

/// Throws Error "PLACE: reason" at an unknown instruction or argument (with the nearest known), an argument that is
/// missing or of the wrong type, a keyword that is no regular expression.
std::vector<Instruction> parse_instructions(const Json& check, const std::string& place);

/// The 25 types, sorted.
const std::vector<std::string>& instruction_ids();

/// The instructions' common group, such as "length_constraints"; "mixed" when they have several.
std::string common_group(const Json& check);

/// Blank responses follow nothing.
Met strict(const Instruction& instruction, const std::string& response);
Met loose(const Instruction& instruction, const std::string& response);

/// Shares of what was followed; what could not be decided is left out, and counted.
struct Accuracy {
  struct Share {
    int64_t met = 0, of = 0, undecided = 0;
    void add(Met m);
    double value() const { return of == 0 ? 0.0 : static_cast<double>(met) / static_cast<double>(of); }
  };
  struct Level {
    Share strict, loose;
  };
  Level prompts;  // all instructions of a prompt, together
  Level instructions;
  std::map<std::string, Level> groups;  // instructions by group

  /// Counts one response to a prompt with this check; none: the output did not parse, and follows nothing.
  void add(const Json& check, const std::optional<std::string>& response);
};

/// {"prompts", "prompt_strict", "prompt_loose", "instructions", "instruction_strict", "instruction_loose", "undecided",
/// "groups"}.
Json accuracy_to_json(const Accuracy& accuracy);

/// One line for people.
std::string describe(const Accuracy& accuracy);

}  // namespace ifeval
}  // namespace thinker
