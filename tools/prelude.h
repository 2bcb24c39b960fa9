// Compiled once for each build folder and put in front of tpo/, tools/, tests/ and what else uses JSON: only to build
// faster.
#ifndef THINKER_PRELUDE_H
#define THINKER_PRELUDE_H

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#endif
