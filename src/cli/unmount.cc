#include "cli/unmount.h"

#include <fmt/format.h>
#include <sys/mount.h>
#include <unistd.h>

#include "cli/process.h"

namespace cachefs::cli {
namespace {

Result<void> unmount_as_root(const std::string& mountpoint, UnmountKind kind) {
  const int flags = UMOUNT_NOFOLLOW | (kind == UnmountKind::detach ? MNT_DETACH : 0);
  if (::umount2(mountpoint.c_str(), flags) != 0)
    return fail_errno(errno, fmt::format("unmount '{}'", mountpoint));
  return {};
}

Result<void> unmount_as_user(const std::string& mountpoint, UnmountKind kind) {
  const std::string flags = kind == UnmountKind::detach ? "-uz" : "-u";
  const auto result = run_program({"fusermount3", flags, "--", mountpoint});
  if (!result) return std::unexpected(result.error());
  if (result->exit_code == 0) return {};
  std::string text = result->error_output;
  while (text.ends_with('\n')) text.pop_back();
  if (text.find("busy") != std::string::npos) return fail(std::errc::device_or_resource_busy, text);
  return fail(std::errc::operation_not_permitted, text);
}

}  // namespace

Result<void> unmount(const std::string& mountpoint, UnmountKind kind) {
  return ::geteuid() == 0 ? unmount_as_root(mountpoint, kind) : unmount_as_user(mountpoint, kind);
}

}  // namespace cachefs::cli
