// Learning-rate schedules.
#pragma once

#include <cstdint>
#include <string>

namespace thinker {

enum class ScheduleKind { constant, linear, cosine };

/// Throws Error naming the three that exist.
ScheduleKind schedule_from_name(const std::string& name);
const char* name(ScheduleKind kind);

struct Schedule {
  ScheduleKind kind = ScheduleKind::linear;
  double lr = 0.0;     // the peak
  int64_t warmup = 0;  // w: steps of linear rise
  int64_t steps = 1;   // S: all steps

  /// The rate of step s = 1...S: lr s/w for s <= w; after it, with u = (s-1-w)/(S-w): lr, lr (1-u) or
  /// lr (1 + cos(pi u)) / 2.
  double at(int64_t s) const;
};

}  // namespace thinker
