#include "vfs/write_room.h"

#include <algorithm>

namespace cachefs {

bool WriteRoom::take(const WriteShare& share, uint64_t left_behind, Time deadline) {
  const uint64_t wanted = std::min(share.bytes, kMax);
  MutexLock lock(mutex_);
  while (!try_take(share.file, wanted)) {
    if (wanted + std::min(left_behind, kMax) > kMax) return false;
    if (std::chrono::steady_clock::now() >= deadline) return false;
    if (deadline == Time::max()) {
      given_back_.wait(mutex_);
    } else {
      given_back_.wait_until(mutex_, deadline);
    }
  }
  return true;
}

bool WriteRoom::try_take(const Node* file, uint64_t bytes) {
  if (bytes > kMax - used_) return false;
  const auto [of_file, is_first] = used_by_.try_emplace(file, 0);
  if (!is_first && of_file->second + bytes > kOfOneMax) return false;
  of_file->second += bytes;
  used_ += bytes;
  return true;
}

void WriteRoom::give_back(const WriteShare& share) {
  const uint64_t bytes = std::min(share.bytes, kMax);
  MutexLock lock(mutex_);
  const auto of_file = used_by_.find(share.file);
  of_file->second -= bytes;
  if (of_file->second == 0) used_by_.erase(of_file);
  used_ -= bytes;
  given_back_.notify_all();
}

}  // namespace cachefs
