#include "tensor/safetensors.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "tests/tensor/temp_folder.h"

using namespace thinker;

namespace {

const std::string kGolden = "tests/goldens/formats/tensors.safetensors";

std::string with_length(uint64_t length, std::string_view rest) {
  std::string file(8, '\0');
  std::memcpy(file.data(), &length, 8);
  return file += rest;
}

/// A file of this header and so many bytes of data.
std::string file_of(std::string_view header, size_t data_bytes) {
  return with_length(header.size(), header) + std::string(data_bytes, '\1');
}

/// The error of opening such a file, or "" when it opens.
std::string error_of_file(const TempFolder& folder, std::string_view bytes) {
  const std::string path = folder.write("f.safetensors", bytes);
  const std::string error = error_of([&] { SafetensorsFile file(path); });
  if (!error.empty()) CHECK(holds(error, path));  // every error names the file
  return error;
}

/// Opens a possibly damaged file and, when it is accepted, reads everything in it; the tests under sanitizers see any
/// access outside. Returns whether it was accepted.
bool opens_and_reads(const std::string& path) {
  try {
    SafetensorsFile file(path);
    for (const auto& [name, tensor] : file.tensors()) {
      CHECK(name == tensor.name);
      std::string copy(reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size());
      std::vector<float> values(static_cast<size_t>(tensor.shape.numel()));
      try {
        to_f32(values.data(), tensor);
      } catch (const Error&) {
      }
    }
    return true;
  } catch (const Error&) {
    return false;
  }
}

std::vector<float> values_of(const SafetensorsFile& file, std::string_view name) {
  const NamedTensor& t = file.tensors().find(name)->second;
  std::vector<float> values(static_cast<size_t>(t.shape.numel()));
  to_f32(values.data(), t);
  return values;
}

template <class T>
NamedTensor named(std::string name, std::string dtype, Shape shape, const std::vector<T>& data) {
  return {{std::move(name), std::move(dtype), shape}, std::as_bytes(std::span(data))};
}

}  // namespace

TEST_CASE("a file from Python's library: every dtype, a scalar, an empty tensor, metadata") {
  SafetensorsFile file(kGolden);
  CHECK(file.tensors().size() == 12);
  CHECK(file.metadata().at("note") == "a \"quoted\" note");
  CHECK(file.tensors().at("scalar").shape == Shape{1});
  CHECK(values_of(file, "scalar") == std::vector<float>{3.25f});
  CHECK(file.tensors().at("none").shape == Shape{0, 4});
  CHECK(file.tensors().at("none").data.empty());
  CHECK(file.tensors().at("ffloat32").shape == Shape{2, 3});
  CHECK(values_of(file, "ffloat32") == std::vector<float>{0.0f, 1.0f, -2.5f, 1e-3f, 65504.0f, -1e-7f});
  CHECK(values_of(file, "ffloat64") == values_of(file, "ffloat32"));
  // Rounded by PyTorch to the nearest fp16 (1e-7 is subnormal there) and bf16.
  CHECK(values_of(file, "ffloat16") == std::vector<float>{0.0f, 1.0f, -2.5f, 0x1.064p-10f, 65504.0f, -0x1p-23f});
  CHECK(values_of(file, "fbfloat16") == std::vector<float>{0.0f, 1.0f, -2.5f, 0x1.06p-10f, 65536.0f, -0x1.aep-24f});
  CHECK(file.tensors().at("bool").dtype_name == "BOOL");
  CHECK(file.tensors().at("bool").data.size() == 3);
  CHECK(file.tensors().at("int64").data.size() == 24);
  CHECK(
      holds(error_of([&] { values_of(file, "int32"); }), file.path() + ": tensor 'int32' has dtype I32, expected F32"));
}

TEST_CASE("to_f32 reads data at any alignment") {
  const std::vector<float> values = {1.5f, -2.0f, 1e30f};
  std::string bytes(1 + 12, '\0');
  std::memcpy(bytes.data() + 1, values.data(), 12);
  NamedTensor tensor{{"x", "F32", {3}}, std::as_bytes(std::span(bytes)).subspan(1)};
  std::vector<float> out(3);
  to_f32(out.data(), tensor);
  CHECK(out == values);
  tensor.shape = {4};
  CHECK_THROWS_AS(to_f32(out.data(), tensor), Error);
}

TEST_CASE("a written file has the bytes that Python's library writes") {
  TempFolder folder;
  const std::vector<float> embedding = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, norm = {1, 2, 3};
  write_safetensors(folder / "f", {named("model.embed_tokens.weight", "F32", {5, 2}, embedding),
                                   named("model.norm.weight", "F32", {3}, norm)});
  CHECK((read_text_file(folder / "f") == read_text_file("tests/goldens/formats/plain.safetensors")));
}

TEST_CASE("written tensors are read back, each aligned to its element's size") {
  TempFolder folder;
  const std::vector<uint8_t> bytes = {1, 2, 3};
  const std::vector<uint16_t> halves = {0x3c00, 0xc000, 0x7bff};
  const std::vector<float> floats = {1.0f, -0.0f, std::numeric_limits<float>::infinity()};
  const std::vector<double> doubles = {0.1};
  write_safetensors(folder / "f",
                    {named("bytes \"1\"", "U8", {3}, bytes), named("halves", "F16", {1, 3}, halves),
                     named("floats", "F32", {3, 1, 1, 1}, floats), named("doubles", "F64", {1}, doubles),
                     named("nothing", "F32", {0}, std::vector<float>{})},
                    {{"format", "pt"}, {"über", "ü\n"}});
  SafetensorsFile file(folder / "f");
  CHECK(file.tensors().size() == 5);
  CHECK(file.metadata().at("über") == "ü\n");
  for (const auto& [name, tensor] : file.tensors())
    CHECK(reinterpret_cast<uintptr_t>(tensor.data.data()) %
              static_cast<size_t>(safetensors_element_bytes(tensor.dtype_name)) ==
          0);
  CHECK(std::memcmp(file.tensors().at("bytes \"1\"").data.data(), bytes.data(), 3) == 0);
  CHECK(values_of(file, "halves") == std::vector<float>{1.0f, -2.0f, 65504.0f});
  CHECK(values_of(file, "floats") == floats);
  CHECK(std::signbit(values_of(file, "floats")[1]));
  CHECK(file.tensors().at("floats").shape == Shape{3, 1, 1, 1});
}

TEST_CASE("tensors are written one at a time, and a failure leaves no file") {
  TempFolder folder;
  const std::vector<TensorHeader> headers = {{"a", "F32", {4}}, {"b", "F32", {4}}};
  std::vector<float> only(4);
  float next = 1;
  write_safetensors(folder / "f", headers, [&](const TensorHeader&) {
    only.assign(4, next++);
    return std::as_bytes(std::span(only));
  });
  SafetensorsFile file(folder / "f");
  CHECK(values_of(file, "a") == std::vector<float>(4, 1.0f));
  CHECK(values_of(file, "b") == std::vector<float>(4, 2.0f));

  const auto wrong_size = [&](const TensorHeader&) { return std::as_bytes(std::span(only)).first(3); };
  CHECK_THROWS_AS(write_safetensors(folder / "g", headers, wrong_size), Error);
  CHECK_THROWS_AS(write_safetensors(folder / "g", {named("a", "F32", {4}, only), named("a", "F32", {4}, only)}), Error);
  CHECK(holds(error_of([&] { write_safetensors(folder / "g", {named("a", "Q4", {4}, only)}); }), "dtype 'Q4'"));
  CHECK_THROWS_AS(write_safetensors(folder / "g", {named("a", "F32", Shape(), only)}), Error);
  CHECK_THROWS_AS(write_safetensors(folder / "g", {named("\xff", "F32", {4}, only)}), Error);
  CHECK(!std::filesystem::exists(folder / "g"));
  CHECK(!std::filesystem::exists(folder / "g.tmp"));
}

TEST_CASE("every prefix of a valid file is refused") {
  TempFolder folder;
  const std::string whole = read_text_file(kGolden);
  for (size_t n = 1; n < whole.size(); ++n) CHECK(error_of_file(folder, whole.substr(0, n)) != "");
  CHECK(error_of_file(folder, whole) == "");
  CHECK(holds(error_of_file(folder, whole + "x"), "1 bytes after the last tensor"));
}

TEST_CASE("randomly damaged files are refused or read within their bounds") {
  TempFolder folder;
  const std::string whole = read_text_file(kGolden);
  std::mt19937 random(11);
  int accepted = 0;
  constexpr int kFiles = 4000;
  for (int i = 0; i < kFiles; ++i) {
    std::string bytes = whole;
    for (uint32_t flips = 1 + random() % 3; flips > 0; --flips) {
      // Digits and brackets reach further into the parser than random bytes do.
      static constexpr std::string_view kLikely = "0123456789[]{}\",:-e ";
      char& c = bytes[random() % bytes.size()];
      c = random() % 2 ? kLikely[random() % kLikely.size()] : static_cast<char>(random());
    }
    accepted += opens_and_reads(folder.write("f", bytes));
  }
  CHECK(accepted > 0);  // flips in the data and in names do no harm
  CHECK(accepted < kFiles / 2);
}

TEST_CASE("lying headers") {
  TempFolder folder;
  const auto error = [&](std::string_view header, size_t data_bytes = 4) {
    return error_of_file(folder, file_of(header, data_bytes));
  };
  const auto tensor = [](std::string_view dtype, std::string_view shape, std::string_view offsets) {
    return concat("{\"a\":{\"dtype\":\"", dtype, "\",\"shape\":", shape, ",\"data_offsets\":", offsets, "}}");
  };
  CHECK(error(tensor("F32", "[1]", "[0,4]")) == "");
  CHECK(error("{}", 0) == "");
  CHECK(error("{}  ", 0) == "");

  SUBCASE("lengths") {
    CHECK(holds(error_of_file(folder, with_length(uint64_t{1} << 60, "{}")), "not a safetensors file"));
    CHECK(holds(error_of_file(folder, with_length(~uint64_t{0}, "{}")), "not a safetensors file"));
    CHECK(holds(error_of_file(folder, with_length(100'000'000, "{}")), "truncated"));
    CHECK(holds(error_of_file(folder, with_length(0, "{}")), "not a safetensors file"));
    CHECK(holds(error_of_file(folder, "short"), "not a safetensors file"));
  }
  SUBCASE("offsets") {
    CHECK(holds(error(tensor("F32", "[1]", "[4,8]"), 8), "expected from 0"));    // a hole
    CHECK(holds(error(tensor("F32", "[1]", "[4,0]")), "lies at bytes 4 to 0"));  // backwards
    CHECK(holds(error(tensor("F32", "[2]", "[0,8]")), "within 4"));              // beyond the end
    CHECK(holds(error(tensor("F32", "[1]", "[0,18446744073709551615]")), "within 4"));
    CHECK(holds(error(tensor("F32", "[1]", "[0,4,4]")), "unexpected a number"));
    CHECK(holds(error(tensor("F32", "[1]", "[0]")), "two data_offsets"));
    CHECK(holds(error(tensor("F32", "[1]", "[0,4]"), 8), "4 bytes after the last tensor"));
    const std::string overlap =
        R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})";
    CHECK(holds(error(overlap, 6), "'b' lies at bytes 2 to 6"));
    const std::string same =
        R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})";
    CHECK(error(same) != "");
  }
  SUBCASE("shapes and dtypes") {
    CHECK(holds(error(tensor("F32", "[2]", "[0,4]")), "needs 8 bytes, but its data has 4"));
    CHECK(holds(error(tensor("F32", "[4611686018427387904]", "[0,4]")), "too large"));        // 2^62 x 4 bytes
    CHECK(holds(error(tensor("F32", "[4294967296,4294967296]", "[0,4]")), "too large"));      // wraps to 0
    CHECK(holds(error(tensor("F32", "[0,18446744073709551615]", "[0,0]"), 0), "too large"));  // hidden by a 0
    CHECK(holds(error(tensor("F32", "[18446744073709551616]", "[0,4]")), "number too large"));
    CHECK(holds(error(tensor("F32", "[-1]", "[0,4]")), "negative"));
    CHECK(holds(error(tensor("F32", "[1.0]", "[0,4]")), "fraction"));
    CHECK(holds(error(tensor("F32", "[1,1,1,1,1]", "[0,4]")), "more than 4 dimensions"));
    CHECK(holds(error(tensor("F8_E4M3", "[4]", "[0,4]")), "dtype 'F8_E4M3', which is not supported"));
    CHECK(holds(error(tensor("f32", "[1]", "[0,4]")), "not supported"));
  }
  SUBCASE("structure") {
    CHECK(holds(error("[]", 0), "does not begin with '{'"));
    CHECK(holds(error(" {}", 0), "does not begin with '{'"));
    CHECK(holds(error("{} x", 0), "not valid JSON"));
    CHECK(holds(error("{\"a\":", 0), "not valid JSON"));
    CHECK(holds(error("{\"a\":4}", 0), "unexpected a number at 'a'"));
    CHECK(holds(error("{\"a\":null}", 0), "unexpected null"));
    CHECK(holds(error("{\"a\":{}}", 0), "lacks dtype"));
    CHECK(holds(error("{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\"}}", 0), "unexpected a string at 'dtype'"));
    CHECK(holds(error("{\"a\":{\"shape\":[1],\"shape\":[1]}}", 0), "unexpected an array at 'shape'"));
    CHECK(holds(error("{\"a\":{\"shape\":[[1]]}}", 0), "unexpected an array"));
    CHECK(holds(error("{\"__metadata__\":{\"n\":1}}", 0), "unexpected a number"));
    CHECK(holds(error("{\"__metadata__\":{\"n\":\"1\",\"n\":\"2\"}}", 0), "appears twice"));
    CHECK(holds(error("{\"__metadata__\":{},\"__metadata__\":{}}", 0), "appears twice"));
    const std::string twice =
        R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"a":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})";
    CHECK(holds(error(twice), "'a' appears twice"));
    CHECK(holds(error("{\"\xff\":{}}", 0), "not valid JSON"));
  }
  SUBCASE("deep nesting stops at once") {
    const std::string deep = "{\"a\":{\"shape\":" + std::string(5'000'000, '[');
    CHECK(holds(error(deep, 0), "unexpected an array"));
  }
}

TEST_CASE("a folder with one file, or with shards") {
  TempFolder folder;
  const std::vector<float> x = {1, 2}, y = {3};
  const std::string index = folder / "model.safetensors.index.json";
  const auto open_error = [&] { return error_of([&] { SafetensorsFolder opened(folder.path()); }); };
  CHECK(holds(open_error(), "holds neither model.safetensors nor"));
  CHECK(holds(error_of([&] { SafetensorsFolder opened(folder / "none"); }), "no such model folder"));

  write_safetensors(folder / "one.safetensors", {named("x", "F32", {2}, x), named("unlisted", "F32", {2}, x)});
  write_safetensors(folder / "two.safetensors", {named("y", "F32", {1}, y)});
  write_file_atomically(index,
                        R"({"metadata":{"total_size":12},"weight_map":{"x":"one.safetensors","y":"two.safetensors"}})");
  SafetensorsFolder shards(folder.path());
  CHECK(shards.tensors().size() == 2);
  CHECK(shards.tensor("x").shape == Shape{2});
  CHECK(shards.find("unlisted") == nullptr);
  CHECK(holds(error_of([&] { shards.tensor("z"); }), folder.path() + ": tensor 'z' is missing"));
  float value = 0;
  to_f32(&value, shards.tensor("y"));
  CHECK(value == 3);

  write_file_atomically(index, R"({"weight_map":{"x":"one.safetensors","z":"two.safetensors"}})");
  CHECK(holds(open_error(), "two.safetensors: tensor 'z' is missing"));
  write_file_atomically(index, R"({"weight_map":{"x":"three.safetensors"}})");
  CHECK(holds(open_error(), "three.safetensors: no such file"));
  write_file_atomically(index, R"({"weight_map":{"x":"../one.safetensors"}})");
  CHECK(holds(open_error(), "not a plain file name"));
  for (const char* text :
       {"", "[]", "{}", "{\"weight_map\":[1]}", "{\"weight_map\":{\"x\":1}}", "{\"weight_map\":{\"x\":[[[[[["}) {
    write_file_atomically(index, text);
    CHECK(holds(open_error(), "is not an index of safetensors shards"));
  }
  write_file_atomically(index, std::string(5'000'000, '['));
  CHECK(holds(open_error(), "nested too deeply"));

  // Where both exist, the single file is the model.
  write_safetensors(folder / "model.safetensors", {named("whole", "F32", {2}, x)});
  CHECK(SafetensorsFolder(folder.path()).find("whole") != nullptr);
}
