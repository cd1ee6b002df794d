// The cache's counters, for programs and for people.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "cachefs/cache_fs.h"

namespace cachefs::cli {

/// Every field of CacheStats under its own name, and "hit_ratio".
nlohmann::json to_json(const CacheStats& stats);

/// A table of what `to_json` gave, perhaps in another version of the program: what is missing is left out.
std::string format_stats(const nlohmann::json& stats);

}  // namespace cachefs::cli
