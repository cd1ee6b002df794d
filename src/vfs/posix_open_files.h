// Which files of a PosixFs are open: one that no name leads to is reached through who has it open.
#pragma once

#include <unordered_map>

#include "base/mutex.h"
#include "cachefs/file_system.h"
#include "vfs/posix_descriptor.h"

namespace cachefs::posix {

/// Thread-safe.
class OpenFiles {
 public:
  /// `fd` stays open, and where it is, until remove().
  void add(const Node& node, const UniqueFd& fd) EXCLUDES(mutex_);
  /// Does nothing if that was done.
  void remove(const Node& node, const UniqueFd& fd) EXCLUDES(mutex_);
  /// A duplicate of a descriptor of that epoch; invalid if there is none.
  [[nodiscard]] UniqueFd duplicate(const Node& node, uint32_t epoch) const EXCLUDES(mutex_);

 private:
  mutable Mutex mutex_;
  std::unordered_multimap<const Node*, const UniqueFd*> files_ GUARDED_BY(mutex_);
};

}  // namespace cachefs::posix
