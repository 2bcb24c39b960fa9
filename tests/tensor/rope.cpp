// Rotary embedding: against complex multiplication, in place, undone by the opposite direction.
#include <complex>

#include "add.h"
#include "gradcheck.h"

namespace thinker::test {

namespace {

struct Rotation {
  std::vector<int32_t> positions;
  std::vector<double> frequencies;
};

Rotation rotation(int64_t head_dim, std::vector<int32_t> positions) {
  Rotation r{std::move(positions), {}};
  for (int64_t j = 0; j < head_dim / 2; ++j)
    r.frequencies.push_back(
        static_cast<float>(std::pow(10000.0, -2.0 * static_cast<double>(j) / static_cast<double>(head_dim))));
  return r;
}

Op rope_op(const Rotation& r) {
  return [r](Tape& tape, const std::vector<Tensor>& x) {
    const auto half = static_cast<int64_t>(r.frequencies.size());
    const Tensor frequency = constant(tape, x[0].dtype(), {half}, r.frequencies);
    rope(tape, x[0], {}, rope_angles(tape, indices(tape, r.positions), frequency));
    return x[0];
  };
}

std::vector<double> plain_rope(const Input& x, const Rotation& r) {
  std::vector<double> y = x.values;
  const auto half = static_cast<int64_t>(r.frequencies.size());
  for (int64_t i = 0; i < x.shape[0]; ++i)
    for (int64_t head = 0; head < x.shape[1]; head += 2 * half)
      for (int64_t j = 0; j < half; ++j) {
        double* p = &y[i * x.shape[1] + head + j];
        const std::complex<double> turned =
            std::complex<double>(p[0], p[half]) * std::polar(1.0, r.positions[i] * r.frequencies[j]);
        p[0] = turned.real();
        p[half] = turned.imag();
      }
  return y;
}

}  // namespace

TEST_CASE("rope: gradients, odd numbers of heads and of pairs") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(1);
  check_op(*device, rope_op(rotation(2, {5})), {activation({1, 2}, rng)});
  check_op(*device, rope_op(rotation(6, {0, 1, 100})), {activation({3, 18}, rng)});
  check_op(*device, rope_op(rotation(14, {7, 3, 3, 0, 1})), {activation({5, 14}, rng)});
  check_op(*device, rope_op(rotation(6, {2, 0, 1, 2, 1})), {activation({5, 18}, rng)});  // more rows than positions
}

TEST_CASE("rope equals a complex rotation") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(2);
  for (const std::vector<int32_t>& positions :
       {std::vector{0, 1, 2, 17, 63, 64, 100}, std::vector{0, 1, 2, 3, 5, 5, 2}}) {
    const Rotation r = rotation(64, positions);
    const Input x = activation({7, 3 * 64}, rng);
    check_forward(*device, rope_op(r), {x}, plain_rope(x, r));
  }
}

TEST_CASE("rope far along: the angle is rounded to a float, its sine and cosine are not") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(3);
  Rotation r = rotation(64, {});
  for (int i = 0; i < 50; ++i) r.positions.push_back(static_cast<int32_t>(rng.below(130000)));
  const Input x = activation({50, 64}, rng);
  std::vector<double> expected = x.values;
  for (int64_t i = 0; i < 50; ++i)
    for (int64_t j = 0; j < 32; ++j) {
      const float angle = static_cast<float>(r.positions[i]) * static_cast<float>(r.frequencies[j]);
      const double c = std::cos(static_cast<double>(angle)), s = std::sin(static_cast<double>(angle));
      double *a = &expected[i * 64 + j], *b = a + 32;
      std::tie(*a, *b) = std::pair(*a * c - *b * s, *b * c + *a * s);
    }
  CHECK(relative_error(run<float>(*device, rope_op(r), {x}).y, expected) < 1e-6);
}

TEST_CASE("rope works in place, and the opposite direction undoes it") {
  const auto device = open_device("cpu");
  Tape tape(*device, Tape::Mode::no_grad);
  Rng rng = test_rng(4);
  const Rotation r = rotation(8, {3, 11});
  const Tensor x = tape.from<double>({2, 16}, normal_values(32, rng));
  const std::vector<double> before = x.to_host<double>();
  const Tensor frequency = constant(tape, DType::F64, {4}, r.frequencies);
  const Tensor angles = rope_angles(tape, indices(tape, r.positions), frequency);
  rope(tape, x, {}, angles);
  CHECK(relative_error(x.to_host<double>(), before) > 0.1);
  tape.backend().rope(x.raw(), nullptr, angles.raw(), 2, 2, 0, 8, -1, DType::F64);
  CHECK(relative_error(x.to_host<double>(), before) < 1e-14);
}

TEST_CASE("rope of queries and keys together is rope of each, forward and backward") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(7);
  const Rotation r = rotation(8, {3, 0, 11});
  const Input q = activation({3, 40}, rng), k = activation({3, 16}, rng);
  const auto both = [&](size_t which) {
    return [&r, which](Tape& tape, const std::vector<Tensor>& x) {
      rope(tape, x[0], x[1],
           rope_angles(tape, indices(tape, r.positions), constant(tape, x[0].dtype(), {4}, r.frequencies)));
      return x[which];
    };
  };
  check_forward(*device, both(0), {q, k}, plain_rope(q, r));
  check_forward(*device, both(1), {q, k}, plain_rope(k, r));
  const Op sum = [&r](Tape& tape, const std::vector<Tensor>& x) {
    const Tensor y = linear(tape, x[0], x[2]), z = linear(tape, x[1], x[2]);
    rope(tape, y, z, rope_angles(tape, indices(tape, r.positions), constant(tape, x[0].dtype(), {4}, r.frequencies)));
    return add(tape, y, z);
  };
  check_op(*device, sum, {activation({3, 5}, rng), activation({3, 5}, rng), parameter({16, 5}, rng)});
}

TEST_CASE("rope at position 0 changes nothing; NaN stays") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(5);
  Input x = activation({1, 6}, rng);
  for (double& v : x.values) v = static_cast<float>(v);
  CHECK(run<float>(*device, rope_op(rotation(6, {0})), {x}).y == x.values);
  x.values[1] = NAN;
  const std::vector<double> y = run<float>(*device, rope_op(rotation(6, {3})), {x}).y;
  for (int j = 0; j < 6; ++j) CHECK(std::isnan(y[j]) == (j % 3 == 1));
}

TEST_CASE("rope refuses heads that do not fit") {
  const auto device = open_device("cpu");
  Rng rng = test_rng(6);
  CHECK_THROWS_WITH_AS(run<float>(*device, rope_op(rotation(4, {0})), {activation({1, 6}, rng)}),
                       doctest::Contains("[rope]"), Error);
}

}  // namespace thinker::test
