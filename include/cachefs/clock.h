// Time, injected: everything that waits or expires asks a Clock, so that tests turn one by hand.
#pragma once

#include <atomic>
#include <chrono>

#include "cachefs/attributes.h"

namespace cachefs {

/// A point on a clock that never goes back; comparable only with others of the same Clock.
using MonotonicTime = std::chrono::time_point<std::chrono::steady_clock, std::chrono::nanoseconds>;

/// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  [[nodiscard]] virtual MonotonicTime now() const = 0;    ///< for ages and deadlines; goes on during suspend
  [[nodiscard]] virtual Timestamp wall_time() const = 0;  ///< for comparison with timestamps of files

  /// The machine's clocks (CLOCK_BOOTTIME, CLOCK_REALTIME).
  static Clock& system();
};

/// Stands still until told otherwise. Thread-safe.
class ManualClock final : public Clock {
 public:
  [[nodiscard]] MonotonicTime now() const override {
    return MonotonicTime(std::chrono::nanoseconds(monotonic_.load()));
  }
  [[nodiscard]] Timestamp wall_time() const override {
    return Timestamp(std::chrono::nanoseconds(wall_.load()));
  }

  void advance(std::chrono::nanoseconds by) {
    monotonic_ += by.count();
    wall_ += by.count();
  }

 private:
  std::atomic<int64_t> monotonic_{1'000'000'000};
  std::atomic<int64_t> wall_{1'700'000'000'000'000'000};
};

}  // namespace cachefs
