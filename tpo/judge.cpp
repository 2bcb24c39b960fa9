#include "tpo/judge.h"

#include <algorithm>

#include "tensor/check.h"
#include "tpo/judges/answer.h"
#include "tpo/judges/command.h"
#include "tpo/judges/ifeval.h"
#include "tpo/judges/pairwise.h"
#include "tpo/judges/reward.h"
#include "tpo/judges/rule.h"
#include "tpo/prompt_formats.h"
#include "tpo/text.h"

namespace thinker {

namespace {

/// IFEval's own line: "key" is the id, the instructions are the check, their group the category.
void read_ifeval(const JsonLine& line, Prompt* prompt) {
  if (line.has("check")) line.error("has both \"check\" and \"instruction_id_list\"; keep one");
  prompt->check = {{"instruction_id_list", line.at("instruction_id_list")}, {"kwargs", line.at("kwargs")}};
  ifeval::parse_instructions(prompt->check, line.place());
  if (prompt->category.empty()) prompt->category = ifeval::common_group(prompt->check);
  if (prompt->id || !line.has("key")) return;
  const Json& key = line.at("key");
  if (!key.is_string() && !key.is_number()) line.error("\"key\" is neither a string nor a number");
  prompt->id = key;
}

}  // namespace

Prompt parse_prompt(const JsonLine& as_written) {
  const JsonLine line = in_our_words(as_written);
  Prompt prompt;
  prompt.place = line.place();
  prompt.id = line.id();
  if (line.has("category")) prompt.category = line.string("category");
  prompt.messages = line.messages();
  if (prompt.messages.back().role != "user") line.error("the last message of a prompt must be the user's");
  if (line.has("check")) {
    prompt.check = line.at("check");
    parse_checks(prompt.check, line.place() + ": \"check\"");
  }
  if (line.has("instruction_id_list")) read_ifeval(line, &prompt);
  if (line.has("reference")) prompt.reference = line.string("reference");
  return prompt;
}

Json prompt_to_json(const Prompt& prompt) {
  Json line = Json::object();
  if (prompt.id) line["id"] = *prompt.id;
  if (!prompt.category.empty()) line["category"] = prompt.category;
  line["messages"] = messages_to_json(prompt.messages);
  if (!prompt.check.is_null()) line["check"] = prompt.check;
  if (prompt.reference) line["reference"] = *prompt.reference;
  return line;
}

JudgeView make_judge_view(const Prompt& prompt, const SplitOutput& output) {
  ENSURE(output.parse == Parse::ok && output.response, "an output that did not parse (", name(output.parse),
         ") has nothing to judge");
  JudgeView view;
  view.prompt_ = prompt.messages;
  view.response_ = std::string(trim(*output.response));
  view.check_ = prompt.check;
  view.reference_ = prompt.reference;
  return view;
}

PairView::PairView(const JudgeView& first, const JudgeView& second)
    : prompt_(first.prompt()), first_(first.response()), second_(second.response()) {
  ENSURE(first.prompt() == second.prompt(), "a game of responses to two different prompts");
}

Json verdict_to_json(const PairJudged& judged) {
  Json json{{"answer", judged.answer}};
  if (judged.verdict)
    json["verdict"] = static_cast<int>(*judged.verdict);
  else
    json["error"] = judged.error;
  return json;
}

PairJudged parse_verdict(const JsonLine& line) {
  PairJudged judged;
  if (line.has("answer")) judged.answer = line.string("answer");
  if (!line.has("verdict")) {
    judged.error = line.string("error");
    return judged;
  }
  const int64_t verdict = line.integer("verdict");
  if (verdict < -1 || verdict > 1) line.error("\"verdict\" is none of 1, 0 and -1");
  judged.verdict = static_cast<Verdict>(verdict);
  return judged;
}

void known_judge_keys_only(const Json& recipe, const std::vector<std::string>& keys) {
  for (const auto& [key, value] : recipe.items())
    if (std::find(keys.begin(), keys.end(), key) == keys.end())
      fail("judge.", excerpt(key), ": unknown key; did you mean judge.", nearest_name(key, keys), "?");
}

namespace {

std::unique_ptr<Judge> make_command_judge(const Json& recipe) {
  known_judge_keys_only(recipe, {"kind", "command", "timeout_s"});
  if (!recipe.contains("command") || !recipe["command"].is_string() ||
      trim(recipe["command"].get<std::string>()).empty())
    fail("judge.command: the command judge needs a command line, as a string");
  double timeout_s = 60;
  if (recipe.contains("timeout_s")) {
    if (!recipe["timeout_s"].is_number()) fail("judge.timeout_s: not a number");
    timeout_s = recipe["timeout_s"].get<double>();
    if (!(timeout_s > 0 && timeout_s <= 86400)) fail("judge.timeout_s: must be above 0 and at most 86400 seconds");
  }
  return std::make_unique<CommandJudge>(recipe["command"].get<std::string>(), timeout_s);
}

std::unique_ptr<Judge> make_reward_judge(const Json& recipe) {
  known_judge_keys_only(recipe, {"kind", "model", "device"});
  if (!recipe.contains("model") || !recipe["model"].is_string())
    fail("judge.model: the reward judge needs a reward model's folder, as a string");
  const std::vector<std::string> devices = {"auto", "cpu", "cuda"};
  const Json device = recipe.value("device", Json("auto"));
  if (std::find(devices.begin(), devices.end(), device) == devices.end())
    fail("judge.device: ", excerpt(device.dump()), " is unknown; use auto, cpu or cuda");
  return std::make_unique<RewardJudge>(recipe["model"].get<std::string>(), device.get<std::string>());
}

}  // namespace

const std::vector<std::string>& judge_kinds() {
  static const std::vector<std::string> kinds = {"rule", "answer", "command", "reward", "pairwise"};
  return kinds;
}

std::unique_ptr<Judge> make_judge(const Json& recipe) {
  if (!recipe.is_object() || !recipe.contains("kind") || !recipe["kind"].is_string())
    fail("judge.kind: missing; a judge is an object such as {\"kind\": \"rule\"}");
  const auto kind = recipe["kind"].get<std::string>();
  if (kind == "command") return make_command_judge(recipe);
  if (kind == "rule") return std::make_unique<RuleJudge>(parse_rule_knobs(recipe));
  if (kind == "reward") return make_reward_judge(recipe);
  if (kind == "answer") {
    known_judge_keys_only(recipe, {"kind"});
    return std::make_unique<AnswerJudge>();
  }
  if (is_pairwise(recipe)) fail("judge.kind: \"pairwise\" compares two responses and cannot score one");
  fail("judge.kind: unknown kind \"", excerpt(kind), "\"; did you mean \"", nearest_name(kind, judge_kinds()), "\"?");
}

bool is_pairwise(const Json& recipe) {
  return recipe.is_object() && recipe.contains("kind") && recipe["kind"] == "pairwise";
}

void check_judge(const Json& recipe) {
  if (is_pairwise(recipe))
    parse_pairwise(recipe);
  else
    make_judge(recipe);
}

}  // namespace thinker
