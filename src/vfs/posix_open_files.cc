#include "vfs/posix_open_files.h"

#include <algorithm>

namespace cachefs::posix {

void OpenFiles::add(const Node& node, const UniqueFd& fd) {
  MutexLock lock(mutex_);
  files_.emplace(&node, &fd);
}

void OpenFiles::remove(const Node& node, const UniqueFd& fd) {
  MutexLock lock(mutex_);
  const auto [begin, end] = files_.equal_range(&node);
  const auto found = std::find_if(begin, end, [&](const auto& file) { return file.second == &fd; });
  if (found != end) files_.erase(found);
}

/// dup(2) asks no file system, and so may be done under the lock.
UniqueFd OpenFiles::duplicate(const Node& node, uint32_t epoch) const {
  MutexLock lock(mutex_);
  const auto [begin, end] = files_.equal_range(&node);
  const auto found =
      std::find_if(begin, end, [&](const auto& file) { return file.second->epoch() == epoch; });
  if (found == end) return {};
  return UniqueFd(fcntl(found->second->get(), F_DUPFD_CLOEXEC, 0), epoch);
}

}  // namespace cachefs::posix
