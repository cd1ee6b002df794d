// When equal versions prove equal content: timestamps move in steps, so that two changes close together may
// look like one.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>

#include "cachefs/clock.h"
#include "cachefs/file_system.h"

namespace cachefs {

/// When a request to the source began: in the order of all requests and changes, and by both clocks. An
/// answer is taken for what held at some instant after that.
struct Ticket {
  uint64_t sequence = 0;
  MonotonicTime time;
  Timestamp wall_time;
};

/// Knows the source's timestamp granule and, as a lower bound, its clock. Thread-safe.
class Settling {
 public:
  explicit Settling(const Capabilities& source)
      : granule_(source.timestamp_granule),
        fetch_margin_(std::max(source.timestamp_granule, source.write_duration)),
        local_clock_(source.local_clock),
        shows_changes_(source.shows_changes) {}

  /// False: versions show nothing but the size, and every check must fetch anew.
  [[nodiscard]] bool shows_changes() const { return shows_changes_; }

  /// Whether all changes that led to the version were complete when the request read. The version arose at
  /// `changed` (the source's ctime) and was first seen at `first_seen`.
  [[nodiscard]] bool settled_fetch(Timestamp changed, MonotonicTime first_seen, const Ticket& request) const {
    return passed(fetch_margin_, changed, first_seen, request);
  }
  /// Whether a change right before or after one of ours shows in the version of its own. Else what is cached
  /// after a change of ours is unsettled.
  [[nodiscard]] bool shows_every_change() const { return granule_.count() == 0; }

  /// A change time of the source that was seen at `received`: its clock showed at least that. (Access and
  /// modification times prove nothing: users set them.)
  void learn(Timestamp changed, MonotonicTime received) {
    const int64_t start = changed.time_since_epoch().count() - progress_until(received);
    int64_t known = source_clock_start_.load(std::memory_order_relaxed);
    while (start > known && !source_clock_start_.compare_exchange_weak(known, start)) {
    }
  }
  /// The change time that a change of ours led to, which began at `begun`: the source's clock showed no more
  /// than that, and a granule, then. So a clock that was put back does not stay believed.
  void learn_from_own_change(Timestamp changed, MonotonicTime begun) {
    const int64_t start = changed.time_since_epoch().count() + granule_.count() - progress_until(begun);
    int64_t known = source_clock_start_.load(std::memory_order_relaxed);
    while (start < known && !source_clock_start_.compare_exchange_weak(known, start)) {
    }
  }

 private:
  [[nodiscard]] bool passed(std::chrono::nanoseconds margin, Timestamp changed, MonotonicTime first_seen,
                            const Ticket& request) const {
    if (margin.count() == 0) return true;
    if (local_clock_ && request.wall_time - changed >= margin) return true;
    const int64_t start = source_clock_start_.load(std::memory_order_relaxed);
    if (!local_clock_ && start != kUnknown &&
        start + progress_until(request.time) - changed.time_since_epoch().count() >= margin.count()) {
      return true;
    }
    return request.time - first_seen >= margin;
  }

  /// How far the source's clock has come at the least: clocks differ by less than a thousandth in speed.
  [[nodiscard]] static int64_t progress_until(MonotonicTime time) {
    constexpr int64_t kClockTolerance = 1000;
    const int64_t ours = time.time_since_epoch().count();
    return ours - ours / kClockTolerance;
  }

  static constexpr int64_t kUnknown = INT64_MIN;
  const std::chrono::nanoseconds granule_;
  const std::chrono::nanoseconds fetch_margin_;
  const bool local_clock_;
  const bool shows_changes_;
  std::atomic<int64_t> source_clock_start_{
      kUnknown};  ///< its clock is at least this plus progress_until(now)
};

}  // namespace cachefs
