#include "vfs/write_room.h"

#include <algorithm>

namespace cachefs {

bool WriteRoom::take(uint64_t bytes, uint64_t left_behind, Time deadline) {
  const uint64_t wanted = std::min(bytes, kMax);
  if (budget_.try_reserve(wanted)) return true;
  if (wanted + std::min(left_behind, kMax) > kMax) return false;
  MutexLock lock(mutex_);
  ++waiting_;  // before it looks again: who gives back does so before he looks for those who wait
  bool taken = budget_.try_reserve(wanted);
  while (!taken && std::chrono::steady_clock::now() < deadline) {
    if (deadline == Time::max()) {
      given_back_.wait(mutex_);
    } else {
      given_back_.wait_until(mutex_, deadline);
    }
    taken = budget_.try_reserve(wanted);
  }
  --waiting_;
  return taken;
}

void WriteRoom::give_back(uint64_t bytes) {
  budget_.release(std::min(bytes, kMax));
  if (waiting_ == 0) return;
  MutexLock lock(mutex_);
  given_back_.notify_all();
}

}  // namespace cachefs
