// The directory that a PosixFs is rooted in, also when its file system is taken away and comes back.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "base/mutex.h"
#include "vfs/posix_attributes.h"
#include "vfs/posix_descriptor.h"
#include "vfs/posix_source_traits.h"

namespace cachefs::posix {

/// What a root must still be when it is found again. A mount's device number may be another then.
struct RootSignature {
  MountInfo mount;
  uint64_t fsid = 0;   ///< of statfs(2); 0 where the file system has none
  uint64_t inode = 0;  ///< 0 where inode numbers are not stable
};

/// Thread-safe.
///
/// The root is known by its descriptor, wherever that is moved. Once its mount is gone from this machine's
/// table of mounts, the descriptor is let go of, so that what was detached can end; until the same file
/// system is mounted at the path again, there is no root: all that is asked is "not connected" (ENOTCONN),
/// never "no such file". So it is once the directory was removed, also if another is made in its place.
class PosixRoot {
 public:
  using IsOwnMount = std::function<bool(uint64_t device)>;

  /// `path`: where `fd` was opened. `is_own_mount`: the path leads to a mount of this very source, which
  /// hides it; may be empty.
  PosixRoot(std::string path, UniqueFd fd, uint64_t device, RootSignature signature, IsOwnMount is_own_mount);

  /// Null while there is none. Its epoch() is that of when it became the root.
  [[nodiscard]] SharedFd fd() const EXCLUDES(mutex_);
  /// The same, and null once the directory was removed: nothing is found in it then, as if all was deleted.
  [[nodiscard]] SharedFd fd_to_use() const EXCLUDES(mutex_);
  /// Of what is opened from now on: the root's, or, while there is none, that of the next one.
  [[nodiscard]] uint32_t epoch_to_come() const EXCLUDES(mutex_);
  /// Counts how often another descriptor took the place of the root's.
  [[nodiscard]] uint32_t epoch() const { return epoch_.load(std::memory_order_acquire); }
  /// Counts how often that was another instance of the file system. One that a request still uses keeps its
  /// device number, and is the one that is mounted again under that number: what hangs there arrives there.
  [[nodiscard]] uint64_t instance() const { return instance_.load(std::memory_order_acquire); }
  /// The number that stands for a file system: the root's keeps the one that it had at the beginning, and who
  /// has got that one since has the root's new one in exchange.
  [[nodiscard]] uint64_t lasting_device(uint64_t device) const {
    const uint64_t now = device_.load(std::memory_order_acquire);
    if (device == now) return first_device_;
    return device == first_device_ ? now : device;
  }
  [[nodiscard]] uint64_t device() const { return first_device_; }

  /// The mount that the root is in, by this machine's number for it; 0 where the kernel does not tell.
  [[nodiscard]] uint64_t mount() const { return mount_.load(std::memory_order_acquire); }

  /// Looks whether the root is still mounted and answers; takes it up again if it has come back. Errors:
  /// enotconn, and what the file system says.
  Result<void> check() EXCLUDES(mutex_);

  /// poll(2) tells POLLPRI when something was mounted or unmounted.
  [[nodiscard]] int event() const { return mounts_.get(); }

 private:
  /// In place of `known`, if that still is what there is.
  Result<void> take_up(const SharedFd& known, UniqueFd found) EXCLUDES(mutex_);
  /// Of `lost`, if it still is the root.
  void let_go(const SharedFd& lost) EXCLUDES(mutex_);
  [[nodiscard]] std::unexpected<Error> not_connected(const Error& why) const;
  [[nodiscard]] std::unexpected<Error> lose(const SharedFd& lost, const Error& why) EXCLUDES(mutex_);
  [[nodiscard]] bool is_the_same(const RootSignature& other) const;

  const std::string path_;
  const uint64_t first_device_;
  const RootSignature signature_;
  const IsOwnMount is_own_mount_;
  const UniqueFd mounts_;
  const bool counts_links_;  ///< some file systems say of everything that it has none
  std::atomic<uint64_t> device_;
  std::atomic<uint64_t> mount_;
  std::atomic<uint32_t> epoch_{0};
  std::atomic<uint64_t> instance_{0};
  mutable Mutex mutex_;
  SharedFd fd_ GUARDED_BY(mutex_);
};

/// Of the open directory `fd`. Asks the file system.
RootSignature signature_of(int fd, bool stable_identity);

}  // namespace cachefs::posix
