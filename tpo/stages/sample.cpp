#include "tpo/stages/sample.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "tensor/file.h"
#include "tpo/fingerprint.h"
#include "tpo/parallel.h"
#include "tpo/stages/forced_format.h"

namespace thinker {

namespace {

/// Prompts that are drawn together and saved when all are done: about eight times as many samples as are decoded at
/// once, since at the end of a chunk the batch runs empty.
int64_t chunk_of(const SampleStage& stage) {
  return std::max<int64_t>(1, 8 * stage.max_rows / stage.k);
}

SampleRecord to_record(GeneratedSample&& sample, const SamplePrompt& prompt, const std::vector<int32_t>& prompt_ids,
                       const ChatTokenizer& text, const ThoughtStyle& style) {
  SampleRecord record;
  record.id = prompt.id;
  record.sample = sample.sample;
  record.prompt_ids = prompt_ids;
  record.text = text.decode(sample.ids);
  record.stop = sample.ended ? Stop::end : Stop::length;
  record.split = split_output(record.text, style, record.stop);
  record.ids = std::move(sample.ids);
  record.logprobs = std::move(sample.logprobs);
  record.forced = std::move(sample.forced);
  return record;
}

/// What the model is shown. Throws as check_prompts does.
std::vector<int32_t> ids_of(const SamplePrompt& prompt, const Model& model, const ThoughtStyle& style) {
  const std::string place = prompt.place.empty() ? concat("prompt ", prompt.id.dump()) : prompt.place;
  std::vector<int32_t> ids;
  try {
    ids = model.text.prompt_ids(apply_thought(prompt.messages, style));
  } catch (const std::runtime_error& e) {
    fail(place, ": ", e.what());
  }
  const int64_t context = model.net.config().context;
  if (ids.empty()) fail(place, ": the prompt has no tokens");
  if (static_cast<int64_t>(ids.size()) >= context)
    fail(place, ": its ", ids.size(), " tokens fill the model's context of ", context, "; shorten it or leave it out");
  return ids;
}

std::string part_path(const std::string& path) {
  return path + ".part";
}

/// The first line of PATH.part: what its samples were drawn from.
std::string header_of(const Model& model, const std::vector<SamplePrompt>& prompts, const SampleStage& stage) {
  Fingerprint print;
  print.add(model.net);
  for (const std::string& text : {stage.style.instruction, stage.style.open, stage.style.split}) print.add(text);
  const SamplingOptions& s = stage.sampling;
  for (double x : {s.temperature, s.top_p, s.min_p}) print.add(x);
  for (int64_t n : {static_cast<int64_t>(stage.style.placement), static_cast<int64_t>(stage.format),
                    stage.thought_budget, stage.k, stage.first_sample, stage.max_new, stage.max_rows, s.top_k,
                    int64_t{s.greedy}, static_cast<int64_t>(stage.seed), static_cast<int64_t>(stage.iteration)})
    print.add(std::as_bytes(std::span(&n, 1)));
  for (const SamplePrompt& p : prompts) {
    print.add(p.id.dump()).add(std::to_string(p.key));
    print.add(std::span<const int32_t>(ids_of(p, model, stage.style)));
  }
  return Json{{"samples_of", print.text()}}.dump() + "\n";
}

/// Finished chunks of an interrupted stage, where its file begins with `header`. They end at the first line that is
/// torn or damaged; an unfinished chunk is dropped.
std::vector<SampleRecord> recover(const std::string& path, const std::string& header, size_t total,
                                  const SampleStage& stage) {
  std::vector<SampleRecord> done;
  std::ifstream file(part_path(path), std::ios::binary);
  std::string line;
  if (!std::getline(file, line) || line + "\n" != header) return {};
  while (done.size() < total && std::getline(file, line) && !file.eof()) {
    try {
      done.push_back(parse_sample(JsonLine(parse_json(line, part_path(path)), part_path(path))));
    } catch (const Error&) {
      break;
    }
  }
  const int64_t per_chunk = chunk_of(stage) * stage.k;
  done.resize(static_cast<int64_t>(done.size()) / per_chunk * per_chunk);
  return done;
}

}  // namespace

std::vector<SamplePrompt> sample_prompts_of(const std::vector<Prompt>& prompts, int64_t first_key) {
  std::vector<SamplePrompt> list;
  for (const Prompt& p : prompts) {
    const int64_t key = first_key + static_cast<int64_t>(list.size());
    list.push_back({p.id.value_or(Json(key)), p.messages, key, p.place});
  }
  return list;
}

int64_t check_prompts(const Model& model, const std::vector<SamplePrompt>& prompts, const ThoughtStyle& style) {
  size_t longest = 0;
  for (const SamplePrompt& p : prompts) longest = std::max(longest, ids_of(p, model, style).size());
  return static_cast<int64_t>(longest);
}

std::vector<SampleRecord> sample_prompts(const Model& model, const std::vector<SamplePrompt>& prompts,
                                         const SampleStage& stage) {
  std::vector<GenerateRequest> requests;
  for (const SamplePrompt& p : prompts)
    requests.push_back({ids_of(p, model, stage.style), p.key, stage.k, stage.first_sample});
  GenerateOptions options;
  options.max_new = stage.max_new;
  options.max_rows = stage.max_rows;
  options.sampling = stage.sampling;
  options.sampling.drawable = model.text.tokenizer.vocabulary_size();
  options.seed = stage.seed;
  options.iteration = stage.iteration;
  options.end_ids = model.text.end_ids;
  options.on_token = stage.on_token;
  if (stage.format == Format::forced && stage.style.thinks()) options.control = FormatForcer(model.text, stage);
  std::vector<GeneratedSample> samples = generate(model.net, requests, options);
  return parallel_map(static_cast<int64_t>(samples.size()), [&](int64_t i) {
    const int64_t of = samples[i].request;
    return to_record(std::move(samples[i]), prompts[of], requests[of].prompt, model.text, stage.style);
  });
}

std::vector<SampleRecord> sample_to_file(const Model& model, const std::vector<SamplePrompt>& prompts,
                                         const SampleStage& stage, const std::string& path, const Progress& progress) {
  const std::string header = header_of(model, prompts, stage);
  std::vector<SampleRecord> done = recover(path, header, prompts.size() * static_cast<size_t>(stage.k), stage);
  std::string lines = to_lines(std::span(std::as_const(done)), sample_to_json);
  write_file_atomically(part_path(path), header + lines);
  std::ofstream part(part_path(path), std::ios::binary | std::ios::app);
  const auto total = static_cast<int64_t>(prompts.size());
  const auto report = [&] {
    if (progress) progress("sample", static_cast<int64_t>(done.size()), total * stage.k);
  };
  report();
  for (int64_t begin = static_cast<int64_t>(done.size()) / stage.k; begin < total; begin += chunk_of(stage)) {
    const int64_t end = std::min(total, begin + chunk_of(stage));
    const std::vector<SamplePrompt> chunk(prompts.begin() + begin, prompts.begin() + end);
    const size_t before = done.size();
    for (SampleRecord& r : sample_prompts(model, chunk, stage)) done.push_back(std::move(r));
    const std::string more = to_lines(std::span(std::as_const(done)).subspan(before), sample_to_json);
    part << more << std::flush;
    if (!part) fail(part_path(path), ": cannot be written (is the disk full?)");
    lines += more;
    report();
  }
  write_file_atomically(path, lines);
  std::filesystem::remove(part_path(path));
  return done;
}

}  // namespace thinker
