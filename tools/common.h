// What several subcommands share: the device options, input lines, sampling options, progress on a terminal.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tensor/check.h"
#include "tools/commands.h"
#include "tools/display.h"
#include "tools/validators.h"
#include "tpo/jsonl.h"
#include "tpo/model.h"
#include "tpo/progress.h"
#include "tpo/stages/sample.h"

namespace thinker {

/// An open device, and the dtype of weights and activations on it.
struct OpenDevice {
  std::unique_ptr<Device> device;
  DType dtype;
};

/// --device and --dtype.
struct DeviceOptions {
  std::string device = "auto";
  std::string dtype = "auto";

  void add_to(Command& command);
  /// Opens the device. Weights and activations are f32 on the CPU, bf16 on CUDA, unless told otherwise; on the CPU bf16
  /// is that of products only, and the device computes them so; where the processor has no such products, a line on
  /// stderr says that training is no faster, and the work goes on. Throws Error when a GPU is asked for and missing.
  OpenDevice open() const;
};

/// --weights: how the matrices are kept while a model writes.
struct WeightOptions {
  std::string weights;  // the command's default

  void add_to(Command& command);
  /// auto: a .gguf file's own blocks, bf16 for a folder; on a GPU as they are computed with. Throws Error where the
  /// device has no such weights or the file none of its own.
  WeightStorage storage(Device& device, const std::string& model) const;
};

/// "f32" or "bf16". Throws Error naming both.
DType dtype_from_name(const std::string& name);

/// Options of drawing: --temperature, --top-p, --top-k, --min-p, --seed, --max-new, --thought, --force-format,
/// --thought-budget. The defaults are in docs/reference.md.
struct DrawOptions {
  SampleStage stage;
  std::string thought = "none";
  bool force_format = false;

  void add_to(Command& command);
  /// The stage with its style opened. Throws on ranges that make no sense.
  SampleStage resolve() const;
};

/// Throws UsageError where the format is forced and --max-new ends an output before its response: nothing would parse.
void check_room(const Model& model, const SampleStage& stage);

/// Opens FILE, or standard input for "-" or "".
JsonlReader open_lines(const std::string& path);

/// Parses the lines of FILE (see open_lines) and calls handle with up to `chunk` of the results at a time, in order.
/// When a line fails, those before it are handled first, so that their output is there.
template <class Parse, class Handle>
void for_each_chunk(const std::string& path, size_t chunk, const Parse& parse, const Handle& handle) {
  JsonlReader reader = open_lines(path);
  std::vector<decltype(parse(std::declval<const JsonLine&>()))> items;
  const auto flush = [&] {
    if (!items.empty()) handle(items);
    items.clear();
  };
  const auto next = [&] {
    try {
      const auto line = reader.next();
      if (line) items.push_back(line->placed([&] { return parse(*line); }));
      return line.has_value();
    } catch (const Error&) {
      flush();
      throw;
    }
  };
  while (next()) {
    if (items.size() == chunk) flush();
  }
  flush();
}

/// Throws Error when a text of that many tokens is longer than what the model was made for.
void check_context(const Model& model, size_t tokens);

/// A file or folder of a command: the option, or argument, that names it, and its path. An empty path is none.
struct NamedFile {
  const char* option;
  std::string path;
};

/// Throws UsageError where a file or folder to be written is one that is read, or another to be written, or a file of
/// such a model's folder: it would be lost.
void check_not_overwritten(const std::vector<NamedFile>& outputs, const std::vector<NamedFile>& inputs);

/// Makes the folder where it is missing. Throws Error when nothing can be written there: better before hours of work
/// than after.
void prepare_folder(const std::string& folder);

/// The same for a file that will be written: its folder must exist.
void check_output_file(const std::string& path);

/// Prints one JSON line on stdout.
void print_line(const Json& line);

/// --quiet.
struct ProgressOptions {
  bool quiet = false;

  void add_to(Command& command);
  /// See tools/display.h.
  std::unique_ptr<Display> show(const std::string& how_to_go_on) const;
};

/// A judge's JSON object from a kind ("rule"), a file with such an object, or a recipe that holds one. Throws Error,
/// which begins with the file's name, where it makes no judge.
Json judge_recipe(const std::string& recipe_or_kind);

/// The folder that a file is in: where a pairwise judge's cache lies beside its results.
std::string folder_of(const std::string& path);

/// The prompts file that was given, or prompts.jsonl beside the samples.
std::string prompts_beside(const std::string& prompts, const std::string& samples);

/// Copies an input's "id" first into an output line.
Json with_id(const JsonLine& line);

}  // namespace thinker
