// What a recipe will take: memory, tokens and time, before it runs; and what a run took of the device's speed.
#pragma once

#include <iosfwd>
#include <string>

#include "tpo/model.h"
#include "tpo/recipe.h"

namespace thinker {

void print_plan(std::ostream& out, const Recipe& recipe, const Model& model);

/// One line on the work of everything that the device has computed so far, in `seconds`: its products and the share of
/// the device's own product speed. Empty where the device does not count.
std::string work_done(Device& device, double seconds);

}  // namespace thinker
