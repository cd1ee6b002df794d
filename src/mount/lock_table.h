// Which locks the programs of a mount have been told that they hold, and who is to give some back.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/mutex.h"
#include "base/range_locks.h"
#include "mount/node_table.h"

namespace cachefs::mount {

/// One owner's locks of one file, from the first request until all are given back.
struct LockUser {
  /// Held during each request of this owner for this file, the source's part included: they go one after the
  /// other.
  Mutex mutex;
  bool gone GUARDED_BY(mutex) = false;  ///< no longer in the table: look again
};
using LockUserRef = std::shared_ptr<LockUser>;

/// Thread-safe. All but the waits return at once.
class LockTable {
 public:
  [[nodiscard]] LockUserRef find(const MountNode& node, const LockOwner& owner) const EXCLUDES(mutex_);
  /// Made if need be. `handle`: the open file by which the owner asks.
  LockUserRef enter(const MountNodeRef& node, const LockOwner& owner, uint64_t handle) EXCLUDES(mutex_);
  /// With all of its locks.
  void forget(const MountNode& node, const LockOwner& owner) EXCLUDES(mutex_);
  /// Those who have asked by that open file, which nobody has any more.
  [[nodiscard]] std::vector<LockOwner> users_of(const MountNode& node, uint64_t handle) const
      EXCLUDES(mutex_);

  /// A program is about to be told that it holds the lock, or (LockMode::none) holds it no more.
  void note(const MountNode& node, const HeldLock& lock) EXCLUDES(mutex_);
  [[nodiscard]] bool holds_any(const MountNode& node, const LockOwner& owner) const EXCLUDES(mutex_);
  /// See RangeLocks::parts.
  [[nodiscard]] std::vector<HeldLock> parts(const MountNode& node, const HeldLock& of) const EXCLUDES(mutex_);
  [[nodiscard]] std::optional<HeldLock> conflict(const MountNode& node, const HeldLock& wanted) const
      EXCLUDES(mutex_);

  struct Use {
    MountNodeRef node;
    LockOwner owner;
  };
  [[nodiscard]] std::vector<Use> all() const EXCLUDES(mutex_);

  /// The kernel gives locks back with an open file, and waits for no answer: whoever asks for a lock right
  /// after must not meet them. A giving back that has begun is told of at once, and when it has ended.
  void begin_giving_back(const MountNode& node) EXCLUDES(mutex_);
  void end_giving_back(const MountNode& node) EXCLUDES(mutex_);
  /// How many have ended, of all files.
  [[nodiscard]] uint64_t given_back() const EXCLUDES(mutex_);
  /// Returns once none of the file is under way.
  void wait_for_giving_back(const MountNode& node) EXCLUDES(mutex_);

 private:
  struct User {
    LockUserRef user = std::make_shared<LockUser>();
    std::unordered_set<uint64_t> handles;
  };
  struct FileLocks {
    MountNodeRef node;
    RangeLocks held;
    std::unordered_map<LockOwner, User> users;
  };

  [[nodiscard]] const FileLocks* file_of(const MountNode& node) const REQUIRES(mutex_);

  mutable Mutex mutex_;
  ConditionVariable given_back_changed_;
  std::unordered_map<const MountNode*, FileLocks> files_ GUARDED_BY(mutex_);
  std::unordered_multiset<const MountNode*> giving_back_ GUARDED_BY(mutex_);
  uint64_t given_back_ GUARDED_BY(mutex_) = 0;
};

}  // namespace cachefs::mount
