// Shapes of one to four dimensions, outermost first, row-major.
//
// Letters used for dimensions in the whole project:
//   B sequences   T tokens of one sequence   N packed tokens (rows) of a batch   C width of the model
//   H heads (Hkv key/value heads)   D size of a head   F width of the feed-forward   V size of the vocabulary
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>

#include "tensor/check.h"

namespace thinker {

class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<int64_t> dims) {
    ENSURE(dims.size() >= 1 && dims.size() <= 4, "a shape has 1 to 4 dimensions, not ", dims.size());
    for (int64_t d : dims) push(d);
  }

  /// Appends a dimension. Throws when it is negative, the fifth, or the number of elements would overflow.
  void push(int64_t d) {
    ENSURE(rank_ < 4, "a shape has at most 4 dimensions");
    ENSURE(d >= 0, "a dimension is negative: ", d);
    ENSURE(!__builtin_mul_overflow(numel_, d, &numel_), "the number of elements overflows");
    dims_[rank_++] = d;
  }

  int rank() const { return rank_; }
  int64_t numel() const { return rank_ == 0 ? 0 : numel_; }

  /// Dimension i; negative i counts from the innermost (-1).
  int64_t operator[](int i) const {
    int j = i < 0 ? i + rank_ : i;
    ENSURE(j >= 0 && j < rank_, "dimension ", i, " of a shape of rank ", rank_);
    return dims_[j];
  }

  bool operator==(const Shape& other) const = default;

  /// "(3, 5)"
  std::string str() const {
    std::string s = "(";
    for (int i = 0; i < rank_; ++i) {
      if (i > 0) s += ", ";
      s += std::to_string(dims_[i]);
    }
    return s + ")";
  }

 private:
  std::array<int64_t, 4> dims_{};
  int rank_ = 0;
  int64_t numel_ = 1;
};

inline std::ostream& operator<<(std::ostream& out, const Shape& s) {
  return out << s.str();
}

}  // namespace thinker
