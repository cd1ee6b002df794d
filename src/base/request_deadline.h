// How long the request that this thread works on may take, whatever it is made of.
#pragma once

#include <algorithm>
#include <chrono>

namespace cachefs {

/// While it lives, no request to a source that this thread makes waits beyond `deadline`. The innermost
/// counts.
class RequestDeadline {
 public:
  using Time = std::chrono::steady_clock::time_point;

  explicit RequestDeadline(Time deadline) : outer_(current) { current = deadline; }
  ~RequestDeadline() { current = outer_; }
  RequestDeadline(const RequestDeadline&) = delete;
  RequestDeadline& operator=(const RequestDeadline&) = delete;

  /// The end of something that may take until `wanted` by itself.
  static Time clamp(Time wanted) { return std::min(wanted, current); }

  /// Nobody waits for it any more: what it has not begun it must not begin.
  static bool has_passed() { return current != Time::max() && std::chrono::steady_clock::now() >= current; }

 private:
  inline static thread_local Time current = Time::max();
  const Time outer_;
};

}  // namespace cachefs
