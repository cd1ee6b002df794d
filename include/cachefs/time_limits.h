// How long a source may take, and what counts as "cannot be reached".
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "cachefs/error.h"

namespace cachefs {

/// How long one request to a source may take, by its class. Zero: for ever.
struct TimeLimits {
  std::chrono::nanoseconds metadata = std::chrono::seconds(10);  ///< look-ups, attributes, opens, listings
  std::chrono::nanoseconds read = std::chrono::seconds(30);      ///< reads of data
  std::chrono::nanoseconds write = std::chrono::seconds(60);     ///< writes, truncations, attribute changes
  std::chrono::nanoseconds name_change = std::chrono::seconds(30);  ///< create, rename, link, remove
  std::chrono::nanoseconds sync = std::chrono::minutes(10);         ///< fsync, close: all that a server still
                                                                    ///< holds goes to its disk

  static constexpr TimeLimits none() {
    using std::chrono::nanoseconds;
    return {nanoseconds(0), nanoseconds(0), nanoseconds(0), nanoseconds(0), nanoseconds(0)};
  }
  friend bool operator==(const TimeLimits&, const TimeLimits&) = default;
};

/// "none", "30s" (for all classes), or "metadata=5s,read=20s" (the others stay). Errors: einval, with a
/// sentence that names the text and shows what is right.
Result<TimeLimits> parse_time_limits(std::string_view text);
std::string format_time_limits(const TimeLimits& limits);

/// Whether an error says nothing of the file, only that the source does not answer properly: a server that is
/// gone, a time limit that was exceeded, an input or output error. Never ENOENT.
bool is_unreachable(const Error& error);

}  // namespace cachefs
