// A turn at changing a file of the cache, or at keeping it unchanged.
#pragma once

#include <chrono>
#include <optional>

#include "cachefs/time_limits.h"
#include "core/cache_impl.h"
#include "core/change_queue.h"

namespace cachefs {

/// Held during a change of our own, the source's part included. Waits for those who come first, no longer
/// than the request may take that is at work: within its RequestDeadline, and within the source's limit for
/// requests of its class.
class FileTurn {
 public:
  using Kind = ChangeTurn::Kind;
  using Limit = std::chrono::nanoseconds TimeLimits::*;
  using Time = ChangeQueue::Time;

  FileTurn(CacheFs::Impl& cache, CacheNode& of, Kind kind, Limit limit);
  /// The same, until `deadline`.
  FileTurn(CacheFs::Impl& cache, CacheNode& of, Kind kind, Time deadline);
  /// To write these bytes: beside others, if they are within the file as it is known.
  FileTurn(CacheFs::Impl& cache, CacheNode& of, uint64_t begin, uint64_t end);
  ~FileTurn();
  FileTurn(const FileTurn&) = delete;
  FileTurn& operator=(const FileTurn&) = delete;

  /// Etimedout: those who came first have not ended in time, and nothing may be done.
  [[nodiscard]] std::optional<Error> refused() const;

  [[nodiscard]] CacheNode& node() const { return node_; }
  /// Of one that is not refused. Who lets it leave the queue early needs no turn for the rest.
  [[nodiscard]] ChangeTurn& turn() { return *turn_; }

  /// When a request of that class that begins now must have ended.
  static Time deadline_of(const CacheFs::Impl& cache, Limit limit);

 private:
  template <typename Deadline>
  void enter(Deadline deadline) REQUIRES(node_.mutex);

  CacheNode& node_;
  const Clock& clock_;
  std::optional<ChangeTurn> turn_;  ///< empty: refused
};

}  // namespace cachefs
