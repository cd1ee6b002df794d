#include "vfs/posix_root.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include "cachefs/time_limits.h"

namespace cachefs::posix {
namespace {

/// The mount that `fd` is in, without asking the file system; 0: not known.
uint64_t mount_id(const UniqueFd& fd) {
  struct statx status{};
  constexpr int kFlags = AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW | AT_STATX_DONT_SYNC;
  if (statx(fd.get(), "", kFlags, STATX_MNT_ID, &status) != 0) return 0;
  return (status.stx_mask & STATX_MNT_ID) != 0 ? status.stx_mnt_id : 0;
}

}  // namespace

RootSignature signature_of(int fd, bool stable_identity) {
  RootSignature signature{.mount = mount_of(fd)};
  struct statfs status{};
  if (fstatfs(fd, &status) == 0) {
    static_assert(sizeof status.f_fsid == sizeof signature.fsid);
    std::memcpy(&signature.fsid, &status.f_fsid, sizeof signature.fsid);
  }
  if (const auto file = read_status(fd); file && stable_identity) signature.inode = file->stx_ino;
  return signature;
}

PosixRoot::PosixRoot(std::string path, UniqueFd fd, uint64_t device, RootSignature signature,
                     IsOwnMount is_own_mount)
    : path_(std::move(path)),
      first_device_(device),
      signature_(std::move(signature)),
      is_own_mount_(std::move(is_own_mount)),
      mounts_(open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC)),
      counts_links_(!is_removed(fd)),
      device_(device),
      mount_(mount_id(fd)),
      fd_(share(std::move(fd))) {}

SharedFd PosixRoot::fd() const {
  MutexLock lock(mutex_);
  return fd_;
}

SharedFd PosixRoot::fd_to_use() const {
  SharedFd root = fd();
  return root && counts_links_ && is_removed(*root) ? nullptr : root;
}

uint32_t PosixRoot::epoch_to_come() const {
  MutexLock lock(mutex_);
  return fd_ ? fd_->epoch() : epoch() + 1;
}

Result<void> PosixRoot::check() {
  const SharedFd known = fd();
  if (known != nullptr && is_mounted(mount_id(*known))) {
    const auto status = read_status(known->get());
    if (status && counts_links_ && status->stx_nlink == 0) {
      let_go(known);
      return fail_errno(ENOTCONN,
                        fmt::format("the directory '{}' was removed; unmount, and mount again", path_));
    }
    if (status) return {};
    // A FUSE connection that was cut does not come back: it shall not be kept from being unmounted.
    if (status.error().to_errno() == ENOTCONN) return lose(known, status.error());
    return is_unreachable(status.error()) ? std::unexpected(status.error()) : not_connected(status.error());
  }
  UniqueFd found(open(path_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!found.valid()) return lose(known, Error::from_errno(errno));
  const bool is_hidden = is_own_mount_ && is_own_mount_(read_device(found.get()));
  if (is_hidden || !is_the_same(signature_of(found.get(), signature_.inode != 0)))
    return lose(known, Error::from_errno(ENODEV));
  return take_up(known, std::move(found));
}

std::unexpected<Error> PosixRoot::not_connected(const Error& why) const {
  return fail_errno(ENOTCONN, fmt::format("the file system of '{}' is not there ({})", path_, why.message()));
}

std::unexpected<Error> PosixRoot::lose(const SharedFd& lost, const Error& why) {
  let_go(lost);
  return not_connected(why);
}

Result<void> PosixRoot::take_up(const SharedFd& known, UniqueFd found) {
  const auto status = read_status(found.get());
  if (!status) return std::unexpected(status.error());
  const uint64_t mount = mount_id(found);
  SharedFd fresh;
  MutexLock lock(mutex_);
  if (fd_ != known) return {};  // another check was faster
  fresh = share(UniqueFd(found.release(), epoch() + 1));
  fd_.swap(fresh);  // the old one is closed after the lock
  if (device_.exchange(device_of(*status), std::memory_order_acq_rel) != device_of(*status))
    instance_.fetch_add(1, std::memory_order_acq_rel);
  mount_.store(mount, std::memory_order_release);
  epoch_.fetch_add(1, std::memory_order_acq_rel);
  return {};
}

void PosixRoot::let_go(const SharedFd& lost) {
  SharedFd gone;
  MutexLock lock(mutex_);
  if (fd_ == lost) gone.swap(fd_);
}

/// Where the file system tells who it is, its word counts alone: another disk may have the same name.
bool PosixRoot::is_the_same(const RootSignature& other) const {
  static constexpr std::array<std::string_view, 7> kTellsWhoItIs{"ext2",  "ext3", "ext4", "xfs",
                                                                 "btrfs", "f2fs", "tmpfs"};
  const std::string& type = signature_.mount.type;
  if (other.mount.type != type || other.mount.root != signature_.mount.root ||
      other.inode != signature_.inode)
    return false;
  const bool tells = std::ranges::find(kTellsWhoItIs, type) != kTellsWhoItIs.end() && signature_.fsid != 0;
  return tells ? other.fsid == signature_.fsid : other.mount.source == signature_.mount.source;
}

}  // namespace cachefs::posix
