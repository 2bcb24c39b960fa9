// From files to a Transformer or a RewardModel, and back: Hugging Face folders (config.json, model.safetensors, sharded
// too) and GGUF.
#pragma once

#include <string>
#include <vector>

#include "nn/reward_model.h"
#include "tensor/gguf.h"

namespace thinker {

/// What a model's files say beside its weights, for other programs.
struct GenerationDefaults {
  std::vector<int32_t> end_ids;  // may be empty
  int32_t bos = -1, pad = -1;
};

/// Reads config.json of a folder. Throws Error naming the file and the key, or an architecture that is not supported.
Config read_config(const std::string& folder);
/// The same of a file by any name.
Config read_config_file(const std::string& path);

/// The same from GGUF metadata; architectures "llama", "qwen2" and "qwen3".
Config read_config(const GgufFile& file);

/// What a folder's model ends in, by the architecture in its config.json.
enum class Head { language, reward };

/// Throws Error when the folder is of a classifier with another number of labels than one.
Head read_head(const std::string& folder);

/// Whether a language model's output head is loaded, or left out for a reward model's body.
enum class OutputHead { loaded, left_out };

/// How the matrices of a model are kept. All but `full` are for inference on the CPU: fewer bytes to read for each
/// token. What is computed with them is of the model's dtype, and about as exact (Backend::matmul_stored).
enum class WeightStorage {
  full,  // in the model's dtype
  bf16,  // rounded to bf16
  q8,    // in blocks of 8 bits (tensor/quantize.h); matrices whose rows are no whole blocks stay full
  file,  // as they lie in a GGUF file, where it holds BF16, Q4_0, Q4_1 or Q8_0; otherwise full
};

/// Loads a folder's weights, converted to `t`. Throws Error naming a weight that is missing or has another shape, or
/// when the folder is of a reward model.
Transformer load_huggingface(Device& device, const std::string& folder, DType t, OutputHead head = OutputHead::loaded,
                             WeightStorage storage = WeightStorage::full);

/// Loads a folder whose head is Head::reward.
RewardModel load_reward_model(Device& device, const std::string& folder, DType t);

/// Loads and dequantises a GGUF file's weights. The rows of query and key matrices, which "llama" files hold permuted
/// for interleaved rotary embeddings, are put back.
Transformer load_gguf(Device& device, const GgufFile& file, DType t, OutputHead head = OutputHead::loaded,
                      WeightStorage storage = WeightStorage::full);

/// How weights are stored in a checkpoint. F32 is the rule: bf16 would lose the small updates of preference training.
enum class StoredAs { f32, bf16 };

/// Writes config.json, generation_config.json and model.safetensors into the folder (made if needed), each atomically.
/// Adapters (nn/lora.h) are written merged into their weights.
void save_checkpoint(const std::string& folder, const Transformer& model, const GenerationDefaults& defaults,
                     StoredAs stored_as);
void save_checkpoint(const std::string& folder, const RewardModel& model, const GenerationDefaults& defaults,
                     StoredAs stored_as);

}  // namespace thinker
