#include "tensor/gguf.h"

#include <doctest/doctest.h>

#include <chrono>
#include <cstring>
#include <random>
#include <vector>

#include "tests/tensor/gguf_builder.h"
#include "tests/tensor/temp_folder.h"

using namespace thinker;

namespace {

const std::string kGolden = "tests/goldens/formats/metadata.gguf";

/// The error of opening such a file, or "" when it opens.
std::string error_of_file(const TempFolder& folder, std::string_view bytes) {
  const std::string path = folder.write("f.gguf", bytes);
  const std::string error = error_of([&] { GgufFile file(path); });
  if (!error.empty()) CHECK(holds(error, path));  // every error names the file
  return error;
}

/// Calls f and says whether it was without Error.
template <class F>
bool succeeds(F&& f) {
  try {
    f();
    return true;
  } catch (const Error&) {
    return false;
  }
}

/// Opens a possibly damaged file and, when it is accepted, reads everything in it; the tests under sanitizers see any
/// access outside. Returns whether it was accepted.
bool opens_and_reads(const std::string& path) {
  return succeeds([&] {
    GgufFile file(path);
    for (const auto& [key, value] : file.metadata()) {
      succeeds([&] { file.get<std::vector<std::string>>(key); });
      succeeds([&] { file.get<std::vector<int64_t>>(key); });
      succeeds([&] { file.get<std::vector<double>>(key); });
      succeeds([&] { file.get<int64_t>(key); });
    }
    for (const auto& [name, tensor] : file.tensors()) {
      std::string copy(reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size());
      std::vector<float> values(static_cast<size_t>(tensor.shape.numel()));
      succeeds([&] { file.to_f32(values.data(), tensor); });
    }
  });
}

}  // namespace

TEST_CASE("a file from gguf-py: every type of value") {
  const GgufFile file(kGolden);
  CHECK(file.version() == 3);
  CHECK(file.get<std::string>("general.architecture") == "llama");
  CHECK(file.get<int64_t>("t.u8") == 200);
  CHECK(file.get<int64_t>("t.i8") == -100);
  CHECK(file.get<int64_t>("t.u16") == 60000);
  CHECK(file.get<int64_t>("t.i16") == -30000);
  CHECK(file.get<int64_t>("t.u32") == 4000000000);
  CHECK(file.get<int64_t>("t.i32") == -2000000000);
  CHECK(file.get<int64_t>("t.i64") == -(int64_t{1} << 62));
  CHECK(holds(error_of([&] { file.get<int64_t>("t.u64"); }), "too large"));
  CHECK(std::get<uint64_t>(file.metadata().at("t.u64")) == ~uint64_t{0});
  CHECK(file.get<double>("t.f32") == double{0.1f});
  CHECK(file.get<double>("t.f64") == 0.1);
  CHECK(file.get<double>("t.i8") == -100.0);
  CHECK(file.get<bool>("t.true"));
  CHECK(!file.get<bool>("t.false"));
  CHECK(file.get<std::string>("t.string") == "Grüße, 世界\n");
  const std::vector<std::string> tokens = {"<|im_end|>", "Ġthe", "é", "", std::string(1, '\0')};
  CHECK(file.get<std::vector<std::string>>("tokenizer.ggml.tokens") == tokens);
  CHECK(file.get<std::vector<int64_t>>("t.integers") == std::vector<int64_t>{1, -2, 3});
  CHECK(file.get<std::vector<double>>("t.integers") == std::vector<double>{1, -2, 3});
  CHECK(file.get<std::vector<double>>("t.floats") == std::vector<double>{0.5, -1.5});
}

TEST_CASE("missing and mistyped keys and tensors are named, with the file") {
  const GgufFile file(kGolden);
  CHECK(!file.find<int64_t>("llama.block_count"));
  CHECK(error_of([&] { file.get<int64_t>("llama.block_count"); }) ==
        kGolden + ": key 'llama.block_count' is missing (an integer)");
  CHECK(error_of([&] { file.find<int64_t>("t.string"); }) ==
        kGolden + ": key 't.string' holds a string, expected an integer");
  CHECK(error_of([&] { file.get<std::vector<int64_t>>("t.floats"); }) ==
        kGolden + ": key 't.floats' holds an array of FLOAT32, expected an array of integers");
  CHECK(holds(error_of([&] { file.get<std::vector<std::string>>("t.u8"); }),
              "holds an integer, expected an array of strings"));
  CHECK(holds(error_of([&] { file.get<bool>("t.u8"); }), "expected a boolean"));
  CHECK(holds(error_of([&] { file.get<int64_t>("t.f32"); }), "expected an integer"));
  CHECK(file.find_tensor("none") == nullptr);
  CHECK(error_of([&] { file.tensor("none"); }) == kGolden + ": tensor 'none' is missing");
}

TEST_CASE("tensors: shapes outermost first, data, and an unsupported type by its name") {
  const GgufFile file(kGolden);
  CHECK(file.tensors().size() == 3);
  CHECK(file.tensor("output_norm.weight").shape == Shape{6});
  const GgufTensor& weight = file.tensor("blk.0.attn_q.weight");
  CHECK(weight.shape == Shape{3, 4});
  CHECK(weight.type == GgmlType::F32);
  std::vector<float> values(12);
  file.to_f32(values.data(), weight);
  for (int i = 0; i < 12; ++i) CHECK(values[static_cast<size_t>(i)] == static_cast<float>(i));
  const GgufTensor& packed = file.tensor("blk.0.ffn_up.weight");
  CHECK(packed.shape == Shape{2, 256});
  const std::string error = error_of([&] { file.to_f32(nullptr, packed); });
  CHECK(holds(error, kGolden + ": tensor 'blk.0.ffn_up.weight' is of type IQ2_XXS, which is not supported"));
}

TEST_CASE("version 2 has the same layout") {
  TempFolder folder;
  std::string bytes = read_text_file(kGolden);
  bytes[4] = 2;
  CHECK(GgufFile(folder.write("v2.gguf", bytes)).version() == 2);
  bytes[4] = 1;
  CHECK(holds(error_of_file(folder, bytes), "GGUF version 1, supported are 2 and 3"));
  bytes[4] = 4;
  CHECK(holds(error_of_file(folder, bytes), "GGUF version 4"));
  bytes[4] = 0, bytes[7] = 3;
  CHECK(holds(error_of_file(folder, bytes), "big-endian"));
  bytes[0] = 'g';
  CHECK(holds(error_of_file(folder, bytes), "is not a GGUF file"));
}

TEST_CASE("every prefix of a valid file is refused") {
  TempFolder folder;
  std::string whole = read_text_file(kGolden);
  // gguf-py also pads the last tensor to 32 bytes; a file may end without that padding.
  const GgufFile file(kGolden);
  const auto& last = file.tensor("blk.0.ffn_up.weight").data;
  whole = whole.substr(0, whole.size() - (32 - last.size() % 32) % 32);
  for (size_t n = 1; n < whole.size(); ++n) CHECK(error_of_file(folder, whole.substr(0, n)) != "");
  CHECK(error_of_file(folder, whole) == "");
}

TEST_CASE("randomly damaged files are refused or read within their bounds") {
  TempFolder folder;
  std::mt19937 random(13);
  int accepted = 0, tried = 0;
  for (const std::string& golden : {kGolden, std::string("tests/goldens/formats/dequantize.gguf")}) {
    const std::string whole = read_text_file(golden);
    const size_t reach = std::min<size_t>(whole.size(), 1000);  // where the structure is
    for (int i = 0; i < 3000; ++i) {
      std::string bytes = whole;
      for (uint32_t flips = 1 + random() % 3; flips > 0; --flips) {
        static constexpr unsigned char kLikely[] = {0, 1, 2, 4, 8, 9, 12, 31, 0x7f, 0x80, 0xff};
        char& c = bytes[random() % reach];
        c = static_cast<char>(random() % 2 ? kLikely[random() % std::size(kLikely)] : random());
      }
      if (random() % 8 == 0) bytes.resize(1 + random() % bytes.size());
      ++tried;
      accepted += opens_and_reads(folder.write("f", bytes));
    }
  }
  CHECK(accepted > 0);  // flips in values and names do no harm
  CHECK(accepted < tried);
}

TEST_CASE("lying headers: counts, lengths and types") {
  TempFolder folder;
  const auto error = [&](const GgufBuilder& b) { return error_of_file(folder, b.bytes); };
  CHECK(error(GgufBuilder().header(0, 0)) == "");
  CHECK(error(GgufBuilder().header(0, 1).key("k", GgufValueType::U8).put<uint8_t>(1).data(0)) == "");

  CHECK(holds(error(GgufBuilder().header(uint64_t{1} << 60, 0).data(64)), "tensors do not fit"));
  CHECK(holds(error(GgufBuilder().header(0, uint64_t{1} << 60).data(64)), "keys do not fit"));
  CHECK(holds(error(GgufBuilder().header(~uint64_t{0}, ~uint64_t{0}).data(64)), "do not fit"));
  CHECK(holds(error(GgufBuilder().header(0, 2).key("k", GgufValueType::U8).put<uint8_t>(1)), "do not fit"));
  CHECK(holds(error(GgufBuilder().header(0, 1).put(uint64_t{1} << 62).data(64)),
              "a key needs 4611686018427387904 bytes"));
  CHECK(holds(error(GgufBuilder().header(0, 1).key("k", GgufValueType::String).put(uint64_t{1} << 62).data(64)),
              "a string needs"));
  CHECK(holds(error(GgufBuilder().header(0, 1).key("k", static_cast<GgufValueType>(13)).data(64)), "no value type 13"));

  const auto array = [](GgufValueType type, uint64_t count) {
    return GgufBuilder().header(0, 1).key("k", GgufValueType::Array).put(type).put(count);
  };
  CHECK(holds(error(array(GgufValueType::U8, uint64_t{1} << 62).data(64)), "does not fit"));
  CHECK(
      holds(error(array(GgufValueType::F64, uint64_t{1} << 61).data(64)), "does not fit"));  // 8 bytes each: wraps to 0
  CHECK(holds(error(array(GgufValueType::String, 5).put<uint64_t>(1000).data(64)), "a string of an array needs"));
  CHECK(holds(error(array(static_cast<GgufValueType>(99), 0).data(64)), "no value type 99"));

  GgufBuilder twice = GgufBuilder().header(0, 2);
  for (int i = 0; i < 2; ++i) twice.key("k", GgufValueType::U8).put<uint8_t>(1);
  CHECK(holds(error(twice), "'k' appears twice"));
  const auto split = GgufBuilder().header(0, 1).key("split.count", GgufValueType::U16).put<uint16_t>(3);
  CHECK(holds(error(split), "one part of a split model"));
}

TEST_CASE("nested arrays are walked, to a limit") {
  TempFolder folder;
  const auto nested = [](int depth) {
    GgufBuilder b = GgufBuilder().header(0, 1).key("k", GgufValueType::Array);
    for (int i = 1; i < depth; ++i) b.put(GgufValueType::Array).put<uint64_t>(1);
    return b.put(GgufValueType::I32).put<uint64_t>(1).put<int32_t>(7).bytes;
  };
  CHECK(error_of_file(folder, nested(1)) == "");
  CHECK(error_of_file(folder, nested(4)) == "");
  CHECK(holds(error_of_file(folder, nested(5)), "nested more than 4 deep"));
  CHECK(holds(error_of_file(folder, nested(500'000)), "nested more than 4 deep"));
  const GgufFile file(folder.write("nested", nested(2)));
  CHECK(holds(error_of([&] { file.get<std::vector<int64_t>>("k"); }),
              "holds an array of ARRAY, expected an array of integers"));
}

TEST_CASE("lying headers: tensors") {
  TempFolder folder;
  const auto error = [&](const GgufBuilder& b) { return error_of_file(folder, b.bytes); };
  const auto one = [&](std::vector<uint64_t> dims, uint64_t offset, uint32_t type = 0) {
    return error(GgufBuilder().header(1, 0).tensor("a", std::move(dims), offset, type).data(64));
  };
  CHECK(one({16}, 0) == "");
  CHECK(one({}, 0) == "");
  CHECK(one({0}, 64) == "");
  CHECK(holds(one({17}, 0), "beyond the file's end"));
  CHECK(holds(one({16}, 32), "beyond the file's end"));
  CHECK(holds(one({16}, uint64_t{1} << 62), "beyond the file's end"));
  CHECK(holds(one({16}, ~uint64_t{31}), "beyond the file's end"));
  CHECK(holds(one({4}, 4), "not aligned to 32"));
  CHECK(holds(one({1, 1, 1, 1, 1}, 0), "5 dimensions, at most 4"));
  CHECK(holds(one({uint64_t{1} << 32, uint64_t{1} << 32}, 0), "too large"));  // wraps to 0
  CHECK(holds(one({~uint64_t{0}}, 0), "too large"));
  CHECK(holds(one({0, ~uint64_t{0}}, 0), "too large"));    // hidden by a 0
  CHECK(holds(one({uint64_t{1} << 62}, 0), "too large"));  // in bytes
  CHECK(holds(one({16}, 0, 4), "element type number 4, which is not supported"));
  CHECK(holds(one({16}, 0, 2), "not whole blocks of Q4_0"));
  CHECK(holds(one({16, 2}, 0, 2), "not whole blocks of Q4_0"));  // rows, not the whole, are blocks

  const auto two = [&](uint64_t first, uint64_t second, std::string_view name) {
    return error(GgufBuilder().header(2, 0).tensor("a", {16}, first).tensor(name, {16}, second).data(128));
  };
  CHECK(two(0, 64, "b") == "");
  CHECK(two(64, 0, "b") == "");
  CHECK(holds(two(0, 32, "b"), "tensors 'a' and 'b' overlap"));
  CHECK(holds(two(0, 0, "b"), "overlap"));
  CHECK(holds(two(0, 64, "a"), "'a' appears twice"));

  const auto aligned = [&](uint32_t alignment, uint64_t offset) {
    GgufBuilder b = GgufBuilder().header(1, 1).key("general.alignment", GgufValueType::U32).put(alignment);
    return error(b.tensor("a", {4}, offset).data(64));
  };
  CHECK(aligned(16, 16) == "");
  CHECK(holds(aligned(64, 32), "not aligned to 64"));
  CHECK(holds(aligned(0, 0), "not a power of two"));
  CHECK(holds(aligned(24, 0), "not a power of two"));
  CHECK(holds(aligned(uint32_t{1} << 31, 0), "beyond the file's end"));
}

TEST_CASE("a vocabulary of 150,000 strings is read quickly") {
  TempFolder folder;
  constexpr uint64_t kCount = 150'000;
  GgufBuilder b = GgufBuilder().header(0, 1).key("tokens", GgufValueType::Array).put(GgufValueType::String).put(kCount);
  for (uint64_t i = 0; i < kCount; ++i) b.string("token " + std::to_string(i));
  const std::string path = folder.write("vocabulary", b.bytes);
  const auto start = std::chrono::steady_clock::now();
  const auto tokens = GgufFile(path).get<std::vector<std::string>>("tokens");
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  REQUIRE(tokens.size() == kCount);
  CHECK(tokens.back() == "token 149999");
  CHECK(seconds.count() < 2);  // about 0.01 s without sanitizers on an idle machine
}
