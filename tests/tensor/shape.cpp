// Shapes, dtypes, and errors.
#include "tensor/shape.h"

#include <doctest/doctest.h>

#include "tensor/dtype.h"

namespace thinker::test {

TEST_CASE("shape: size, indexing from both ends, printing, equality") {
  const Shape s{2, 3, 5};
  CHECK(s.rank() == 3);
  CHECK(s.numel() == 30);
  CHECK(s[0] == 2);
  CHECK(s[-1] == 5);
  CHECK(s[-3] == 2);
  CHECK(s.str() == "(2, 3, 5)");
  CHECK(s == Shape{2, 3, 5});
  CHECK(!(s == Shape{2, 3}));
  CHECK(!(s == Shape{2, 5, 3}));
  CHECK(Shape().rank() == 0);
  CHECK(Shape().numel() == 0);
  CHECK(Shape{3, 0, 2}.numel() == 0);
}

TEST_CASE("shape: what cannot be throws") {
  const Shape s{2, 3};
  CHECK_THROWS_AS(s[2], Error);
  CHECK_THROWS_AS(s[-3], Error);
  CHECK_THROWS_AS(Shape({1, 2, 3, 4, 5}), Error);
  CHECK_THROWS_AS(Shape({}), Error);
  CHECK_THROWS_AS(Shape({2, -1}), Error);
  CHECK_THROWS_WITH_AS(Shape({int64_t{1} << 40, int64_t{1} << 40}), doctest::Contains("overflows"), Error);
}

TEST_CASE("dtypes: sizes, names, accumulators") {
  CHECK(size_of(DType::F32) == 4);
  CHECK(size_of(DType::F64) == 8);
  CHECK(size_of(DType::BF16) == 2);
  CHECK(size_of(DType::I32) == 4);
  CHECK(name(DType::BF16) == std::string("BF16"));
  CHECK(accumulator_of(DType::BF16) == DType::F32);
  CHECK(accumulator_of(DType::F32) == DType::F32);
  CHECK(accumulator_of(DType::F64) == DType::F64);
}

TEST_CASE("errors are one line; ENSURE adds the place") {
  CHECK_THROWS_WITH_AS(fail("value ", 3, " of ", 2.5), "value 3 of 2.5", Error);
  CHECK_THROWS_WITH_AS([] { ENSURE(1 == 2, "impossible"); }(), doctest::Contains("shape.cpp:"), Error);
  CHECK_NOTHROW([] { ENSURE(1 == 1, "possible"); }());
}

}  // namespace thinker::test
