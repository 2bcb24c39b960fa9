// What a recipe will take: memory, tokens and time, before it runs.
#pragma once

#include <iosfwd>

#include "tpo/model.h"
#include "tpo/recipe.h"

namespace thinker {

void print_plan(std::ostream& out, const Recipe& recipe, const Model& model);

}  // namespace thinker
