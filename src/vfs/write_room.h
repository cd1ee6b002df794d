// How much memory writes may own that the source has not answered yet.
#pragma once

#include <chrono>
#include <cstdint>
#include <unordered_map>

#include "base/mutex.h"
#include "cachefs/file_system.h"

namespace cachefs {

/// What is taken, and for which file.
struct WriteShare {
  const Node* file = nullptr;  ///< as long as something is taken for it, it is kept
  uint64_t bytes = 0;
};

/// Room for all files together, and less for each, so that one that hangs leaves room to others. Thread-safe.
class WriteRoom {
 public:
  using Time = std::chrono::steady_clock::time_point;
  /// More than the writes that are worked on at once, each of the size of the largest request, can need.
  static constexpr uint64_t kMax = uint64_t{64} << 20U;
  static constexpr uint64_t kOfOneMax = kMax / 8;

  /// False if there was no room until `deadline`. Of `left_behind` nobody knows when it is given back: for
  /// that nobody waits. A share that is larger than what one file may have is given to it alone; one that is
  /// larger than all of it counts as large as that.
  [[nodiscard]] bool take(const WriteShare& share, uint64_t left_behind, Time deadline) EXCLUDES(mutex_);
  void give_back(const WriteShare& share) EXCLUDES(mutex_);
  [[nodiscard]] uint64_t used() const EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    return used_;
  }

 private:
  bool try_take(const Node* file, uint64_t bytes) REQUIRES(mutex_);

  mutable Mutex mutex_;
  ConditionVariable given_back_;
  uint64_t used_ GUARDED_BY(mutex_) = 0;
  std::unordered_map<const Node*, uint64_t> used_by_ GUARDED_BY(mutex_);
};

}  // namespace cachefs
