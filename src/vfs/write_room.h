// How much memory writes may own that the source has not answered yet.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include "base/budget.h"
#include "base/mutex.h"

namespace cachefs {

/// Thread-safe. Taking costs no lock while there is room.
class WriteRoom {
 public:
  using Time = std::chrono::steady_clock::time_point;
  /// More than the writes that are worked on at once, each of the size of the largest request, can need.
  static constexpr uint64_t kMax = uint64_t{64} << 20U;

  /// False if there was no room until `deadline`. Of `left_behind` nobody knows when it is given back: for
  /// that nobody waits. One that is larger than all of it counts as large as that.
  [[nodiscard]] bool take(uint64_t bytes, uint64_t left_behind, Time deadline) EXCLUDES(mutex_);
  void give_back(uint64_t bytes) EXCLUDES(mutex_);
  [[nodiscard]] uint64_t used() const { return budget_.used(); }

 private:
  Budget budget_{kMax};
  std::atomic<uint32_t> waiting_{0};
  Mutex mutex_;
  ConditionVariable given_back_;
};

}  // namespace cachefs
