// thinker convert: any MODEL to a Hugging Face folder that transformers and llama.cpp's converter load.
#include <filesystem>

#include "nn/lora.h"
#include "tools/common.h"

namespace thinker {

namespace {

/// A trained folder holds its adapters merged, and beside them alone: they must not be added twice.
void ensure_not_merged(const std::string& model, const std::string& adapter) {
  namespace fs = std::filesystem;
  if (fs::weakly_canonical(adapter).parent_path() == fs::weakly_canonical(model))
    fail(adapter, ": ", model, " has these adapters merged already; give the model that they were trained from, ",
         "which ", adapter, "/adapter_config.json names");
}

}  // namespace

void add_convert(Command& program) {
  struct Options {
    std::string model, out, adapter, dtype = "f32";
  };
  auto options = std::make_shared<Options>();
  Command command = program.add_subcommand("convert", "a model to a Hugging Face folder");
  command.add_option("MODEL", options->model, "folder or .gguf file").required();
  command.add_option("OUT", options->out, "folder to write").required();
  command.add_option("--adapter", options->adapter, "folder of a low-rank adapter (PEFT's layout) to merge in");
  command.add_option("--dtype", options->dtype, "f32 or bf16").check(one_of({"f32", "bf16"}));
  command.callback([options] {
    const StoredAs stored_as = dtype_from_name(options->dtype) == DType::F32 ? StoredAs::f32 : StoredAs::bf16;
    check_not_overwritten({{"OUT", options->out}}, {{"MODEL", options->model}, {"--adapter", options->adapter}});
    if (!options->adapter.empty()) ensure_not_merged(options->model, options->adapter);
    const auto device = open_device("cpu");
    Model model = open_model(*device, options->model, DType::F32);
    if (!options->adapter.empty()) model.net.attach(read_adapter(options->adapter, model.net));
    prepare_folder(options->out);
    model.save(options->out, stored_as);
  });
}

}  // namespace thinker
