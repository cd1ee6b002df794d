#include "base/stat_fields.h"

#include <utility>

namespace cachefs {

FileKind kind_of(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFDIR:
      return FileKind::directory;
    case S_IFLNK:
      return FileKind::symlink;
    case S_IFIFO:
      return FileKind::fifo;
    case S_IFSOCK:
      return FileKind::socket;
    case S_IFCHR:
      return FileKind::char_device;
    case S_IFBLK:
      return FileKind::block_device;
    default:
      return FileKind::regular;
  }
}

mode_t type_bits(FileKind kind) {
  switch (kind) {
    case FileKind::regular:
      return S_IFREG;
    case FileKind::directory:
      return S_IFDIR;
    case FileKind::symlink:
      return S_IFLNK;
    case FileKind::fifo:
      return S_IFIFO;
    case FileKind::socket:
      return S_IFSOCK;
    case FileKind::char_device:
      return S_IFCHR;
    case FileKind::block_device:
      return S_IFBLK;
  }
  std::unreachable();
}

Timestamp timestamp_of(int64_t seconds, int64_t nanoseconds) {
  constexpr int64_t kLimit = INT64_MAX / 1'000'000'000 - 1;
  if (seconds > kLimit) return Timestamp::max();
  if (seconds < -kLimit) return Timestamp::min();
  return Timestamp(std::chrono::seconds(seconds) + std::chrono::nanoseconds(nanoseconds));
}

timespec timespec_of(Timestamp time) {
  const auto whole = std::chrono::floor<std::chrono::seconds>(time);
  return {.tv_sec = whole.time_since_epoch().count(), .tv_nsec = (time - whole).count()};
}

}  // namespace cachefs
