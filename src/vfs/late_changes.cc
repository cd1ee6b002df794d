#include "vfs/late_changes.h"

#include <algorithm>
#include <utility>

namespace cachefs {

bool ChangeExtents::overlap(const ChangeExtents& other) const {
  if (instance != other.instance) return false;
  return std::ranges::any_of(all, [&](const ChangeExtent& one) {
    return std::ranges::any_of(other.all, [&](const ChangeExtent& another) { return one.overlaps(another); });
  });
}

LateChanges::Ticket LateChanges::add(ChangeExtents extents) {
  MutexLock lock(mutex_);
  given_up_.push_front(std::move(extents));
  count_.store(given_up_.size(), std::memory_order_release);
  return given_up_.cbegin();
}

void LateChanges::remove(Ticket ticket) {
  std::list<ChangeExtents> removed;  // its nodes are let go of after the lock
  MutexLock lock(mutex_);
  removed.splice(removed.begin(), given_up_, ticket);
  count_.store(given_up_.size(), std::memory_order_release);
  removed_.notify_all();
}

bool LateChanges::has_any_of(const Node& file) const {
  if (count_.load(std::memory_order_acquire) == 0) return false;
  MutexLock lock(mutex_);
  return std::ranges::any_of(given_up_, [&](const ChangeExtents& late) {
    return std::ranges::any_of(late.all, [&](const ChangeExtent& extent) {
      return extent.name.empty() && extent.node.get() == &file;
    });
  });
}

bool LateChanges::wait_for(const ChangeExtents& extents, Time deadline) {
  if (extents.all.empty() || count_.load(std::memory_order_acquire) == 0) return true;
  MutexLock lock(mutex_);
  while (overlap(given_up_.cbegin(), extents)) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    removed_.wait_until(mutex_, deadline);
  }
  return true;
}

void LateChanges::wait_for_older(Ticket ticket) {
  MutexLock lock(mutex_);
  while (overlap(std::next(ticket), *ticket)) removed_.wait(mutex_);
}

bool LateChanges::overlap(Ticket newest, const ChangeExtents& extents) const {
  return std::any_of(newest, given_up_.cend(),
                     [&](const ChangeExtents& late) { return late.overlap(extents); });
}

}  // namespace cachefs
