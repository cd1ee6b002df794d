// The locks of a mount's programs, taken at the source.
#pragma once

#include <chrono>
#include <memory>
#include <optional>

#include "base/executor.h"
#include "cachefs/cache_fs.h"
#include "cachefs/lock_store.h"
#include "cachefs/time_limits.h"
#include "mount/lock_table.h"
#include "mount/lock_waits.h"
#include "mount/notifier.h"
#include "mount/request.h"

namespace cachefs::mount {

/// A lock that a program asks for, or (LockMode::none) gives back.
struct LockAsk {
  MountNodeRef node;
  uint64_t handle = 0;
  LockRequest lock{};
  Caller caller{};
  bool waits = false;  ///< until it is free; else it fails then (EAGAIN)
  std::shared_ptr<Request> asking;
};
using LockAskRef = std::shared_ptr<const LockAsk>;

/// What a program was told that it holds, it holds at the source, and nothing else for longer than it takes
/// to give it back: a lock that comes when nobody waits for it any more is undone. What was given back is
/// not taken anew for that, since it may be another's by then. Before a lock is answered the kernel has
/// dropped what it kept of the file from before. Thread-safe.
class MountLocks {
 public:
  struct Parts {
    LockStore& source;
    CacheView* view;  ///< null: the kernel keeps nothing
    Notifier& notifier;
    Executor& executor;
    const TimeLimits& limits;
  };
  explicit MountLocks(const Parts& parts) : parts_(parts) {}

  void start() { waits_.start(); }
  /// Answers all who wait. Before the executor is waited for.
  void stop() { waits_.stop(); }

  /// Locks or unlocks, and answers; or has it tried again later. May wait for the source.
  void run(const LockAskRef& ask) { attempt(ask, LockWaits::kFirstPause); }
  /// Some lock that keeps the asked one from being had. May wait for the source.
  Result<std::optional<HeldLock>> test(const LockAsk& ask);

  /// Whether the owner may have something to give back. Does not wait.
  [[nodiscard]] bool knows(const MountNode& node, const LockOwner& owner) const {
    return table_.find(node, owner) != nullptr;
  }
  /// The owner has closed the file: gives all back. May wait for the source.
  void release(const MountNode& node, const LockOwner& owner);
  /// Nobody has the open file any more: gives back what was locked by it, later. Does not wait. `owner`: who
  /// held whole-file locks by it.
  void let_go(const MountNodeRef& node, uint64_t handle, std::optional<LockOwner> owner);
  /// When the kernel asks no more.
  void release_all();

  [[nodiscard]] size_t waiting() const { return waits_.waiting(); }

 private:
  void attempt(const LockAskRef& ask, std::chrono::milliseconds pause);
  /// Whether a program of this mount holds it, so that nobody needs to be asked: who gives it back is heard
  /// of.
  [[nodiscard]] bool is_held_here(const LockAsk& ask) const;
  void retry_later(const LockAskRef& ask, std::chrono::milliseconds pause);
  Result<void> try_once(const LockAsk& ask);
  Result<void> lock(const LockAsk& ask, LockUser& user) REQUIRES(user.mutex);
  Result<void> unlock(const LockAsk& ask);
  [[nodiscard]] bool is_downgrade(const LockAsk& ask) const;
  void undo(const LockAsk& ask, const Result<void>& locked);
  void set_part(const LockAsk& ask, const LockRange& range, LockMode mode);
  void give_all_back(const MountNode& node, const LockOwner& owner, LockUser& user) REQUIRES(user.mutex);
  Result<void> drop_old_pages(const MountNodeRef& node);

  const Parts parts_;
  LockTable table_;
  LockWaits waits_;
};

}  // namespace cachefs::mount
