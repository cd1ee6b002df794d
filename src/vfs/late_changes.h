// Changes that were given up and may still happen: what overlaps them has to wait.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <list>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "cachefs/file_system.h"

namespace cachefs {

/// What a change touches: bytes of a file (its attributes count as all of its bytes), or names.
struct ChangeExtent {
  NodeRef node;
  std::string name{};  ///< in the directory `node`; empty: the file `node` itself
  uint64_t begin = 0;
  uint64_t end = UINT64_MAX;

  [[nodiscard]] bool overlaps(const ChangeExtent& other) const {
    if (!(node == other.node) || name != other.name) return false;
    return !name.empty() || (begin < other.end && other.begin < end);
  }
};

/// What one change touches, and of which root of the source (Reachability::instance): a change of a
/// root that was let go of never arrives at another one that took its place, however like it is.
struct ChangeExtents {
  std::vector<ChangeExtent> all{};
  uint64_t instance = 0;

  [[nodiscard]] bool overlap(const ChangeExtents& other) const;
};

/// Thread-safe.
class LateChanges {
 public:
  using Ticket = std::list<ChangeExtents>::const_iterator;
  using Time = std::chrono::steady_clock::time_point;

  [[nodiscard]] Ticket add(ChangeExtents extents) EXCLUDES(mutex_);
  void remove(Ticket ticket) EXCLUDES(mutex_);
  /// Whether something that was given up changes the file itself.
  [[nodiscard]] bool has_any_of(const Node& file) const EXCLUDES(mutex_);
  /// Returns once nothing that was given up overlaps `extents`; false if that lasts until `deadline`.
  [[nodiscard]] bool wait_for(const ChangeExtents& extents, Time deadline) EXCLUDES(mutex_);
  /// Returns once nothing that was given up before that one overlaps it.
  void wait_for_older(Ticket ticket) EXCLUDES(mutex_);

 private:
  /// Whether one from `newest` on, down to the oldest, overlaps.
  [[nodiscard]] bool overlap(Ticket newest, const ChangeExtents& extents) const REQUIRES(mutex_);

  mutable Mutex mutex_;
  ConditionVariable removed_;
  std::list<ChangeExtents> given_up_ GUARDED_BY(mutex_);  ///< the newest first
  std::atomic<size_t> count_{0};                          ///< of given_up_, for those who find nothing
};

}  // namespace cachefs
