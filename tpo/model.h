// An opened MODEL: weights, tokenizer and chat template of a Hugging Face folder or a .gguf file, read once. Every
// command turns messages and completions into ids here and nowhere else.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "nn/load.h"
#include "nn/transformer.h"
#include "tokenizer/bpe.h"
#include "tokenizer/chat_template.h"

namespace thinker {

/// The tokenizer half of a model: enough to go between text and ids.
struct ChatTokenizer {
  Tokenizer tokenizer;
  ChatTemplate chat;
  std::vector<int32_t> end_ids;  // all at which a generation stops, the end of turn first

  explicit ChatTokenizer(Tokenizer t)
      : tokenizer(std::move(t)),
        chat(recognise_chat_template(tokenizer.spec())),
        end_ids(thinker::end_ids(tokenizer, chat)) {}

  /// The chat template applied to messages, with the generation prompt.
  std::vector<int32_t> prompt_ids(const Messages& messages) const {
    return render_ids(tokenizer, chat, messages, GenerationPrompt::Add);
  }
  /// A completion's text as ids, taken as plain text, and the end-of-turn id.
  std::vector<int32_t> completion_ids(const std::string& text) const {
    return thinker::completion_ids(tokenizer, chat, text);
  }
  std::string decode(std::span<const int32_t> ids) const { return tokenizer.decode(ids, SpecialTokens::Skip); }
};

struct Model {
  Transformer net;
  ChatTokenizer text;

  /// Writes a folder that transformers loads: weights, configuration, tokenizer, template.
  void save(const std::string& folder, StoredAs stored_as = StoredAs::f32) const;
};

/// Whether a file of this path within a folder is part of the model there: it is read with it, or save() writes or
/// removes it.
bool is_model_file(const std::string& path);

/// A reward model with its tokenizer. What it judges is a prompt's ids followed by a completion's, end token included.
struct TextRewardModel {
  RewardModel net;
  ChatTokenizer text;

  /// Writes a folder that transformers loads as a sequence classifier with one label.
  void save(const std::string& folder) const;
};

/// Opens a folder or a .gguf file. Throws Error naming the file and what is wrong with it or not supported, and when
/// the vocabulary is larger than the embedding.
Model open_model(Device& device, const std::string& path, DType t, WeightStorage storage = WeightStorage::full);

/// What to do with a language model where a reward model is wanted: refuse it, or put a score of zeros on its body.
enum class NoScore { refused, zeros };

/// Opens a reward model's folder, or with NoScore::zeros any MODEL. Throws Error as open_model does.
TextRewardModel open_reward_model(Device& device, const std::string& path, DType t, NoScore no_score);

/// Throws Error, in one line, when the path cannot be of a reward model; reads no weights.
void check_reward_model(const std::string& path);

/// Opens only the tokenizer of a MODEL.
ChatTokenizer open_tokenizer(const std::string& path);

}  // namespace thinker
