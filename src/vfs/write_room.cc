#include "vfs/write_room.h"

#include <algorithm>
#include <unordered_set>

namespace cachefs {

bool WriteRoom::take(const WriteShare& share, uint64_t left_behind, Time deadline, Round since) {
  const uint64_t wanted = std::min(share.bytes, kMax);
  MutexLock lock(mutex_);
  if (waiting_.empty() && try_take(share.file, wanted)) return true;
  const auto self = waiting_.emplace(waiting_.end(), share.file, wanted);
  give_to_waiting();
  const bool may_wait = wanted + std::min(left_behind, kMax) <= kMax;
  while (!self->has_room && may_wait && round() == since) {
    if (std::chrono::steady_clock::now() >= deadline) break;
    if (deadline == Time::max()) {
      self->wake.wait(mutex_);
    } else {
      self->wake.wait_until(mutex_, deadline);
    }
  }
  const bool has_room = self->has_room;
  waiting_.erase(self);
  if (!has_room) give_to_waiting();  // those who waited behind it
  return has_room;
}

/// To each whom nobody keeps waiting who came earlier: for the same file, or for room that none has.
void WriteRoom::give_to_waiting() {
  std::unordered_set<const Node*> kept_waiting;
  for (Waiting& waiting : waiting_) {
    if (waiting.has_room) continue;
    if (kept_waiting.contains(waiting.file)) continue;
    if (try_take(waiting.file, waiting.bytes)) {
      waiting.has_room = true;
      waiting.wake.notify_one();
    } else if (is_full(waiting.file, waiting.bytes)) {
      kept_waiting.insert(waiting.file);
    } else {
      return;
    }
  }
}

bool WriteRoom::is_full(const Node* file, uint64_t bytes) const {
  const auto of_file = used_by_.find(file);
  return of_file != used_by_.end() && of_file->second + bytes > kOfOneMax;
}

bool WriteRoom::try_take(const Node* file, uint64_t bytes) {
  if (bytes > kMax - used_ || is_full(file, bytes)) return false;
  used_by_[file] += bytes;
  used_ += bytes;
  return true;
}

void WriteRoom::refuse_waiting() {
  MutexLock lock(mutex_);
  round_.fetch_add(1, std::memory_order_acq_rel);
  for (Waiting& waiting : waiting_) waiting.wake.notify_one();
}

void WriteRoom::give_back(const WriteShare& share) {
  const uint64_t bytes = std::min(share.bytes, kMax);
  MutexLock lock(mutex_);
  const auto of_file = used_by_.find(share.file);
  of_file->second -= bytes;
  if (of_file->second == 0) used_by_.erase(of_file);
  used_ -= bytes;
  if (!waiting_.empty()) give_to_waiting();
}

}  // namespace cachefs
