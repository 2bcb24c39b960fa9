#include "tensor/rng.h"

#include <cmath>
#include <numbers>

namespace thinker {

double Rng::normal() {
  const double u = 1.0 - uniform();  // in (0, 1]: log is finite
  const double angle = 2.0 * std::numbers::pi * uniform();
  return std::sqrt(-2.0 * std::log(u)) * std::cos(angle);
}

}  // namespace thinker
