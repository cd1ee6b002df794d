#include "vfs/posix_descriptor_cache.h"

namespace cachefs::posix {

SharedFd DescriptorCache::get(const PosixNode& node) {
  const MonotonicTime now = clock_.now();
  List taken;  // closed after the lock
  MutexLock lock(mutex_);
  const auto found = index_.find(&node);
  if (found == index_.end()) return nullptr;
  List& list = list_of(*found->second);
  list.splice(list.end(), list, found->second);
  found->second->used_at = now;
  take_idle(now, taken);
  return found->second->fd;
}

void DescriptorCache::put(const PosixNode& node, SharedFd fd) {
  const MonotonicTime now = clock_.now();
  List taken;  // closed after the lock
  List fresh;
  fresh.push_back({.node = &node, .fd = std::move(fd), .kept = false, .used_at = now});
  MutexLock lock(mutex_);
  if (fresh.front().fd->epoch() < epoch_) return;
  const auto found = index_.find(&node);
  if (found != index_.end()) {
    fresh.front().kept = found->second->kept;
    taken.splice(taken.end(), list_of(*found->second), found->second);
    found->second = fresh.begin();
  } else {
    index_.emplace(&node, fresh.begin());
  }
  List& list = list_of(fresh.front());
  list.splice(list.end(), fresh);
  while (index_.size() > capacity_) take_oldest(taken);
  take_idle(now, taken);
}

void DescriptorCache::keep(const PosixNode& node) {
  MutexLock lock(mutex_);
  const auto found = index_.find(&node);
  if (found == index_.end() || found->second->kept) return;
  found->second->kept = true;
  kept_.splice(kept_.end(), ordinary_, found->second);
}

void DescriptorCache::forget(const PosixNode& node) {
  List taken;
  MutexLock lock(mutex_);
  const auto found = index_.find(&node);
  if (found == index_.end()) return;
  taken.splice(taken.end(), list_of(*found->second), found->second);
  index_.erase(found);
}

void DescriptorCache::begin(uint32_t epoch) {
  List taken;
  MutexLock lock(mutex_);
  if (epoch <= epoch_) return;
  epoch_ = epoch;
  index_.clear();
  taken.splice(taken.end(), ordinary_);
  taken.splice(taken.end(), kept_);
}

bool DescriptorCache::shrink() {
  List taken;
  MutexLock lock(mutex_);
  for (size_t count = (index_.size() + 1) / 2; count > 0; --count) take_oldest(taken);
  return !taken.empty();
}

size_t DescriptorCache::size() const {
  MutexLock lock(mutex_);
  return index_.size();
}

/// Those that cannot be opened anew stay.
void DescriptorCache::take_idle(MonotonicTime now, List& taken) {
  while (!ordinary_.empty() && now - ordinary_.front().used_at > kIdle) {
    index_.erase(ordinary_.front().node);
    taken.splice(taken.end(), ordinary_, ordinary_.begin());
  }
}

void DescriptorCache::take_oldest(List& taken) {
  const bool too_many_kept = kept_.size() * 2 > capacity_;
  List& list = ordinary_.empty() || too_many_kept ? kept_ : ordinary_;
  index_.erase(list.front().node);
  taken.splice(taken.end(), list, list.begin());
}

}  // namespace cachefs::posix
