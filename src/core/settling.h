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
  /// Whether a later change would show in another version than that of our own change, which ended with
  /// `request`.
  [[nodiscard]] bool settled_change(Timestamp changed, MonotonicTime first_seen,
                                    const Ticket& request) const {
    return passed(granule_, changed, first_seen, request);
  }

  /// A change time of the source that was seen at `received`: its clock showed at least that. (Access and
  /// modification times prove nothing: users set them.)
  void learn(Timestamp changed, MonotonicTime received) {
    const int64_t offset = changed.time_since_epoch().count() - received.time_since_epoch().count();
    int64_t known = source_clock_offset_.load(std::memory_order_relaxed);
    while (offset > known && !source_clock_offset_.compare_exchange_weak(known, offset)) {
    }
  }

 private:
  [[nodiscard]] bool passed(std::chrono::nanoseconds margin, Timestamp changed, MonotonicTime first_seen,
                            const Ticket& request) const {
    if (margin.count() == 0) return true;
    if (local_clock_ && request.wall_time - changed >= margin) return true;
    const int64_t offset = source_clock_offset_.load(std::memory_order_relaxed);
    if (!local_clock_ && offset != kUnknown &&
        request.time.time_since_epoch().count() + offset - changed.time_since_epoch().count() >=
            margin.count()) {
      return true;
    }
    return request.time - first_seen >= margin;
  }

  static constexpr int64_t kUnknown = INT64_MIN;
  const std::chrono::nanoseconds granule_;
  const std::chrono::nanoseconds fetch_margin_;
  const bool local_clock_;
  const bool shows_changes_;
  std::atomic<int64_t> source_clock_offset_{kUnknown};  ///< the source's clock is at least ours plus this
};

}  // namespace cachefs
