// Advisory locks of a PosixFs.
#pragma once

#include <memory>
#include <unordered_map>

#include "base/mutex.h"
#include "base/range_locks.h"
#include "cachefs/lock_store.h"
#include "vfs/posix_source.h"

namespace cachefs::posix {

/// Each owner has a descriptor of its own for each file that it locks: by that the kernel (and a server)
/// tells owners apart. Record locks are open-file-description locks (F_OFD_SETLK), which conflict with those
/// of other programs as classic ones do; whole-file locks are those of flock(2).
class PosixLocks final : public LockStore {
 public:
  explicit PosixLocks(PosixSource& source) : source_(source) {}

  Result<void> set(Node& node, const LockRequest& request, const Caller& caller) override;
  Result<std::optional<HeldLock>> test(Node& node, const LockRequest& request, const Caller& caller) override;
  Result<void> release(Node& node, const LockOwner& owner) override;

 private:
  struct Key {
    const Node* node;
    LockOwner owner;
    friend bool operator==(const Key&, const Key&) = default;
  };
  struct KeyHash {
    size_t operator()(const Key& key) const {
      return std::hash<const void*>()(key.node) * 31 + std::hash<LockOwner>()(key.owner);
    }
  };
  /// A file as one owner has it.
  struct Locked {
    explicit Locked(NodeRef of) : node(std::move(of)) {}

    const NodeRef node;
    /// Held over system calls on the descriptor: the locks of an owner change one after another.
    Mutex mutex;
    UniqueFd fd GUARDED_BY(mutex);
    RangeLocks held GUARDED_BY(mutex);
    bool gone GUARDED_BY(mutex) = false;  ///< no longer in the table
  };
  using LockedRef = std::shared_ptr<Locked>;

  LockedRef find(Node& node, const LockOwner& owner) EXCLUDES(mutex_);
  LockedRef find_or_add(Node& node, const LockOwner& owner) EXCLUDES(mutex_);
  void forget(Node& node, const LockOwner& owner) EXCLUDES(mutex_);
  Result<UniqueFd> open(PosixNode& node, const LockRequest& request, const Caller& caller) const;
  Result<void> lock(Locked& locked, const LockRequest& request, const Caller& caller) const
      REQUIRES(locked.mutex);
  Result<void> unlock(Locked& locked, const LockRequest& request) REQUIRES(locked.mutex);
  Result<void> have_descriptor(Locked& locked, const LockRequest& request, const Caller& caller) const
      REQUIRES(locked.mutex);

  PosixSource& source_;
  Mutex mutex_;
  std::unordered_map<Key, LockedRef, KeyHash> locked_ GUARDED_BY(mutex_);
};

}  // namespace cachefs::posix
