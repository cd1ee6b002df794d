// How long the request that this thread works on may take, whatever it is made of.
#pragma once

#include <algorithm>
#include <chrono>
#include <utility>

namespace cachefs {

/// While it lives, no request to a source that this thread makes waits beyond `deadline`. The innermost
/// counts.
class RequestDeadline {
 public:
  using Time = std::chrono::steady_clock::time_point;

  explicit RequestDeadline(Time deadline)
      : outer_(std::exchange(current, deadline)), outer_in_vain_(std::exchange(in_vain, false)) {}
  ~RequestDeadline() {
    current = outer_;
    in_vain = outer_in_vain_;
  }
  RequestDeadline(const RequestDeadline&) = delete;
  RequestDeadline& operator=(const RequestDeadline&) = delete;

  /// The end of something that may take until `wanted` by itself.
  static Time clamp(Time wanted) { return std::min(wanted, current); }

  /// Nobody waits for it any more: what it has not begun it must not begin.
  static bool has_passed() { return current != Time::max() && std::chrono::steady_clock::now() >= current; }

  /// Said by who has waited in vain for his turn before he changed anything, and gives up.
  static void note_in_vain() { in_vain = true; }
  /// Whether that was said while this one lives: the request that failed has changed nothing.
  [[nodiscard]] static bool was_in_vain() { return in_vain; }

 private:
  inline static thread_local Time current = Time::max();
  inline static thread_local bool in_vain = false;
  const Time outer_;
  const bool outer_in_vain_;
};

}  // namespace cachefs
