#include "mount/lock_waits.h"

#include <fuse_lowlevel.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace cachefs::mount {

void LockWaits::start() {
  {
    MutexLock lock(mutex_);
    running_ = true;
  }
  thread_ = std::thread([this] { work(); });
}

void LockWaits::stop() {
  std::vector<Entry> left;
  {
    MutexLock lock(mutex_);
    running_ = false;
    left.swap(entries_);
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
  for (const Entry& entry : left) refuse(entry.wait);
}

void LockWaits::refuse(const LockWait& wait) {
  if (fuse_req_t req = wait.asking->claim(); req != nullptr) fuse_reply_err(req, ENOTCONN);
}

void LockWaits::add(LockWait wait) {
  if (!wait.asking->begin_wait()) return;
  {
    MutexLock lock(mutex_);
    if (running_) {
      entries_.push_back({.due = std::chrono::steady_clock::now() + wait.pause, .wait = std::move(wait)});
      changed_.notify_all();
      return;
    }
  }
  refuse(wait);
}

void LockWaits::wake(const MountNode& node) {
  MutexLock lock(mutex_);
  for (Entry& entry : entries_) {
    if (entry.wait.node.get() == &node) entry.due = Time::min();
  }
  changed_.notify_all();
}

size_t LockWaits::waiting() const {
  MutexLock lock(mutex_);
  return entries_.size();
}

LockWaits::Time LockWaits::next_due() const {
  Time next = Time::max();
  for (const Entry& entry : entries_) next = std::min(next, entry.due);
  return next;
}

std::vector<LockWait> LockWaits::take_due(Time now) {
  std::vector<LockWait> due;
  std::erase_if(entries_, [&](Entry& entry) {
    if (entry.due > now) return false;
    due.push_back(std::move(entry.wait));
    return true;
  });
  return due;
}

void LockWaits::work() {
  mutex_.lock();
  while (running_) {
    if (entries_.empty()) {
      changed_.wait(mutex_);
      continue;
    }
    std::vector<LockWait> due = take_due(std::chrono::steady_clock::now());
    if (due.empty()) {
      changed_.wait_until(mutex_, next_due());
      continue;
    }
    mutex_.unlock();
    for (const LockWait& wait : due) {
      if (wait.asking->end_wait()) wait.retry(std::min(wait.pause * 2, kLongestPause));
    }
    due.clear();
    mutex_.lock();
  }
  mutex_.unlock();
}

}  // namespace cachefs::mount
