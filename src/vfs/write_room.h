// How much memory writes may own that the source has not answered yet.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <list>
#include <unordered_map>

#include "base/mutex.h"
#include "cachefs/file_system.h"

namespace cachefs {

/// What is taken, and for which file.
struct WriteShare {
  const Node* file = nullptr;  ///< as long as something is taken for it, it is kept
  uint64_t bytes = 0;
};

/// Room for all files together, and less for each, so that one that hangs leaves room to others. Who waits
/// gets it in the order of arrival: nobody is overtaken but by those for whose file there is room while there
/// is none for his. Thread-safe.
class WriteRoom {
 public:
  using Time = std::chrono::steady_clock::time_point;
  /// Counts refuse_waiting().
  using Round = uint64_t;
  /// More than the writes that are worked on at once, each of the size of the largest request, can need.
  static constexpr uint64_t kMax = uint64_t{64} << 20U;
  static constexpr uint64_t kOfOneMax = kMax / 8;

  /// False if there was no room until `deadline`, or if who waits is refused (`since` that round). Of
  /// `left_behind` nobody knows when it is given back: for that nobody waits. A share that is larger than
  /// what one file may have is given to it alone; one that is larger than all of it counts as large as that.
  [[nodiscard]] bool take(const WriteShare& share, uint64_t left_behind, Time deadline, Round since)
      EXCLUDES(mutex_);
  void give_back(const WriteShare& share) EXCLUDES(mutex_);
  /// Nobody waits any longer, nor who wants to since before.
  void refuse_waiting() EXCLUDES(mutex_);
  [[nodiscard]] Round round() const { return round_.load(std::memory_order_acquire); }
  [[nodiscard]] uint64_t used() const EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    return used_;
  }
  [[nodiscard]] size_t waiting() const EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    return waiting_.size();
  }

 private:
  struct Waiting {
    Waiting(const Node* of, uint64_t wanted) : file(of), bytes(wanted) {}
    const Node* const file;
    const uint64_t bytes;
    bool has_room = false;
    ConditionVariable wake;
  };

  bool try_take(const Node* file, uint64_t bytes) REQUIRES(mutex_);
  void give_to_waiting() REQUIRES(mutex_);
  /// Whether one file has as much as it may, whatever the others have.
  [[nodiscard]] bool is_full(const Node* file, uint64_t bytes) const REQUIRES(mutex_);

  mutable Mutex mutex_;
  std::list<Waiting> waiting_ GUARDED_BY(mutex_);  ///< the oldest first
  std::atomic<Round> round_{0};
  uint64_t used_ GUARDED_BY(mutex_) = 0;
  std::unordered_map<const Node*, uint64_t> used_by_ GUARDED_BY(mutex_);
};

}  // namespace cachefs
