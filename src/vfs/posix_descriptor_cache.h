// A bounded set of O_PATH descriptors, the least recently used closed first.
#pragma once

#include <cstddef>
#include <list>
#include <unordered_map>

#include "base/mutex.h"
#include "vfs/posix_descriptor.h"

namespace cachefs::posix {

class PosixNode;

/// Thread-safe. A descriptor in use by an operation stays open for it after it was taken out here.
class DescriptorCache {
 public:
  explicit DescriptorCache(size_t capacity) : capacity_(capacity > 0 ? capacity : 1) {}

  /// Null if none is kept.
  SharedFd get(const PosixNode& node);
  /// Keeps `fd` for `node`, in place of what was kept.
  void put(const PosixNode& node, SharedFd fd);
  /// No name leads to `node` any longer: its descriptor goes last, since none could be opened anew
  /// (but such nodes get no more than half of the room).
  void keep(const PosixNode& node);
  void forget(const PosixNode& node);
  /// Closes half of what is kept. False if there was nothing.
  bool shrink();

  [[nodiscard]] size_t size() const;

 private:
  struct Entry {
    const PosixNode* node;
    SharedFd fd;
    bool kept;
  };
  using List = std::list<Entry>;

  List& list_of(const Entry& entry) REQUIRES(mutex_) { return entry.kept ? kept_ : ordinary_; }
  void take_oldest(List& taken) REQUIRES(mutex_);

  const size_t capacity_;
  mutable Mutex mutex_;
  List ordinary_ GUARDED_BY(mutex_);  ///< the oldest first
  List kept_ GUARDED_BY(mutex_);
  std::unordered_map<const PosixNode*, List::iterator> index_ GUARDED_BY(mutex_);
};

}  // namespace cachefs::posix
