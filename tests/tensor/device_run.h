// A case of the same work on several devices: its inputs, and what came out.
#pragma once

#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "tensor/rng.h"
#include "tensor/tape.h"

namespace thinker::test {

using Values = std::vector<double>;

inline std::vector<char> encode(const Values& values, DType t) {
  std::vector<char> bytes(values.size() * static_cast<size_t>(size_of(t)));
  for (size_t i = 0; i < values.size(); ++i) {
    char* at = bytes.data() + i * static_cast<size_t>(size_of(t));
    const auto x = static_cast<float>(values[i]);
    const bf16 b = to_bf16(x);
    if (t == DType::F64) std::memcpy(at, &values[i], 8);
    if (t == DType::F32) std::memcpy(at, &x, 4);
    if (t == DType::BF16) std::memcpy(at, &b, 2);
  }
  return bytes;
}

inline Values decode(const std::vector<char>& bytes, DType t) {
  Values values(bytes.size() / static_cast<size_t>(size_of(t)));
  for (size_t i = 0; i < values.size(); ++i) {
    const char* at = bytes.data() + i * static_cast<size_t>(size_of(t));
    float x = 0;
    bf16 b{};
    if (t == DType::F64) std::memcpy(&values[i], at, 8);
    if (t == DType::F32) std::memcpy(&x, at, 4);
    if (t == DType::BF16) std::memcpy(&b, at, 2);
    if (t != DType::F64) values[i] = t == DType::BF16 ? to_float(b) : x;
  }
  return values;
}

/// One run of a case on one device. Random numbers are the same in every run, and fit bf16 exactly, so that all dtypes
/// start from the same inputs.
class Run {
 public:
  Run(Device& device, DType t) : device(device), backend(device.backend()), t(t), acc(accumulator_of(t)) {}

  Values random(int64_t n) {
    Values values(n);
    for (double& x : values) x = to_float(to_bf16(static_cast<float>(rng_.normal())));
    return values;
  }
  std::vector<int32_t> indices(int64_t n, int64_t below) {
    std::vector<int32_t> values(n);
    for (int32_t& x : values) x = static_cast<int32_t>(rng_.below(below));
    return values;
  }
  Tensor fill(const Tensor& x, const Values& values) {
    const std::vector<char> bytes = encode(values, x.dtype());
    if (!bytes.empty()) backend.copy_from_host(x.raw(), bytes.data(), x.bytes());
    return x;
  }
  Tensor input(Tape& tape, const Shape& shape, DType dtype) {
    return fill(tape.make(shape, dtype), random(shape.numel()));
  }
  Tensor input(Tape& tape, const Shape& shape) { return input(tape, shape, t); }
  Tensor parameter(const Shape& shape) { return fill(Tensor::parameter(device, shape, t), random(shape.numel())); }

  void backward(Tape& tape, const Tensor& y) {
    const Tensor upstream = input(tape, y.shape(), y.dtype());
    tape.backward_from(y, upstream.raw());
  }

  void keep(const std::string& name, const Tensor& x) { keep(name, x.raw(), x.numel(), x.dtype()); }
  void keep_grad(const std::string& name, const Tensor& x) {
    ENSURE(x.grad_written(), name, " received no gradient");
    keep("d" + name, x.grad(), x.numel(), x.grad_dtype());
  }
  void keep(const std::string& name, const void* p, int64_t n, DType dtype) {
    std::vector<char> bytes(static_cast<size_t>(n * size_of(dtype)));
    if (n > 0) backend.copy_to_host(bytes.data(), p, n * size_of(dtype));
    keep(name, decode(bytes, dtype), dtype);
  }
  /// Host values that are compared as loosely as BF16 is.
  Values as_bf16(const Tensor& x) {
    const std::vector<float> values = x.to_host<float>();
    return {values.begin(), values.end()};
  }
  void keep(const std::string& name, Values values, DType dtype) {
    names.push_back(name);
    results.push_back(std::move(values));
    dtypes.push_back(dtype);
  }

  Device& device;
  Backend& backend;
  const DType t, acc;
  std::vector<std::string> names;
  std::vector<Values> results;
  std::vector<DType> dtypes;

 private:
  Rng rng_{7, Purpose::initialise};
};

}  // namespace thinker::test
