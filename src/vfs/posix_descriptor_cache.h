// A bounded set of O_PATH descriptors, the least recently used closed first, idle ones after a while.
#pragma once

#include <chrono>
#include <cstddef>
#include <list>
#include <unordered_map>

#include "base/mutex.h"
#include "cachefs/clock.h"
#include "vfs/posix_descriptor.h"

namespace cachefs::posix {

class PosixNode;

/// Thread-safe. A descriptor in use by an operation stays open for it after it was taken out here. An open
/// descriptor keeps a file that was removed elsewhere on its disk: one that was not used for a minute is
/// closed when others are used. All that are kept are of one epoch of the root.
class DescriptorCache {
 public:
  static constexpr std::chrono::seconds kIdle{60};

  explicit DescriptorCache(size_t capacity, const Clock& clock = Clock::system())
      : capacity_(capacity > 0 ? capacity : 1), clock_(clock) {}

  /// Null if none is kept.
  SharedFd get(const PosixNode& node);
  /// Keeps `fd` for `node`, in place of what was kept; not if it is of an earlier epoch than begin() said.
  void put(const PosixNode& node, SharedFd fd);
  /// No name leads to `node` any longer: its descriptor goes last, since none could be opened anew
  /// (but such nodes get no more than half of the room).
  void keep(const PosixNode& node);
  void forget(const PosixNode& node);
  /// Closes what is kept, unless it is of that epoch already.
  void begin(uint32_t epoch);
  /// Closes half of what is kept. False if there was nothing.
  bool shrink();

  [[nodiscard]] size_t size() const;

 private:
  struct Entry {
    const PosixNode* node;
    SharedFd fd;
    bool kept;
    MonotonicTime used_at;
  };
  using List = std::list<Entry>;

  List& list_of(const Entry& entry) REQUIRES(mutex_) { return entry.kept ? kept_ : ordinary_; }
  void take_oldest(List& taken) REQUIRES(mutex_);
  void take_idle(MonotonicTime now, List& taken) REQUIRES(mutex_);

  const size_t capacity_;
  const Clock& clock_;
  mutable Mutex mutex_;
  uint32_t epoch_ GUARDED_BY(mutex_) = 0;
  List ordinary_ GUARDED_BY(mutex_);  ///< the oldest first
  List kept_ GUARDED_BY(mutex_);
  std::unordered_map<const PosixNode*, List::iterator> index_ GUARDED_BY(mutex_);
};

}  // namespace cachefs::posix
