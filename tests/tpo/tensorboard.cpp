// TensorBoard's files: golden bytes, what of a log becomes a scalar, and that a file follows its log through any
// resume.
#include "tpo/tensorboard.h"

#include <cstring>

#include "tensor/file.h"
#include "tests/tpo/tiny_world.h"

using namespace thinker;

namespace {

/// The messages of a file's frames, without what a clock gave.
std::vector<std::string> messages_of(std::string_view file) {
  std::vector<std::string> messages;
  while (file.size() >= 16) {
    uint64_t length = 0;
    std::memcpy(&length, file.data(), sizeof length);
    messages.emplace_back(file.substr(12 + 9, length - 9));
    file.remove_prefix(length + 16);
  }
  CHECK(file.empty());
  return messages;
}

/// What a run's file must hold, from its log alone.
std::vector<std::string> messages_for(const std::string& log) {
  std::string file = version_record(0);
  LogScalars scalars;
  for (const JsonLine& line : read_jsonl(log)) file += event_record(scalars.event_of(line.json()));
  return messages_of(file);
}

}  // namespace

TEST_CASE("tensorboard: CRC-32C, masked, and the bytes of a record") {
  CHECK(crc32c("123456789") == 0xe3069283u);
  CHECK(crc32c("") == 0u);
  CHECK(crc32c(std::string(32, '\0')) == 0x8a9136aau);  // RFC 3720, B.4
  CHECK(crc32c(std::string(32, '\xff')) == 0x62a8ab43u);
  CHECK(masked_crc32c("123456789") == 0xc78ab0e5u);
  const std::string record = event_record({1.0, 300, {{"a", 0.5}}});
  const std::string message("\x09\0\0\0\0\0\0\xf0\x3f\x10\xac\x02\x2a\x0a\x0a\x08\x0a\x01\x61\x15\0\0\0\x3f", 24);
  CHECK(record.substr(0, 8) == std::string("\x18\0\0\0\0\0\0\0", 8));
  CHECK(record.substr(12, 24) == message);
  CHECK(record.size() == 40);
  CHECK(version_record(0).substr(12 + 9, 15) == std::string("\x1a\x0d") + "brain.Event:2");
}

TEST_CASE("tensorboard: a torn or damaged file is read up to there") {
  const std::string file = version_record(3) + event_record({4, 0, {{"a", 1}}}) + event_record({5, 1, {{"a", 2}}});
  CHECK(read_wall_times(file) == std::vector<double>{3, 4, 5});
  const size_t last = event_record({5, 1, {{"a", 2}}}).size();
  for (size_t cut = 1; cut <= last; ++cut)
    CHECK(read_wall_times(file.substr(0, file.size() - cut)) == std::vector<double>{3, 4});
  for (size_t at = file.size() - last; at < file.size(); ++at) {
    std::string damaged = file;
    damaged[at] = static_cast<char>(damaged[at] ^ 4);
    CHECK(read_wall_times(damaged) == std::vector<double>{3, 4});
  }
}

TEST_CASE("tensorboard: steps count on through the iterations; the rest is by iteration") {
  LogScalars scalars;
  const auto event = [&](const char* line) { return scalars.event_of(Json::parse(line)); };
  using Scalars = std::vector<std::pair<std::string, double>>;
  CHECK(event(R"({"iteration":0,"stage":"warmup","step":3,"epoch":1,"loss":2})").step == 3);
  CHECK(event(R"({"iteration":1,"stage":"train","step":1,"epoch":1,"loss":2})").step == 1);
  CHECK(event(R"({"iteration":1,"stage":"train","step":2,"epoch":1,"loss":1})").step == 2);
  const ScalarEvent select = event(R"({"iteration":1,"stage":"train","select_epoch":1,"score":0.5})");
  CHECK(select.step == 2);
  CHECK(select.scalars == Scalars{{"select/score", 0.5}});
  const ScalarEvent third = event(R"({"iteration":2,"stage":"train","step":1,"epoch":1,"loss":0.5})");
  CHECK(third.step == 3);
  CHECK(third.scalars == Scalars{{"train/loss", 0.5}});
  const ScalarEvent eval = event(R"({"iteration":2,"stage":"iter-2/eval","label":"x","score":0.25,"balanced":true,
    "categories":{"odd":{"score":0.75,"low":0}}})");
  CHECK(eval.step == 2);
  CHECK(eval.scalars == Scalars{{"eval/score", 0.25}, {"eval/score/odd", 0.75}});
  CHECK(event(R"({"iteration":0,"stage":"warmup/eval","score":1})").scalars == Scalars{{"eval_warmup/score", 1}});
}

TEST_CASE("tensorboard: the file of a run holds its log's lines, also after a run that died and was resumed") {
  const tiny::World world;
  const Recipe recipe = world.recipe({"log=[\"jsonl\",\"tensorboard\"]", "iterations=1"});
  for (int64_t death : {1, 3, 5, 6, 7, 9, 1000}) {
    const std::string name = "run" + std::to_string(death), folder = world.folder / name;
    const std::string file = folder + "/tensorboard/events.out.tfevents.thinker", log = folder + "/log.jsonl";
    int64_t seen = 0;
    RunOptions options;
    options.on_log = [&](const Json&) {
      if (++seen == death) fail("died");
    };
    const std::string error = error_of([&] { world.run(recipe, name, Resume::no, options); });
    CHECK((error == "died") == (death < 1000));
    std::vector<double> before = read_wall_times(read_text_file(file));
    if (death == 5) write_file_atomically(file, read_text_file(file).substr(0, 100));
    if (death == 6) std::filesystem::remove_all(folder + "/tensorboard");
    world.run(recipe, name, Resume::yes);
    CHECK(messages_of(read_text_file(file)) == messages_for(log));
    const std::vector<double> after = read_wall_times(read_text_file(file));
    if (death == 9) CHECK(after[2] == before[2]);  // what stays keeps its time
  }
}
