// Programs that wait for a lock which somebody else holds.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "mount/node_table.h"
#include "mount/request.h"

namespace cachefs::mount {

/// A request that waits for a lock.
struct LockWait {
  MountNodeRef node;
  std::shared_ptr<Request> asking;
  std::chrono::milliseconds pause;  ///< before it asks again
  /// Asks for the lock once more; must not wait. `pause`: before the time after that.
  std::function<void(std::chrono::milliseconds pause)> retry;
};

/// Lets each ask again: after kFirstPause, then after twice as long, up to kLongestPause, for a source does
/// not tell when a lock that somebody holds elsewhere comes free; and at once when one of that file is given
/// back here. A signal ends who waits (Request::begin_wait). No thread is taken by one who waits.
/// Thread-safe.
class LockWaits {
 public:
  static constexpr std::chrono::milliseconds kFirstPause{1};
  static constexpr std::chrono::milliseconds kLongestPause{50};

  LockWaits() = default;
  ~LockWaits() { stop(); }
  LockWaits(const LockWaits&) = delete;
  LockWaits& operator=(const LockWaits&) = delete;

  void start() EXCLUDES(mutex_);
  /// Whoever waits, or comes to wait, is answered with ENOTCONN from here on.
  void stop() EXCLUDES(mutex_);

  /// Does nothing if the request is answered.
  void add(LockWait wait) EXCLUDES(mutex_);
  /// A lock of that file was given back.
  void wake(const MountNode& node) EXCLUDES(mutex_);
  [[nodiscard]] size_t waiting() const EXCLUDES(mutex_);

 private:
  using Time = std::chrono::steady_clock::time_point;

  struct Entry {
    Time due;
    LockWait wait;
  };

  void work() EXCLUDES(mutex_);
  std::vector<LockWait> take_due(Time now) REQUIRES(mutex_);
  [[nodiscard]] Time next_due() const REQUIRES(mutex_);
  static void refuse(const LockWait& wait);

  mutable Mutex mutex_;
  ConditionVariable changed_;
  std::vector<Entry> entries_ GUARDED_BY(mutex_);  ///< in the order of their coming
  bool running_ GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace cachefs::mount
