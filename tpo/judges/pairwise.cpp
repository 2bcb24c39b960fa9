#include "tpo/judges/pairwise.h"

#include <map>

#include "tensor/check.h"
#include "tpo/fingerprint.h"
#include "tpo/judges/local_chat.h"
#include "tpo/provenance.h"
#include "tpo/text.h"

namespace thinker {

namespace {

/// Reads a recipe's keys with their limits.
class Keys {
 public:
  explicit Keys(const Json& recipe) : recipe_(recipe) {}

  bool has(const char* key) const { return recipe_.contains(key) && !recipe_[key].is_null(); }

  std::string text(const char* key) const {
    if (!recipe_[key].is_string()) fail("judge.", key, ": not a text");
    return recipe_[key].get<std::string>();
  }
  void number(const char* key, double* to, double low, double high) const {
    if (!has(key)) return;
    if (!recipe_[key].is_number()) fail("judge.", key, ": not a number");
    const double x = recipe_[key].get<double>();
    if (!(x >= low && x <= high)) fail("judge.", key, ": must be from ", low, " to ", high);
    *to = x;
  }
  void integer(const char* key, int64_t* to, int64_t low, int64_t high) const {
    if (!has(key)) return;
    if (!recipe_[key].is_number_integer()) fail("judge.", key, ": not an integer");
    double x = static_cast<double>(*to);
    number(key, &x, static_cast<double>(low), static_cast<double>(high));
    *to = static_cast<int64_t>(x);
  }
  /// The index of the word that stands there, or 0.
  size_t choice(const char* key, const std::vector<std::string>& words) const {
    if (!has(key)) return 0;
    const std::string word = text(key);
    for (size_t i = 0; i < words.size(); ++i)
      if (words[i] == word) return i;
    fail("judge.", key, ": \"", excerpt(word), "\" is unknown; did you mean \"", nearest_name(word, words), "\"?");
  }

 private:
  const Json& recipe_;
};

EndpointOptions parse_endpoint(const Keys& keys, const std::string& model) {
  EndpointOptions endpoint;
  endpoint.url = keys.text("endpoint");
  endpoint.model = model;
  if (keys.has("key_env")) endpoint.key_env = keys.text("key_env");
  keys.integer("concurrency", &endpoint.concurrency, 1, 256);
  keys.number("requests_per_minute", &endpoint.requests_per_minute, 0, 1e6);
  keys.number("timeout_s", &endpoint.timeout_s, 0.001, 86400);
  keys.integer("retries", &endpoint.retries, 0, 100);
  check_endpoint(endpoint);
  return endpoint;
}

}  // namespace

PairwiseRecipe parse_pairwise(const Json& recipe) {
  std::vector<std::string> known = {"kind",    "format", "model",        "temperature",
                                    "max_new", "scores", "inconsistent", "cache"};
  const std::vector<std::string> endpoint_keys = {"endpoint",  "key_env", "concurrency", "requests_per_minute",
                                                  "timeout_s", "retries"};
  const Keys keys(recipe);
  known.insert(known.end(), endpoint_keys.begin(), endpoint_keys.end());
  if (!keys.has("endpoint")) {
    for (const std::string& key : endpoint_keys)
      if (keys.has(key.c_str())) fail("judge.", key, ": is for an \"endpoint\", which this judge does not name");
    known.push_back("device");
  }
  known_judge_keys_only(recipe, known);
  if (!keys.has("model") || keys.text("model").empty())
    fail(
        "judge.model: missing; a pairwise judge asks a MODEL (folder or .gguf), or an \"endpoint\" for one of its "
        "models");
  PairwiseRecipe parsed{pair_format(keys.has("format") ? keys.text("format") : "self-taught-evaluator"),
                        keys.text("model"),
                        {},
                        "auto",
                        {},
                        {},
                        {}};
  if (keys.has("endpoint")) parsed.endpoint = parse_endpoint(keys, parsed.model);
  if (keys.has("device")) {
    const std::vector<std::string> devices = {"auto", "cpu", "cuda"};
    parsed.device = devices[keys.choice("device", devices)];
  }
  keys.number("temperature", &parsed.chat.temperature, 0, 10);
  keys.integer("max_new", &parsed.chat.max_new, 1, 1'000'000);
  parsed.chat.choices = parsed.format.choices;
  parsed.rule.scores = keys.choice("scores", {"bt", "wins"}) == 0 ? GameScores::bt : GameScores::wins;
  parsed.rule.inconsistent = keys.choice("inconsistent", {"keep", "tie"}) == 0 ? Inconsistent::keep : Inconsistent::tie;
  if (keys.has("cache"))
    parsed.cache = keys.text("cache");
  else if (recipe.contains("cache"))
    parsed.cache = "";
  return parsed;
}

PairwiseJudge::PairwiseJudge(PairFormat format, std::string model, Json files, ChatOptions options,
                             std::unique_ptr<Chat> chat, std::string cache_path)
    : format_(std::move(format)),
      label_(format_.name + ", " + model),
      options_(std::move(options)),
      chat_(std::move(chat)),
      cache_path_(std::move(cache_path)) {
  identity_ = {{"kind", "pairwise"},
               {"format", format_.identity()},
               {"model", model},
               {"temperature", options_.temperature},
               {"max_new", options_.max_new}};
  if (!files.is_null()) identity_["files"] = std::move(files);
}

std::string PairwiseJudge::key_of(const PairView& view) const {
  Json all = identity_;
  all["view"] = view.to_json();
  return sha256(dump_json(all));
}

std::vector<PairJudged> PairwiseJudge::judge(std::span<const PairView> views, const OnJudged& on_judged) {
  if (!cache_) cache_.emplace(cache_path_);
  std::vector<std::string> keys;
  std::map<std::string, PairJudged> failed;  // what could not be asked this time
  std::vector<ChatQuestion> questions;
  std::vector<std::string> asked;
  for (const PairView& view : views) {
    keys.push_back(key_of(view));
    if (cache_->find(keys.back()) || !failed.try_emplace(keys.back()).second) continue;
    asked.push_back(keys.back());
    questions.push_back({format_.conversation(view), std::stoull(keys.back().substr(0, 8), nullptr, 16)});
  }
  auto done = static_cast<int64_t>(views.size() - questions.size());
  const auto take = [&](size_t i, const ChatReply& reply) {
    if (reply.error.empty())
      cache_->add(asked[i], label_, options_.choices.empty() ? format_.read(reply.text) : format_.read(reply.logprobs));
    else
      failed[asked[i]] = {std::nullopt, reply.error, reply.text};
    if (on_judged) on_judged(++done);
  };
  if (!questions.empty()) chat_->ask(questions, take);
  std::vector<PairJudged> results;
  for (const std::string& key : keys) {
    const PairJudged* cached = cache_->find(key);
    results.push_back(cached ? *cached : failed.at(key));
  }
  return results;
}

std::unique_ptr<PairJudge> make_pair_judge(const Json& recipe, const std::string& folder) {
  PairwiseRecipe parsed = parse_pairwise(recipe);
  std::unique_ptr<Chat> chat;
  if (parsed.endpoint)
    chat = std::make_unique<Endpoint>(*parsed.endpoint, parsed.chat);
  else
    chat = std::make_unique<LocalChat>(parsed.model, parsed.device, parsed.chat);
  const std::string cache = parsed.cache.value_or((folder.empty() ? "." : folder) + "/judge-cache.jsonl");
  Json files = parsed.endpoint ? Json() : model_hashes(parsed.model);
  return std::make_unique<PairwiseJudge>(std::move(parsed.format), parsed.model, std::move(files), parsed.chat,
                                         std::move(chat), cache);
}

}  // namespace thinker
