#include "tpo/judges/local_chat.h"

#include <algorithm>

#include "nn/generate.h"
#include "tensor/check.h"
#include "tokenizer/error.h"
#include "tpo/jsonl.h"

namespace thinker {

namespace {

/// Verdicts of a batch are in the cache before the next begins; rows of keys and values are kept for this many.
constexpr size_t kBatch = 32;
constexpr int64_t kRows = 16;

/// Half a character that a model sampled becomes U+FFFD, as in every file of ours.
Json well_formed(const Json& json) {
  return parse_json(dump_json(json), "judge");
}

}  // namespace

LocalChat::LocalChat(std::string model, std::string device, ChatOptions options)
    : path_(std::move(model)), device_name_(std::move(device)), options_(std::move(options)) {}

void LocalChat::open() {
  if (model_) return;
  device_ = open_device(device_name_);
  const DType t = device_->backend().kind() == "cpu" ? DType::F32 : DType::BF16;
  model_ = std::make_unique<Model>(open_model(*device_, path_, t));
}

void LocalChat::ask(std::span<const ChatQuestion> questions, const OnReply& on_reply) {
  open();
  const int64_t context = model_->net.config().context;
  std::vector<Encoded> batch;
  for (size_t i = 0; i < questions.size(); ++i) {
    Encoded encoded{i, questions[i].key, {}};
    std::string error;
    try {
      encoded.ids =
          model_->text.prompt_ids(parse_messages(well_formed(messages_to_json(questions[i].messages)), "judge"));
      if (static_cast<int64_t>(encoded.ids.size()) >= context)
        error = concat("the question's ", encoded.ids.size(), " tokens fill the judge's context of ", context);
    } catch (const TokenizerError& e) {
      error = e.what();
    }
    if (!error.empty())
      on_reply(i, {"", {}, error});
    else if (options_.choices.empty())
      batch.push_back(std::move(encoded));
    else
      weigh(encoded, on_reply);
    if (batch.size() == kBatch || i + 1 == questions.size()) {
      answer(batch, on_reply);
      batch.clear();
    }
  }
}

void LocalChat::answer(const std::vector<Encoded>& batch, const OnReply& on_reply) {
  if (batch.empty()) return;
  std::vector<GenerateRequest> requests;
  for (const Encoded& e : batch) requests.push_back({e.ids, static_cast<int64_t>(e.key & 0x7fffffff)});
  GenerateOptions generation;
  generation.max_new = options_.max_new;
  generation.max_rows = kRows;
  generation.sampling.greedy = options_.temperature == 0.0;
  if (options_.temperature > 0) generation.sampling.temperature = options_.temperature;
  generation.sampling.drawable = model_->text.tokenizer.vocabulary_size();
  generation.end_ids = model_->text.end_ids;
  for (const GeneratedSample& s : generate(model_->net, requests, generation))
    on_reply(batch[s.request].index, {well_formed(Json(model_->text.decode(s.ids))).get<std::string>(), {}, ""});
}

/// The choices' log-probs as first token, from one forward.
void LocalChat::weigh(const Encoded& question, const OnReply& on_reply) {
  Batch batch;
  const Batch::Prefix prefix = batch.add_prompt(question.ids);
  for (const std::string& choice : options_.choices) {
    const std::vector<int32_t> ids = model_->text.tokenizer.encode(choice, SpecialText::Plain);
    if (ids.size() != 1) fail(path_, ": has no single token for \"", choice, "\"; use another judge.format");
    batch.add_completion(prefix, ids);
  }
  Tape tape(model_->net.device(), Tape::Mode::no_grad);
  ChatReply reply;
  for (float x : model_->net.logprobs(tape, batch).to_host<float>()) reply.logprobs.emplace_back(x);
  on_reply(question.index, reply);
}

}  // namespace thinker
