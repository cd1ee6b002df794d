#include "vfs/late_changes.h"

#include <algorithm>
#include <utility>

namespace cachefs {

LateChanges::Ticket LateChanges::add(Extents extents) {
  MutexLock lock(mutex_);
  given_up_.push_front(std::move(extents));
  count_.store(given_up_.size(), std::memory_order_release);
  return given_up_.cbegin();
}

void LateChanges::remove(Ticket ticket) {
  std::list<Extents> removed;  // its nodes are let go of after the lock
  MutexLock lock(mutex_);
  removed.splice(removed.begin(), given_up_, ticket);
  count_.store(given_up_.size(), std::memory_order_release);
  removed_.notify_all();
}

bool LateChanges::wait_for(const Extents& extents, Time deadline) {
  if (extents.empty() || count_.load(std::memory_order_acquire) == 0) return true;
  MutexLock lock(mutex_);
  while (overlap(extents)) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    removed_.wait_until(mutex_, deadline);
  }
  return true;
}

bool LateChanges::overlap(const Extents& extents) const {
  return std::ranges::any_of(given_up_, [&](const Extents& late) {
    return std::ranges::any_of(late, [&](const ChangeExtent& one) {
      return std::ranges::any_of(extents, [&](const ChangeExtent& other) { return one.overlaps(other); });
    });
  });
}

}  // namespace cachefs
