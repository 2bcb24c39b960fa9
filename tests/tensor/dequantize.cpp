#include "tensor/dequantize.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "tensor/gguf.h"
#include "tensor/safetensors.h"
#include "tests/tensor/temp_folder.h"

using namespace thinker;

namespace {

const GgmlType kReadable[] = {GgmlType::F32,  GgmlType::F16,  GgmlType::BF16, GgmlType::Q4_0,
                              GgmlType::Q4_1, GgmlType::Q5_0, GgmlType::Q5_1, GgmlType::Q8_0,
                              GgmlType::Q4_K, GgmlType::Q5_K, GgmlType::Q6_K};

/// fp16's value by its definition.
double half_by_definition(uint32_t bits) {
  const int exponent = static_cast<int>(bits >> 10 & 31), fraction = static_cast<int>(bits & 1023);
  const double sign = bits >> 15 ? -1 : 1;
  if (exponent == 31)
    return fraction ? std::numeric_limits<double>::quiet_NaN() : sign * std::numeric_limits<double>::infinity();
  return sign * (exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25));
}

bool same_bits(float a, float b) {
  return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b);
}

}  // namespace

TEST_CASE("half_to_float is right for all 65,536 numbers") {
  int wrong = 0;
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const float x = half_to_float(static_cast<uint16_t>(bits)), y = static_cast<float>(half_by_definition(bits));
    wrong += !(std::isnan(y) ? std::isnan(x) : same_bits(x, y));
  }
  CHECK(wrong == 0);
}

TEST_CASE("every type dequantises to the same bits as gguf-py") {
  // Bit for bit and not within a tolerance: dequantize.h says why that holds for every type.
  const GgufFile blocks("tests/goldens/formats/dequantize.gguf");
  const SafetensorsFile expected("tests/goldens/formats/dequantize.safetensors");
  REQUIRE(blocks.tensors().size() == std::size(kReadable));
  for (GgmlType type : kReadable) {
    CAPTURE(name(type));
    const GgufTensor& tensor = blocks.tensor(name(type));
    const NamedTensor& golden = expected.tensors().at(name(type));
    CHECK(tensor.type == type);
    CHECK(tensor.shape == golden.shape);
    const size_t n = static_cast<size_t>(tensor.shape.numel());
    std::vector<float> got(n), want(n);
    blocks.to_f32(got.data(), tensor);
    to_f32(want.data(), golden);
    size_t wrong = 0;
    for (size_t i = 0; i < n; ++i) wrong += !same_bits(got[i], want[i]);
    CHECK(wrong == 0);
  }
}

TEST_CASE("large tensors, divided among threads and unaligned, equal the blocks one by one") {
  std::mt19937 random(7);
  for (GgmlType type : kReadable) {
    CAPTURE(name(type));
    const int64_t elements = block_elements(type), bytes = block_bytes(type), n = 131'072;
    std::vector<std::byte> data(static_cast<size_t>(n / elements * bytes) + 1);
    for (std::byte& b : data) b = static_cast<std::byte>(random());
    const std::byte* in = data.data() + 1;
    std::vector<float> whole(static_cast<size_t>(n)), parts(static_cast<size_t>(n));
    dequantize(whole.data(), in, n, type);
    for (int64_t b = 0; b < n / elements; ++b) dequantize(parts.data() + b * elements, in + b * bytes, elements, type);
    CHECK(std::memcmp(whole.data(), parts.data(), whole.size() * sizeof(float)) == 0);
  }
}

TEST_CASE("types have names and sizes; unsupported ones are refused by name") {
  int known = 0, readable = 0;
  for (uint32_t number = 0; number < 100; ++number) {
    const auto type = ggml_type(number);
    if (!type) continue;
    ++known;
    CHECK(static_cast<uint32_t>(*type) == number);
    CHECK(block_bytes(*type) > 0);
    if (can_dequantize(*type)) {
      ++readable;
    } else {
      const std::string error = error_of([&] { dequantize(nullptr, nullptr, 0, *type); });
      CHECK(holds(error, concat("element type ", name(*type), " is not supported")));
    }
  }
  CHECK(known == 34);
  CHECK(readable == std::size(kReadable));
  CHECK(!ggml_type(4));  // Q4_2, removed from the format
  CHECK(std::string(name(GgmlType::IQ2_XXS)) == "IQ2_XXS");
  CHECK_THROWS_AS(name(static_cast<GgmlType>(4)), Error);
  float out[32];
  std::byte in[34]{};
  CHECK_THROWS_AS(dequantize(out, in, 31, GgmlType::Q8_0), Error);
}
