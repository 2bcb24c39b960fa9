// A prompt's tokens but the last are prefilled into its region of the cache. Each sample then starts by feeding the
// prompt's last token as the first row of its own region, so that the first step of a sample is a step like any other.
#include "nn/generate.h"

#include <algorithm>
#include <deque>
#include <memory>

#include "nn/packed_weights.h"
#include "nn/recorded_steps.h"
#include "tensor/rng.h"

namespace thinker {

namespace {

/// The sampler indexes its rows with ids that no forward has seen.
void check_id(const Transformer& model, int32_t id) {
  ENSURE(id >= 0 && id < model.config().vocab, "token id ", id, " is outside the model's vocabulary of ",
         model.config().vocab);
}

/// A prompt in the cache, shared by its samples; its rows are freed with the last of them.
struct CachedPrompt {
  KvCache& cache;
  int32_t begin = 0;
  int32_t length = 0;  // tokens but the last
  explicit CachedPrompt(KvCache& c) : cache(c) {}
  ~CachedPrompt() {
    if (length > 0) cache.release(begin, length);
  }
  CachedPrompt(const CachedPrompt&) = delete;
  CachedPrompt& operator=(const CachedPrompt&) = delete;
};

/// A sample that is being decoded.
struct Row {
  std::shared_ptr<CachedPrompt> prompt;
  GeneratedSample out;
  Rng rng;
  int32_t own_begin = 0;   // its region of the cache: most_new_ rows
  int32_t next_input = 0;  // the token to feed
  std::deque<int32_t> to_force;
};

class Decoder {
 public:
  Decoder(const Transformer& model, const std::vector<GenerateRequest>& requests, const GenerateOptions& options)
      : model_(model), requests_(requests), options_(options), most_new_(most_new()), cache_(make_cache()) {
    // Few rows are drawn from the weights as they are: packing would cost a few steps.
    if (most_rows() >= kRowsWorthPacking) packed_.emplace(model_);
  }

  std::vector<GeneratedSample> run() {
    while (admit() || !rows_.empty()) {
      if (!rows_.empty()) step();
    }
    ENSURE(request_ == requests_.size(), "generate: the cache is too small for one sample");
    std::sort(done_.begin(), done_.end(), [](const auto& a, const auto& b) {
      return std::pair(a.request, a.sample) < std::pair(b.request, b.sample);
    });
    return std::move(done_);
  }

 private:
  static constexpr int64_t kRowsWorthPacking = 4;
  static constexpr int64_t kRefill = 8;  // new samples start when one in so many rows is free

  Decoding decoding() { return {&cache_, packed_ ? &*packed_ : nullptr, &steps_}; }

  /// The most tokens that samples of this request can have.
  int64_t room_behind(const GenerateRequest& r) const {
    return std::min(options_.max_new, model_.config().context - static_cast<int64_t>(r.prompt.size()));
  }

  /// The rows of the cache that a sample gets: no more than the most that any can fill.
  int64_t most_new() const {
    int64_t most = 1;
    for (const GenerateRequest& r : requests_) most = std::max(most, room_behind(r));
    return most;
  }

  int64_t most_rows() const {
    int64_t total = 0;
    for (const GenerateRequest& r : requests_) total += r.samples;
    return std::min(options_.max_rows, total);
  }

  /// Large enough for max_rows samples and for every prompt that can be in use beside them.
  KvCache make_cache() const {
    int64_t longest = 1, fewest = INT64_MAX;
    for (const GenerateRequest& r : requests_) {
      ENSURE(!r.prompt.empty(), "a prompt has no tokens");
      ENSURE(r.samples > 0, "a request for ", r.samples, " samples");
      ENSURE(room_behind(r) > 0, "a prompt of ", r.prompt.size(), " tokens fills the model's context of ",
             model_.config().context);
      longest = std::max(longest, static_cast<int64_t>(r.prompt.size()));
      fewest = std::min(fewest, r.samples);
    }
    const int64_t rows = most_rows();
    const int64_t prompts =
        std::min<int64_t>(static_cast<int64_t>(requests_.size()), rows / std::min(fewest, rows) + 2);
    return KvCache(model_.device(), model_.config(), rows * most_new_ + prompts * longest, model_.dtype());
  }

  /// Starts waiting samples while there is room; returns whether any was started. Not for every row that gets free:
  /// prompts are prefilled together, and few rows of a product cost nearly what many do.
  bool admit() {
    const auto free_rows = options_.max_rows - static_cast<int64_t>(rows_.size());
    if (!rows_.empty() && free_rows * kRefill < options_.max_rows) return false;
    std::vector<std::pair<const GenerateRequest*, std::shared_ptr<CachedPrompt>>> fresh;
    const size_t before = rows_.size();
    while (static_cast<int64_t>(rows_.size()) < options_.max_rows && request_ < requests_.size()) {
      const GenerateRequest& r = requests_[request_];
      if (!current_) {
        auto prompt = std::make_shared<CachedPrompt>(cache_);
        if (r.prompt.size() > 1) {
          const auto begin = cache_.reserve(static_cast<int64_t>(r.prompt.size()) - 1);
          if (!begin) break;
          prompt->begin = *begin;
          prompt->length = static_cast<int32_t>(r.prompt.size()) - 1;
          fresh.emplace_back(&r, prompt);
        }
        current_ = prompt;
      }
      const auto own = cache_.reserve(most_new_);
      if (!own) break;
      start_sample(r, *own);
      if (++started_ == r.samples) {
        current_.reset();
        started_ = 0;
        ++request_;
      }
    }
    prefill(fresh);
    return rows_.size() > before;
  }

  void start_sample(const GenerateRequest& r, int32_t own_begin) {
    const int64_t sample = r.first_sample + started_;
    Row row{current_,
            {},
            Rng(options_.seed, Purpose::sample, options_.iteration, static_cast<uint32_t>(r.key),
                static_cast<uint32_t>(sample)),
            own_begin,
            r.prompt.back(),
            {}};
    row.out.request = static_cast<int64_t>(request_);
    row.out.sample = sample;
    rows_.push_back(std::move(row));
  }

  /// Writes the prompts' keys and values; a few prompts share one pass so that its products are large.
  void prefill(const std::vector<std::pair<const GenerateRequest*, std::shared_ptr<CachedPrompt>>>& fresh) {
    constexpr int64_t kTokens = 1024;
    for (size_t i = 0; i < fresh.size();) {
      Batch batch;
      for (; i < fresh.size() && (batch.size() == 0 || batch.size() + fresh[i].second->length <= kTokens); ++i) {
        const CachedPrompt& prompt = *fresh[i].second;
        const auto query = static_cast<int32_t>(batch.size());
        for (int32_t t = 0; t < prompt.length; ++t) {
          batch.tokens.push_back(fresh[i].first->prompt[t]);
          batch.positions.push_back(t);
          batch.cache_rows.push_back(prompt.begin + t);
        }
        batch.segments.push_back({query, prompt.length, 0, 0, prompt.begin, prompt.length});
      }
      Tape tape(model_.device(), Tape::Mode::no_grad);
      model_.hidden(tape, batch, decoding());
    }
  }

  /// One token for every row.
  void step() {
    const auto n = static_cast<int32_t>(rows_.size());
    Batch batch;
    std::vector<SampleRow> asked;
    for (int32_t i = 0; i < n; ++i) {
      Row& row = rows_[i];
      const auto t = static_cast<int32_t>(row.out.ids.size());
      batch.tokens.push_back(row.next_input);
      batch.positions.push_back(row.prompt->length + t);
      batch.cache_rows.push_back(row.own_begin + t);
      batch.segments.push_back({i, 1, row.prompt->begin, row.prompt->length, row.own_begin, t + 1});
      batch.rows.push_back(i);
      asked.push_back(ask(row));
    }
    std::vector<int32_t> ids(n);
    std::vector<float> logprobs(n);
    {
      Tape tape(model_.device(), Tape::Mode::no_grad);
      const Tensor logits = model_.logits(tape, batch, decoding());
      tape.backend().sample(ids.data(), logprobs.data(), logits.raw(), asked.data(), options_.end_ids.data(),
                            static_cast<int64_t>(options_.end_ids.size()), options_.sampling, n, model_.config().vocab);
    }
    for (int32_t i = 0; i < n; ++i) take(rows_[i], ids[i], logprobs[i], asked[i].forced >= 0);
    retire();
  }

  /// What this row wants drawn.
  SampleRow ask(Row& row) const {
    bool end_is_forbidden = false;
    if (row.to_force.empty() && options_.control) {
      NextToken next = options_.control(row.out);
      row.to_force.assign(next.force.begin(), next.force.end());
      end_is_forbidden = next.end_is_forbidden;
    }
    if (row.to_force.empty()) return {row.rng.at(static_cast<uint32_t>(row.out.ids.size())), -1, end_is_forbidden};
    const int32_t id = row.to_force.front();
    check_id(model_, id);
    row.to_force.pop_front();
    return {0.0, id, false};
  }

  void take(Row& row, int32_t id, float logprob, bool forced) {
    GeneratedSample& out = row.out;
    const auto at = static_cast<int64_t>(out.ids.size());
    if (forced) {
      if (!out.forced.empty() && out.forced.back().second == at)
        ++out.forced.back().second;
      else
        out.forced.emplace_back(at, at + 1);
    }
    out.ids.push_back(id);
    out.logprobs.push_back(logprob);
    out.ended = !forced && std::find(options_.end_ids.begin(), options_.end_ids.end(), id) != options_.end_ids.end();
    row.next_input = id;
    if (options_.on_token) options_.on_token(out);
  }

  /// Moves finished rows out of the batch; the others keep their order. In place: a row that is moved allocates (its
  /// deque), and most stay where they are.
  void retire() {
    size_t kept = 0;
    for (size_t i = 0; i < rows_.size(); ++i) {
      Row& row = rows_[i];
      if (!row.out.ended && static_cast<int64_t>(row.out.ids.size()) < room_behind(requests_[row.out.request])) {
        if (kept != i) rows_[kept] = std::move(row);
        ++kept;
        continue;
      }
      cache_.release(row.own_begin, most_new_);
      done_.push_back(std::move(row.out));
    }
    rows_.erase(rows_.begin() + static_cast<int64_t>(kept), rows_.end());
  }

  const Transformer& model_;
  const std::vector<GenerateRequest>& requests_;
  const GenerateOptions& options_;
  const int64_t most_new_;
  KvCache cache_;
  std::optional<PackedWeights> packed_;
  RecordedSteps steps_;
  size_t request_ = 0;                     // the request whose samples are being started
  int64_t started_ = 0;                    // how many of them were
  std::shared_ptr<CachedPrompt> current_;  // its prompt
  std::vector<Row> rows_;
  std::vector<GeneratedSample> done_;
};

}  // namespace

std::vector<GeneratedSample> generate(const Transformer& model, const std::vector<GenerateRequest>& requests,
                                      const GenerateOptions& options) {
  ENSURE(options.max_new > 0 && options.max_rows > 0, "generate: nothing to draw");
  ENSURE(accumulator_of(model.dtype()) == DType::F32, "generate: the sampler reads fp32 logits");
  for (int32_t id : options.end_ids) check_id(model, id);
  if (requests.empty()) return {};
  return Decoder(model, requests, options).run();
}

}  // namespace thinker
