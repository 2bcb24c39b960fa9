#include "tpo/jsonl.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <sstream>

#include "tensor/check.h"
#include "tpo/text.h"

using namespace thinker;

namespace {

std::vector<JsonLine> read(const std::string& text) {
  std::istringstream stream(text);
  JsonlReader reader(stream, "data.jsonl");
  std::vector<JsonLine> lines;
  while (auto line = reader.next()) lines.push_back(*line);
  return lines;
}

void refuses(const std::string& text, const std::string& message) {
  INFO(text);
  CHECK_THROWS_WITH_AS(read(text), doctest::Contains(message.c_str()), Error);
}

}  // namespace

TEST_CASE("jsonl: lines are read in order, blank lines skipped, CRLF and a missing last newline accepted") {
  const auto lines = read("{\"id\": 1}\r\n\n  \n{\"id\": \"b\"}");
  REQUIRE(lines.size() == 2);
  CHECK(*lines[0].id() == Json(1));
  CHECK(*lines[1].id() == Json("b"));
  CHECK(lines[1].place() == "data.jsonl:4");
  CHECK(read("").empty());
}

TEST_CASE("jsonl: every bad line names file, line and reason") {
  refuses("{}\n{\"a\": ", "data.jsonl:2: broken JSON");
  refuses("[1]", "data.jsonl:1: the line is not a JSON object");
  refuses("{\"a\": \"\xC3\x28\"}", "data.jsonl:1: invalid UTF-8 at byte 8");
  refuses("{\"a\": \"\xED\xA0\x80\"}", "invalid UTF-8");  // a surrogate half
  refuses("{\"a\": \"\\ud800\"}", "broken JSON");
  refuses("{\"a\": NaN}", "broken JSON");
  refuses("{\"a\": 1e999}", "broken JSON");
  refuses("{\"a\": 1} {\"b\": 2}", "broken JSON");
  refuses("{\"a\": " + std::string(100000, '[') + std::string(100000, ']') + "}", "deeper than 64");
  CHECK_THROWS_WITH_AS(read_jsonl("/nonexistent/x.jsonl"), doctest::Contains("/nonexistent/x.jsonl: cannot be opened"),
                       Error);
  const std::string endless(300, 'x');
  CHECK_THROWS_WITH_AS(read_jsonl(endless), (endless + ": cannot be opened: File name too long").c_str(), Error);
}

TEST_CASE("jsonl: typed getters name the key") {
  const JsonLine line =
      read(R"({"s": "text", "n": 2.5, "i": 7, "ids": [1, 2], "null": null, "bad": [1, -2], "big": [4294967296]})")[0];
  CHECK(line.string("s") == "text");
  CHECK(line.number("n") == 2.5);
  CHECK(line.integer("i") == 7);
  CHECK(line.ids("ids") == std::vector<int32_t>{1, 2});
  CHECK(line.numbers("ids") == std::vector<double>{1, 2});
  CHECK_FALSE(line.has("null"));
  CHECK_THROWS_WITH_AS(line.string("absent"), "data.jsonl:1: \"absent\" is missing", Error);
  CHECK_THROWS_WITH_AS(line.string("n"), "data.jsonl:1: \"n\" is not a string", Error);
  CHECK_THROWS_WITH_AS(line.integer("n"), "data.jsonl:1: \"n\" is not an integer", Error);
  CHECK_THROWS_AS(line.number("s"), Error);
  CHECK_THROWS_WITH_AS(line.ids("bad"), doctest::Contains("-2, not a token id"), Error);
  CHECK_THROWS_AS(line.ids("big"), Error);
  CHECK_FALSE(line.id());
  CHECK_THROWS_AS(read(R"({"id": [1]})")[0].id(), Error);
}

TEST_CASE("jsonl: messages, or a prompt as the short form") {
  CHECK(read(R"({"prompt": "hi"})")[0].messages() == Messages{{"user", "hi"}});
  const auto talk =
      read(R"({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]})")[0].messages();
  CHECK(talk == Messages{{"system", "s"}, {"user", "u"}});
  CHECK(parse_messages(messages_to_json(talk), "x") == talk);
  const auto bad = [](const char* text, const char* message) {
    CHECK_THROWS_WITH_AS(read(text)[0].messages(), doctest::Contains(message), Error);
  };
  bad(R"({})", "\"messages\" is missing");
  bad(R"({"messages": [], "x": 1})", "not a list of messages");
  bad(R"({"messages": "hi"})", "not a list of messages");
  bad(R"({"messages": [{"role": "user"}]})", "message 1 of \"messages\" has no \"content\"");
  bad(R"({"messages": [{"role": "user", "content": 3}]})", "\"content\" of message 1");
  bad(R"({"messages": [{"role": "human", "content": "x"}]})", "role \"human\"");
  bad(R"({"messages": [{"role": "user", "content": "x"}, {"role": "system", "content": "y"}]})", "only be the first");
  bad(R"({"messages": [{"role": "user", "content": "x"}], "prompt": "y"})", "both");
}

TEST_CASE("jsonl: an id comes out as it went in, or is refused") {
  const auto id_of = [](const std::string& id) {
    return JsonLine(parse_json("{\"id\":" + id + "}", "F:1"), "F:1").id().value().dump();
  };
  for (const std::string id : {"\"a\"", "7", "-7", "1.5", "18446744073709551615", "-9223372036854775808"})
    CHECK(id_of(id) == id);
  for (const std::string id : {"18446744073709551616", "123456789012345678901", "-9223372036854775809", "1e30"})
    CHECK_THROWS_WITH_AS(id_of(id), doctest::Contains("F:1: \"id\" is a number with too many digits"), Error);
}

TEST_CASE("jsonl: floats have 9 digits, keys keep their order, ids are untouched") {
  Json line;
  line["z"] = 1.0 / 3;
  line["a"] = {0.1f, 1e-7, -2.0, 123456789.123, 3};
  line["id"] = 0.12345678901234;
  CHECK(dump_json(line) == R"({"z":0.333333333,"a":[0.100000001,1e-07,-2.0,123456789.0,3],"id":0.12345678901234})");
  for (float x : {0.1f, 3.14159274f, 1.17549435e-38f, 16777217.0f, -7.03125e-5f})
    CHECK(static_cast<float>(Json::parse(dump_json(Json(x))).get<double>()) == x);
  CHECK(dump_json(Json("\xC3")) == "\"\xEF\xBF\xBD\"");
  CHECK(dump_json(Json("\u00e9\n")) == "\"\u00e9\\n\"");
  for (double bad : {std::nan(""), HUGE_VAL}) {
    CHECK_THROWS_WITH_AS(dump_json(Json{{"x", {bad}}}), doctest::Contains("not finite"), Error);
    CHECK_THROWS_AS(dump_json(Json{{"id", 1}, {"x", bad}}), Error);
  }
}

TEST_CASE("jsonl: what is written is read back") {
  const std::string path =
      (std::filesystem::temp_directory_path() / concat("thinker-jsonl-", ::getpid(), ".jsonl")).string();
  const std::vector<Json> lines = {{{"id", "x"}, {"text", "\u4e2d\n\"q\""}}, {{"id", 3}, {"ids", {1, 2}}}};
  write_jsonl(path, lines);
  const auto back = read_jsonl(path);
  REQUIRE(back.size() == 2);
  CHECK(back[0].json() == lines[0]);
  CHECK(back[1].json() == lines[1]);
  // A line that cannot be written leaves the old file as it was.
  CHECK_THROWS_AS(write_jsonl(path, std::vector<Json>{{{"x", std::nan("")}}}), Error);
  CHECK(read_jsonl(path).size() == 2);
  std::filesystem::remove(path);
}

TEST_CASE("jsonl: many lines keep their order, and the first broken one is named") {
  const std::string path =
      (std::filesystem::temp_directory_path() / concat("thinker-jsonl-", ::getpid(), ".jsonl")).string();
  std::vector<int> numbers(1000);
  std::iota(numbers.begin(), numbers.end(), 0);
  write_jsonl(path, numbers, [](int i) { return Json{{"i", i}}; });
  const auto back = read_jsonl_as(path, [](const JsonLine& line) { return static_cast<int>(line.integer("i")); });
  CHECK(back == numbers);
  const auto fussy = [](const JsonLine& line) {
    if (line.integer("i") % 100 == 99) line.error("is not liked");
    return 0;
  };
  for (int i = 0; i < 10; ++i)
    CHECK_THROWS_WITH_AS(read_jsonl_as(path, fussy), (path + ":100: is not liked").c_str(), Error);
  std::filesystem::remove(path);
}

TEST_CASE("text: trimming, counting, and the nearest name") {
  CHECK(trim(" \t\na b\r\n") == "a b");
  CHECK(trim("  ").empty());
  CHECK(count_code_points("a\u00e9\u4e2d\U0001F600") == 4);
  CHECK(count_code_points("\xFF\xC3") == 2);
  CHECK(count_code_points("") == 0);
  CHECK(first_invalid_utf8("a\u00e9\xC0\x80") == 3);   // overlong
  CHECK(first_invalid_utf8("\xF4\x90\x80\x80") == 0);  // beyond U+10FFFF
  CHECK(first_invalid_utf8("\xE4\xB8") == 0);          // cut short
  CHECK(first_invalid_utf8("\u4e2d\U0010FFFF") == -1);
  const std::vector<std::string> names = {"max_words", "min_words", "no_comma"};
  CHECK(nearest_name("maxwords", names) == "max_words");
  CHECK(nearest_name("no_commas", names) == "no_comma");
  CHECK(excerpt(std::string(70, 'x')).size() == 63);
  CHECK(excerpt("a\nb\x1B") == "a?b?");
}
