#include "tpo/stages/forced_format.h"

namespace thinker {

FormatForcer::FormatForcer(const ChatTokenizer& text, const SampleStage& stage)
    : text_(text),
      split_(stage.style.split),
      budget_(stage.thought_budget),
      open_ids_(text.tokenizer.encode(stage.style.open, SpecialText::Plain)),
      split_ids_(text.tokenizer.encode("\n\n" + stage.style.split + "\n", SpecialText::Plain)) {}

NextToken FormatForcer::operator()(const GeneratedSample& sample) const {
  const auto length = static_cast<int64_t>(sample.ids.size());
  const auto opened = static_cast<int64_t>(open_ids_.size());
  if (length == 0 && opened > 0) return {open_ids_, false};
  const bool split_was_written = !sample.forced.empty() && sample.forced.back().second > opened;
  if (split_was_written) return {};
  const std::span<const int32_t> thought = std::span(sample.ids).subspan(opened);
  if (text_.decode(thought).find(split_) != std::string::npos) return {};
  if (length - opened >= budget_) return {split_ids_, false};
  return {{}, true};
}

int64_t FormatForcer::least_max_new() const {
  return static_cast<int64_t>(open_ids_.size() + split_ids_.size()) + budget_ + 2;
}

}  // namespace thinker
