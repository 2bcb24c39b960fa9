#include "tools/common.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <iostream>

#include "tpo/stages/forced_format.h"

namespace thinker {

namespace fs = std::filesystem;

void DeviceOptions::add_to(Command& command) {
  command.add_option("--device", device, "auto, cpu or cuda").check(one_of({"auto", "cpu", "cuda"}));
  command.add_option("--dtype", dtype, "auto, f32 or bf16; on the CPU bf16 is for products only")
      .check(one_of({"auto", "f32", "bf16"}));
}

OpenDevice DeviceOptions::open() const {
  std::unique_ptr<Device> opened = open_device(device);
  const bool cpu = opened->backend().kind() == "cpu";
  const DType t = dtype != "auto" ? dtype_from_name(dtype) : cpu ? DType::F32 : DType::BF16;
  if (cpu && !opened->backend().set_product_dtype(t))
    std::cerr << "This processor has no bf16 products: factors are rounded to bf16, then multiplied in fp32. "
                 "Training is no faster so.\n";
  if (!cpu && t == DType::F32)
    std::cerr << "f32 leaves this GPU's tensor cores idle: its products take many times as long as those of bf16.\n";
  return {std::move(opened), cpu ? DType::F32 : t};
}

void WeightOptions::add_to(Command& command) {
  command
      .add_option("--weights", weights,
                  "how weights are kept, on the CPU: auto, full, bf16, q8 (8 bits), file (as the .gguf file has them)")
      .check(one_of({"auto", "full", "bf16", "q8", "file"}));
}

WeightStorage WeightOptions::storage(Device& device, const std::string& model) const {
  const bool cpu = device.backend().kind() == "cpu", gguf = model.ends_with(".gguf");
  if (weights == "full" || (weights == "auto" && !cpu)) return WeightStorage::full;
  if (!cpu) fail("--weights ", weights, " is for the CPU; on a GPU weights are of the --dtype");
  if (weights == "file" && !gguf) fail(model, ": --weights file wants a .gguf file; use --weights bf16 or q8");
  if (weights == "auto") return gguf ? WeightStorage::file : WeightStorage::bf16;
  return weights == "file" ? WeightStorage::file : weights == "q8" ? WeightStorage::q8 : WeightStorage::bf16;
}

DType dtype_from_name(const std::string& name) {
  if (name == "f32") return DType::F32;
  if (name == "bf16") return DType::BF16;
  fail("unknown dtype \"", name, "\": use f32 or bf16");
}

void DrawOptions::add_to(Command& command) {
  stage.sampling = {.temperature = 0.8, .top_k = 0, .top_p = 0.95, .min_p = 0.0, .greedy = false};
  command.add_option("--max-new", stage.max_new, "tokens to write at most").check(whole(1, 1'000'000));
  command.add_option("--temperature", stage.sampling.temperature, "comes before top-k, top-p and min-p")
      .check(number_above(0.0));
  command.add_option("--top-p", stage.sampling.top_p, "keep the most probable tokens with this mass")
      .check(number_above(0.0, 1.0));
  command.add_option("--top-k", stage.sampling.top_k, "keep this many of the most probable tokens; 0: all")
      .check(whole(0));
  command.add_option("--min-p", stage.sampling.min_p, "keep tokens with this share of the greatest probability")
      .check(number_within(0.0, 1.0));
  command.add_option("--seed", stage.seed, "of the random draws").check(any_seed());
  command.add_option("--thought", thought, "thought prompt: none, generic, specific, system, or a JSON file");
  const Argument forced = command.add_flag("--force-format", force_format, "write the thought's markers for the model");
  command.add_option("--thought-budget", stage.thought_budget, "with --force-format: tokens of thought")
      .check(whole(1, 1'000'000))
      .needs(forced);
}

SampleStage DrawOptions::resolve() const {
  SampleStage resolved = stage;
  resolved.style = thought_style(thought);
  resolved.format = force_format ? Format::forced : Format::free;
  if (force_format && !resolved.style.thinks())
    throw UsageError("--force-format needs a thought prompt: --thought generic");
  return resolved;
}

void check_room(const Model& model, const SampleStage& stage) {
  if (stage.format == Format::free) return;
  const int64_t least = FormatForcer(model.text, stage).least_max_new();
  if (stage.max_new < least)
    throw UsageError(concat("--max-new ", stage.max_new, " leaves no room for a response: with --force-format and ",
                            "--thought-budget ", stage.thought_budget, " it must be at least ", least,
                            " (the markers, the thought, a token of response, the end)"));
}

JsonlReader open_lines(const std::string& path) {
  return path.empty() || path == "-" ? JsonlReader(std::cin, "<stdin>") : JsonlReader(path);
}

void check_context(const Model& model, size_t tokens) {
  const int64_t context = model.net.config().context;
  if (static_cast<int64_t>(tokens) > context) fail(tokens, " tokens are more than the model's context of ", context);
}

namespace {

/// Whether two names are of one file or folder, which need not exist yet. Devices hold nothing that can be lost.
bool same_file(const std::string& a, const std::string& b) {
  std::error_code error;
  if (fs::exists(a, error))
    return (fs::is_regular_file(a, error) || fs::is_directory(a, error)) && fs::equivalent(a, b, error);
  const fs::path place = fs::weakly_canonical(fs::absolute(a, error), error);
  return !place.empty() && place == fs::weakly_canonical(fs::absolute(b, error), error);
}

/// Whether writing the file would change the model in the folder, which need not exist yet.
bool is_within_model(const std::string& file, const std::string& folder) {
  std::error_code error;
  const auto resolved = [&](const std::string& path) { return fs::weakly_canonical(fs::absolute(path, error), error); };
  return is_model_file(resolved(file).lexically_relative(resolved(folder)).string());
}

}  // namespace

void check_not_overwritten(const std::vector<NamedFile>& outputs, const std::vector<NamedFile>& inputs) {
  for (size_t i = 0; i < outputs.size(); ++i) {
    const NamedFile& out = outputs[i];
    std::vector<NamedFile> others = inputs;
    others.insert(others.end(), outputs.begin(), outputs.begin() + static_cast<int64_t>(i));
    for (const NamedFile& other : others) {
      if (out.path.empty() || other.path.empty()) continue;
      const auto refuse = [&](const std::string& why) {
        throw UsageError(concat(out.option, " ", out.path, ": ", why, " ", other.option,
                                ", which would be overwritten; name another"));
      };
      if (same_file(out.path, other.path)) refuse("is also");
      if (is_within_model(out.path, other.path)) refuse("is a file of");
      for (const char* beside : {".part", ".tmp"})  // what it is called until it is complete
        if (same_file(out.path + beside, other.path)) refuse(concat("begins as ", out.path, beside, ", which is also"));
    }
  }
}

void prepare_folder(const std::string& folder) {
  if (folder.empty()) fail("the folder to write to has an empty name");
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) fail(folder, ": the folder cannot be made: ", error.message());
  if (access(folder.c_str(), W_OK) != 0) fail(folder, ": the folder cannot be written to: ", std::strerror(errno));
}

void check_output_file(const std::string& path) {
  if (path.empty()) fail("the file to write has an empty name");
  const fs::path parent = fs::path(path).parent_path();
  const std::string folder = parent.empty() ? "." : parent.string();
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::status_known(status)) fail(path, ": cannot be written: ", error.message());
  if (fs::is_directory(status)) fail(path, ": is a folder, cannot write a file of that name");
  if (fs::exists(status) && !fs::is_regular_file(status)) fail(path, ": is not a regular file and cannot be replaced");
  if (!fs::is_directory(folder, error)) fail(path, ": cannot be written: its folder does not exist");
  if (access(folder.c_str(), W_OK) != 0) fail(path, ": cannot be written: ", std::strerror(errno));
}

void print_line(const Json& line) {
  std::cout << dump_json(line) << "\n" << std::flush;
  if (!std::cout) fail("standard output: cannot be written (is it closed, or the disk full?)");
}

Json with_id(const JsonLine& line) {
  Json out = Json::object();
  if (auto id = line.id()) out["id"] = *id;
  return out;
}

void ProgressOptions::add_to(Command& command) {
  command.add_flag("--quiet", quiet, "do not show progress");
}

std::unique_ptr<Display> ProgressOptions::show(const std::string& how_to_go_on) const {
  return std::make_unique<Display>(quiet ? Quiet::yes : Quiet::no, how_to_go_on);
}

}  // namespace thinker
