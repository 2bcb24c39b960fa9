#include "nn/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "tensor/check.h"

namespace thinker {

ScheduleKind schedule_from_name(const std::string& name) {
  if (name == "constant") return ScheduleKind::constant;
  if (name == "linear") return ScheduleKind::linear;
  if (name == "cosine") return ScheduleKind::cosine;
  fail("unknown schedule \"", name, "\": use constant, linear or cosine");
}

const char* name(ScheduleKind kind) {
  switch (kind) {
    case ScheduleKind::constant: return "constant";
    case ScheduleKind::linear: return "linear";
    case ScheduleKind::cosine: return "cosine";
  }
  return "?";
}

double Schedule::at(int64_t s) const {
  ENSURE(s >= 1, "steps count from 1");
  if (s <= warmup) return lr * static_cast<double>(s) / static_cast<double>(warmup);
  const double u = static_cast<double>(s - 1 - warmup) / static_cast<double>(std::max<int64_t>(1, steps - warmup));
  switch (kind) {
    case ScheduleKind::constant: return lr;
    case ScheduleKind::linear: return lr * (1.0 - u);
    case ScheduleKind::cosine: return lr * (1.0 + std::cos(std::numbers::pi * u)) / 2.0;
  }
  return lr;
}

}  // namespace thinker
