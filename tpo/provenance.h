// What a run began with, so that a resumed one cannot mix two: the program's version and a hash of every input file.
#pragma once

#include <string>

#include "tpo/recipe.h"

namespace thinker {

/// The program's version.
const char* version();

/// {FILE: "sha256:…"} of what a MODEL is read from. Throws Error when one cannot be read.
Json model_hashes(const std::string& path);

/// {"version": …, "inputs": {FILE: "sha256:…"}}: the model's files, the prompt files and a thought style's file. Throws
/// Error when one cannot be read.
Json provenance(const Recipe& recipe);

/// The resolved recipe followed by its provenance: the content of a run's recipe.json, which parse_recipe reads back.
Json recorded_recipe(const Recipe& recipe);

/// What differs between two recorded recipes, in words, the first of what a person can have changed first: a key of the
/// recipe, the version, an input file. Empty where nothing does.
std::string change_of(const Json& then, const Json& now);

}  // namespace thinker
