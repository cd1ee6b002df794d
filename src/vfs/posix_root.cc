#include "vfs/posix_root.h"

#include <sys/stat.h>
#include <sys/statfs.h>

#include <cerrno>
#include <cstring>
#include <utility>

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
      device_(device),
      fd_(share(std::move(fd))) {}

SharedFd PosixRoot::fd() const {
  MutexLock lock(mutex_);
  return fd_;
}

Result<void> PosixRoot::check() {
  if (const SharedFd known = fd(); known != nullptr && is_mounted(mount_id(*known))) {
    const auto status = read_status(known->get());
    if (status) return {};
    // A FUSE connection that was cut does not come back: it shall not be kept from being unmounted.
    if (status.error().to_errno() == ENOTCONN) let_go();
    return std::unexpected(status.error());
  }
  UniqueFd found(open(path_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  const bool is_absent = !found.valid() && (errno == ENOENT || errno == ENOTDIR);
  if (!found.valid() && !is_absent) return failed(errno, "open the directory", path_);
  const bool is_hidden = found.valid() && is_own_mount_ && is_own_mount_(read_device(found.get()));
  if (is_absent || is_hidden || !is_the_same(signature_of(found.get(), signature_.inode != 0))) {
    let_go();
    return fail_errno(ENOTCONN, "the file system of '" + path_ + "' is not mounted there");
  }
  return take_up(std::move(found));
}

Result<void> PosixRoot::take_up(UniqueFd found) {
  const auto status = read_status(found.get());
  if (!status) return std::unexpected(status.error());
  SharedFd fresh = share(std::move(found));
  MutexLock lock(mutex_);
  fd_.swap(fresh);  // the old one is closed after the lock
  device_.store(device_of(*status), std::memory_order_release);
  epoch_.fetch_add(1, std::memory_order_acq_rel);
  return {};
}

void PosixRoot::let_go() {
  SharedFd gone;
  MutexLock lock(mutex_);
  gone.swap(fd_);
}

bool PosixRoot::is_the_same(const RootSignature& other) const {
  const bool same_source = other.mount.source == signature_.mount.source;
  const bool same_id = signature_.fsid != 0 && other.fsid == signature_.fsid;
  return other.mount.type == signature_.mount.type && other.mount.root == signature_.mount.root &&
         (same_source || same_id) && other.inode == signature_.inode;
}

}  // namespace cachefs::posix
