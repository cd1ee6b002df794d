#include "vfs/posix_change.h"

#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>

#include "base/stat_fields.h"
#include "vfs/posix_attributes.h"
#include "vfs/posix_credentials.h"

namespace cachefs::posix {
namespace {

int fd_of(const ChangeTarget& target) { return target.content >= 0 ? target.content : target.path; }

Result<void> done(int result, std::string_view doing) {
  if (result != 0) return failed(errno, doing);
  return {};
}

Result<void> change_owner(const AttributeChange& change, const ChangeTarget& target) {
  if (!change.uid && !change.gid) return {};
  constexpr auto kUnchanged = static_cast<uint32_t>(-1);
  return done(fchownat(fd_of(target), "", change.uid.value_or(kUnchanged), change.gid.value_or(kUnchanged),
                       AT_EMPTY_PATH),
              "change the owner");
}

Result<void> change_size(const AttributeChange& change, const ChangeTarget& target) {
  if (!change.size) return {};
  if (target.kind == FileKind::directory) return fail(std::errc::is_a_directory);
  if (target.kind != FileKind::regular) return fail(std::errc::invalid_argument);
  if (*change.size > static_cast<uint64_t>(INT64_MAX)) return fail(std::errc::file_too_large);
  const auto size = static_cast<off_t>(*change.size);
  const ContentRights rights(target.drops_set_id);
  if (target.content >= 0) return done(ftruncate(target.content, size), "change the size");
  return done(truncate(ProcPath(target.path).c_str(), size), "change the size");
}

Result<void> change_mode(const AttributeChange& change, const ChangeTarget& target) {
  if (!change.mode) return {};
  if (target.kind == FileKind::symlink) return fail(std::errc::operation_not_supported);
  if (target.content >= 0) return done(fchmod(target.content, *change.mode & 07777U), "change the mode");
  return done(chmod(ProcPath(target.path).c_str(), *change.mode & 07777U), "change the mode");
}

timespec time_argument(const std::optional<TimeChange>& change) {
  if (!change) return {.tv_sec = 0, .tv_nsec = UTIME_OMIT};
  if (change->now) return {.tv_sec = 0, .tv_nsec = UTIME_NOW};
  return timespec_of(change->time);
}

Result<void> change_times(const AttributeChange& change, const ChangeTarget& target) {
  if (!change.atime && !change.mtime) return {};
  const std::array<timespec, 2> times{time_argument(change.atime), time_argument(change.mtime)};
  // Not glibc's utimensat(), which takes no empty path.
  long result = syscall(SYS_utimensat, fd_of(target), "", times.data(), AT_EMPTY_PATH);
  if (result != 0 && (errno == EINVAL || errno == ENOENT)) {  // before Linux 5.8
    result = utimensat(AT_FDCWD, ProcPath(fd_of(target)).c_str(), times.data(), 0);
  }
  return done(static_cast<int>(result), "change the times");
}

}  // namespace

Result<void> apply(const AttributeChange& change, const ChangeTarget& target) {
  for (const auto step : {change_owner, change_size, change_mode, change_times}) {
    Result<void> result = step(change, target);
    if (!result) return result;
  }
  return {};
}

}  // namespace cachefs::posix
