// Sizes and durations as people write them.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "cachefs/error.h"

namespace cachefs {

inline constexpr uint64_t kKiB = 1024;
inline constexpr uint64_t kMiB = 1024 * kKiB;
inline constexpr uint64_t kGiB = 1024 * kMiB;

/// Bytes from "8M", "64MiB", "1.5G" (powers of 1024), "100MB" (powers of 1000) or "4096". Units are not
/// case-sensitive. Errors: einval, with a sentence that names the text and shows what is right.
Result<uint64_t> parse_size(std::string_view text);

/// From "5ms", "60s", "1.5h"; units ns, us, ms, s, m, h, d; "0" needs none. Errors: einval, likewise.
Result<std::chrono::nanoseconds> parse_duration(std::string_view text);

std::string format_size(uint64_t bytes);                         ///< "1.5 GiB"
std::string format_duration(std::chrono::nanoseconds duration);  ///< "1.5 h"

}  // namespace cachefs
