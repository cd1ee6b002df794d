// What the source allows to whom, as it has shown: for sources whose mode bits are not the last word.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/budget.h"
#include "base/mutex.h"
#include "cache/block.h"
#include "cachefs/clock.h"
#include "cachefs/file_system.h"

namespace cachefs {

/// Who was allowed what, when. Only what was allowed is remembered: what was refused is asked for again each
/// time. A table of a fixed size, in `budget` while it exists (from the first verdict to clear()); a verdict
/// may give way to any other at any time. Thread-safe.
class AccessVerdicts {
 public:
  explicit AccessVerdicts(Budget& budget) : budget_(budget) {}

  /// The source let `caller` do `wanted` ('r' = 4, 'w' = 2, 'x' = 1; at least one of them) at the request
  /// that was made at `asked_at`. `changed`: the change time of the file then; a verdict ends with it.
  void allow(FileId file, Timestamp changed, const Caller& caller, uint32_t wanted, MonotonicTime asked_at);

  /// When it was asked whether he may: the oldest of the verdicts on each of `wanted`. MonotonicTime::min()
  /// if there is not one on each.
  [[nodiscard]] MonotonicTime asked_at(FileId file, Timestamp changed, const Caller& caller,
                                       uint32_t wanted) const;

  /// What was asked for before `now` is remembered no longer, even if the answer is still to come.
  void clear(MonotonicTime now);

 private:
  /// On one of r, w, x.
  struct Verdict {
    FileId file = kNoFile;
    uint64_t groups = 0;  ///< a hash
    Timestamp changed{};
    MonotonicTime asked_at = MonotonicTime::min();
    uint32_t uid = 0;
    uint32_t gid = 0;
    uint32_t right = 0;
  };
  static constexpr size_t kShards = 16;
  static constexpr size_t kVerdictsOfShard = 256;
  static constexpr uint64_t kBytesOfShard = kVerdictsOfShard * sizeof(Verdict);
  struct Shard {
    mutable Mutex mutex;
    std::vector<Verdict> verdicts GUARDED_BY(mutex);  ///< empty, or kVerdictsOfShard
    Reservation memory GUARDED_BY(mutex);
    MonotonicTime cleared_at GUARDED_BY(mutex) = MonotonicTime::min();
  };
  struct Place {
    size_t shard = 0;
    size_t index = 0;
  };

  static Verdict key(FileId file, Timestamp changed, const Caller& caller, uint32_t right);
  static Place place_of(const Verdict& verdict);
  static bool is_same(const Verdict& a, const Verdict& b);

  Budget& budget_;
  std::array<Shard, kShards> shards_;
};

}  // namespace cachefs
