// How long work reports where it is; whoever runs it decides how to show that.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace thinker {

/// what: a short name of the stage; done of total in units of its own (samples, steps). A stage reports when it begins
/// and where it could as well end: what a report throws ends the work, and no more is lost than what is not counted
/// yet.
using Progress = std::function<void(const std::string& what, int64_t done, int64_t total)>;

}  // namespace thinker
