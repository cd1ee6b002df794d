// What the signals that tell a daemon to end mean, taken together.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "cachefs/clock.h"

namespace cachefs::cli {

enum class EndRequest : uint8_t {
  orderly,  ///< unmount, and wait for what is under way
  at_once,  ///< somebody is tired of waiting
  known,    ///< nothing that was not said before
};

/// The first signal asks for an orderly end. One and the same end is often told more than once: by a
/// terminal to its process group and by a service manager, by a script and by the hang-up of its terminal. So
/// only what comes kPatience after the first, and is no SIGHUP, is impatience. Not thread-safe.
class EndRequests {
 public:
  static constexpr std::chrono::seconds kPatience{1};

  /// `clock` must outlive this.
  explicit EndRequests(const Clock& clock) : clock_(clock) {}

  EndRequest take(int signal);

 private:
  const Clock& clock_;
  std::optional<MonotonicTime> first_;
};

}  // namespace cachefs::cli
