#include "vfs/posix_descriptor.h"

#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

namespace cachefs::posix {

UniqueFd::~UniqueFd() {
  if (fd_ >= 0) ::close(fd_);
}

int UniqueFd::close_now() {
  if (fd_ < 0) return 0;
  return ::close(release()) == 0 ? 0 : errno;
}

bool is_removed(const UniqueFd& directory) {
  struct statx status{};
  constexpr int kFlags = AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW | AT_STATX_DONT_SYNC;
  if (statx(directory.get(), "", kFlags, STATX_NLINK, &status) != 0) return false;
  return (status.stx_mask & STATX_NLINK) != 0 && status.stx_nlink == 0;
}

std::unexpected<Error> failed(int errno_value, std::string_view doing, std::string_view name) {
  if (errno_value == ENOENT || errno_value == EEXIST) return fail_errno(errno_value);
  std::string text(doing);
  if (!name.empty()) text.append(" '").append(name).append("'");
  return fail_errno(errno_value, std::move(text));
}

namespace {

/// A file that is moved to another directory while it is looked up counts as an escape (EXDEV). A single
/// component, not followed, leads nowhere else: it is looked for again.
long open_again_if_moved(int directory, const char* name, const open_how& how) {
  constexpr int kTries = 100;
  for (int i = 0; i < kTries; ++i) {
    const long fd = syscall(SYS_openat2, directory, name, &how, sizeof how);
    if (fd >= 0 || errno != EXDEV) return fd;
  }
  errno = ENOENT;  // it is never here
  return -1;
}

}  // namespace

int open_beneath(int directory, const std::string& name, int flags, mode_t mode, Crossing crossing) {
  open_how how{};
  how.flags = static_cast<uint64_t>(flags | O_NOFOLLOW | O_CLOEXEC);
  how.mode = (flags & O_CREAT) != 0 ? mode : 0;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS;
  if (crossing == Crossing::refused) how.resolve |= RESOLVE_NO_XDEV;
  const long fd = crossing == Crossing::refused
                      ? syscall(SYS_openat2, directory, name.c_str(), &how, sizeof how)
                      : open_again_if_moved(directory, name.c_str(), how);
  // Before Linux 5.6, or where a sandbox hides openat2: a single component that is not ".." and is not
  // followed leads nowhere else either.
  if (fd < 0 && errno == ENOSYS) return openat(directory, name.c_str(), flags | O_NOFOLLOW | O_CLOEXEC, mode);
  return static_cast<int>(fd);
}

ProcPath::ProcPath(int fd) { std::snprintf(text_, sizeof text_, "/proc/self/fd/%d", fd); }

bool ProcPath::available() { return access("/proc/self/fd", X_OK) == 0; }

Result<void> check_name(std::string_view name, uint32_t name_max) {
  if (name.empty() || name == "." || name == "..") return fail(std::errc::invalid_argument, "not a name");
  if (name.find('/') != std::string_view::npos || name.find('\0') != std::string_view::npos) {
    return fail(std::errc::invalid_argument, "a name has no '/' and no NUL");
  }
  if (name.size() > name_max) return fail(std::errc::filename_too_long);
  return {};
}

}  // namespace cachefs::posix
