#include "mount/mount_locks.h"

#include <fuse_lowlevel.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <future>
#include <utility>

#include "base/request_deadline.h"
#include "cachefs/time_limits.h"
#include "mount/translate.h"

namespace cachefs::mount {
namespace {

bool is_held_by_another(const Result<void>& result) {
  return !result && result.error().is(std::errc::resource_unavailable_try_again);
}

HeldLock held(const LockRequest& request) {
  return {.owner = request.owner, .mode = request.mode, .range = request.range, .process = request.process};
}

}  // namespace

void MountLocks::attempt(const LockAskRef& ask, std::chrono::milliseconds pause) {
  if (ask->asking->answered()) return;
  if (ask->waits && is_held_here(*ask)) return retry_later(ask, pause);
  const RequestDeadline limited(deadline_of(parts_.limits, OperationClass::metadata));
  const uint64_t given_back = table_.given_back();
  Result<void> result = try_once(*ask);
  if (is_held_by_another(result) && !ask->waits) {
    // Perhaps by a program that has closed the file, or ended, just now.
    table_.wait_for_giving_back(*ask->node);
    if (table_.given_back() != given_back) result = try_once(*ask);
  }
  if (is_held_by_another(result) && ask->waits) return retry_later(ask, pause);
  answer(*ask->asking, result, reply_done);
}

/// Who would change his whole-file lock has to give it back first, which the source does.
bool MountLocks::is_held_here(const LockAsk& ask) const {
  const bool changes =
      ask.lock.owner.family == LockFamily::whole && table_.holds_any(*ask.node, ask.lock.owner);
  return !changes && table_.conflict(*ask.node, held(ask.lock)).has_value();
}

void MountLocks::retry_later(const LockAskRef& ask, std::chrono::milliseconds pause) {
  waits_.add({.node = ask->node,
              .asking = ask->asking,
              .pause = pause,
              .retry = [this, ask](std::chrono::milliseconds next_pause) {
                parts_.executor.submit(OperationClass::metadata,
                                       [this, ask, next_pause] { attempt(ask, next_pause); });
              }});
}

/// A success is answered by it, or undone if nobody waits for it; a failure is the caller's to answer.
Result<void> MountLocks::try_once(const LockAsk& ask) {
  if (ask.lock.mode == LockMode::none) return unlock(ask);
  while (!ask.asking->answered()) {
    const LockUserRef user = table_.enter(ask.node, ask.lock.owner, ask.handle);
    MutexLock one_after_another(user->mutex);
    if (user->gone) continue;
    return lock(ask, *user);
  }
  return {};
}

Result<void> MountLocks::lock(const LockAsk& ask, LockUser& user) {
  if (ask.asking->answered()) {
    // Who was killed may have closed the file by now: nobody else would come to end what was begun here.
    if (!table_.holds_any(*ask.node, ask.lock.owner)) give_all_back(*ask.node, ask.lock.owner, user);
    return {};
  }
  LockRequest request = ask.lock;
  request.downgrade = is_downgrade(ask);
  Result<void> locked = parts_.source.set(*ask.node->node(), request, ask.caller);
  if (is_held_by_another(locked)) {
    // A change from one mode to the other begins with giving back.
    if (ask.lock.owner.family == LockFamily::whole)
      table_.note(*ask.node, {.owner = ask.lock.owner, .mode = LockMode::none});
    return locked;
  }
  if (locked && !request.downgrade) locked = drop_old_pages(ask.node);
  fuse_req_t req = locked ? ask.asking->claim() : nullptr;
  if (req == nullptr) {
    undo(ask, locked);  // it came too late, or may still come
    return locked;
  }
  table_.note(*ask.node, held(ask.lock));
  reply_done(req);
  if (request.downgrade) waits_.wake(*ask.node);
  return locked;
}

bool MountLocks::is_downgrade(const LockAsk& ask) const {
  if (ask.lock.mode != LockMode::shared) return false;
  const std::vector<HeldLock> known = table_.parts(*ask.node, held(ask.lock));
  return std::ranges::all_of(known, [](const HeldLock& part) { return part.mode == LockMode::exclusive; });
}

/// Of a lock that nobody was told of, or that may still come: the source has what the program knows of, but
/// no more than was asked for where that was less.
void MountLocks::undo(const LockAsk& ask, const Result<void>& locked) {
  const bool may_come = !locked && is_unreachable(locked.error());
  for (HeldLock known : table_.parts(*ask.node, held(ask.lock))) {
    if (known.mode > ask.lock.mode && (locked || may_come)) {
      known.mode = ask.lock.mode;
      table_.note(*ask.node, known);
      if (may_come) set_part(ask, known.range, known.mode);
    } else if (known.mode < ask.lock.mode) {
      set_part(ask, known.range, known.mode);
    }
  }
  waits_.wake(*ask.node);
}

void MountLocks::set_part(const LockAsk& ask, const LockRange& range, LockMode mode) {
  LockRequest request = ask.lock;
  request.mode = mode;
  request.range = range;
  request.downgrade = mode == LockMode::shared;
  const Result<void> set = parts_.source.set(*ask.node->node(), request, ask.caller);
  if (!set) spdlog::warn("giving a lock back: {}", set.error().message());
}

Result<void> MountLocks::unlock(const LockAsk& ask) {
  const LockUserRef user = table_.find(*ask.node, ask.lock.owner);
  if (user == nullptr) return {};
  Result<void> unlocked;
  {
    MutexLock one_after_another(user->mutex);
    // A killed one's comes too late: who shares the open file with it may have locked anew.
    if (user->gone || ask.asking->answered()) return {};
    unlocked = parts_.source.set(*ask.node->node(), ask.lock, ask.caller);
    if (unlocked) table_.note(*ask.node, held(ask.lock));
  }
  waits_.wake(*ask.node);
  return unlocked;
}

/// What the kernel keeps may be of before the lock: the cache has checked the file and begun another
/// generation if need be, of which the kernel may not have been told yet.
Result<void> MountLocks::drop_old_pages(const MountNodeRef& node) {
  if (parts_.view == nullptr) return {};
  const uint64_t generation = parts_.view->validity(*node->node()).data_generation;
  if (node->kept_data == generation) {
    if (node->told_generation != generation) parts_.notifier.void_attributes(*node);
    return {};
  }
  parts_.notifier.forget(*node);
  const auto dropped = std::make_shared<std::promise<void>>();
  parts_.notifier.drop_pages(node, 0, 0, [dropped] { dropped->set_value(); });
  const auto deadline = RequestDeadline::clamp(RequestDeadline::Time::max());
  if (dropped->get_future().wait_until(deadline) != std::future_status::ready)
    return fail(std::errc::timed_out, "the kernel has not dropped what it kept of the file");
  node->kept_data = generation;
  return {};
}

Result<std::optional<HeldLock>> MountLocks::test(const LockAsk& ask) {
  auto found = parts_.source.test(*ask.node->node(), ask.lock, ask.caller);
  if (!found || !*found || (*found)->process != 0) return found;
  // The source does not name the holder; he may be one of ours.
  if (const auto ours = table_.conflict(*ask.node, held(ask.lock))) (*found)->process = ours->process;
  return found;
}

void MountLocks::release(const MountNode& node, const LockOwner& owner) {
  const LockUserRef user = table_.find(node, owner);
  if (user == nullptr) return;
  {
    MutexLock one_after_another(user->mutex);
    if (user->gone) return;
    give_all_back(node, owner, *user);
  }
  waits_.wake(node);
}

void MountLocks::give_all_back(const MountNode& node, const LockOwner& owner, LockUser& user) {
  user.gone = true;
  const Result<void> released = parts_.source.release(*node.node(), owner);
  if (!released) spdlog::warn("giving locks back: {}", released.error().message());
  table_.forget(node, owner);
}

void MountLocks::let_go(const MountNodeRef& node, uint64_t handle, std::optional<LockOwner> owner) {
  // Those of open files (F_OFD_SETLK) too, of which the kernel tells nothing when it closes the file.
  std::vector<LockOwner> owners = table_.users_of(*node, handle);
  if (owner && knows(*node, *owner)) owners.push_back(*owner);
  if (owners.empty()) return;
  table_.begin_giving_back(*node);
  parts_.executor.submit(OperationClass::metadata, [this, node, owners = std::move(owners)] {
    for (const LockOwner& of : owners) release(*node, of);
    table_.end_giving_back(*node);
  });
}

void MountLocks::release_all() {
  for (const LockTable::Use& use : table_.all()) release(*use.node, use.owner);
}

}  // namespace cachefs::mount
