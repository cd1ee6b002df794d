#include "vfs/posix_attributes.h"

#include <fcntl.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <xxhash.h>

#include <array>
#include <cerrno>
#include <new>
#include <type_traits>

#include "base/hash.h"
#include "base/stat_fields.h"
#include "vfs/posix_descriptor.h"

namespace cachefs::posix {
namespace {

/// Hashed as it lies in memory: no padding.
struct VersionRecord {
  uint64_t inode;
  uint64_t size;
  std::array<int64_t, 6> times;  // birth, modification, change: seconds and nanoseconds of each
};
static_assert(std::has_unique_object_representations_v<VersionRecord>);

Version version_of(const struct statx& status) {
  const VersionRecord record{
      .inode = status.stx_ino,
      .size = status.stx_size,
      .times = {status.stx_btime.tv_sec, status.stx_btime.tv_nsec, status.stx_mtime.tv_sec,
                status.stx_mtime.tv_nsec, status.stx_ctime.tv_sec, status.stx_ctime.tv_nsec},
  };
  const XXH128_hash_t hash = XXH3_128bits(&record, sizeof record);
  return {.high = hash.high64, .low = hash.low64};
}

/// The bytes of a handle, hashed; 0 where the file system gives none.
uint64_t hash_of_handle(int fd) {
  alignas(file_handle) std::array<unsigned char, sizeof(file_handle) + MAX_HANDLE_SZ> storage{};
  auto* handle = new (storage.data()) file_handle{};
  handle->handle_bytes = MAX_HANDLE_SZ;
  int mount = 0;
  if (name_to_handle_at(fd, "", handle, &mount, AT_EMPTY_PATH) != 0) return 0;
  return XXH3_64bits(storage.data() + sizeof(file_handle), handle->handle_bytes);
}

Timestamp point_in_time(const statx_timestamp& time) { return timestamp_of(time.tv_sec, time.tv_nsec); }

}  // namespace

uint64_t InodeNumbers::shown(uint64_t device, uint64_t inode) const {
  if (device == root_device_) return inode;
  constexpr uint64_t kAboveAllOthers = uint64_t{1} << 63;
  const std::array<uint64_t, 2> both{device, inode};
  return XXH3_64bits(both.data(), sizeof both) | kAboveAllOthers;
}

uint64_t device_of(const struct statx& status) { return makedev(status.stx_dev_major, status.stx_dev_minor); }

Result<struct statx> read_status(int fd) {
  struct statx status{};
  constexpr unsigned kWanted = STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID;
  // Forced: whoever asks here is a cache itself, and wants the source's word rather than the kernel client's
  // memory.
  if (statx(fd, "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW | AT_STATX_FORCE_SYNC, kWanted, &status) != 0) {
    return failed(errno, "read the attributes");
  }
  return status;
}

uint64_t read_device(int fd) {
  struct statx status{};
  return statx(fd, "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW | AT_STATX_DONT_SYNC, 0, &status) == 0
             ? device_of(status)
             : 0;
}

uint64_t read_generation(int fd, const struct statx& status, GenerationSources sources) {
  uint64_t generation = 0;
  if (sources.birth_time && (status.stx_mask & STATX_BTIME) != 0) {
    generation = static_cast<uint64_t>(point_in_time(status.stx_btime).time_since_epoch().count());
  }
  // Two files made in one tick of the coarse clock share their birth time, and ext4 reuses an inode at once.
  if (sources.handle) generation ^= hash_of_handle(fd);
  return generation;
}

uint64_t appearance_of(const struct statx& status, uint64_t root_mount) {
  const bool told = (status.stx_mask & STATX_MNT_ID) != 0 && root_mount != 0;
  if (!told || !S_ISDIR(status.stx_mode) || status.stx_mnt_id == root_mount) return 0;
  return mix64(status.stx_mnt_id);
}

FileIdentity identity_of(const struct statx& status, uint64_t generation) {
  return {.device = device_of(status), .inode = status.stx_ino, .generation = generation};
}

Attributes attributes_of(const struct statx& status, uint64_t generation) {
  Attributes attributes;
  attributes.identity = identity_of(status, generation);
  attributes.version = version_of(status);
  attributes.size = status.stx_size;
  attributes.blocks = status.stx_blocks;
  attributes.rdev = makedev(status.stx_rdev_major, status.stx_rdev_minor);
  attributes.atime = point_in_time(status.stx_atime);
  attributes.mtime = point_in_time(status.stx_mtime);
  attributes.ctime = point_in_time(status.stx_ctime);
  if ((status.stx_mask & STATX_BTIME) != 0) attributes.btime = point_in_time(status.stx_btime);
  attributes.mode = status.stx_mode & 07777U;
  attributes.nlink = status.stx_nlink;
  attributes.uid = status.stx_uid;
  attributes.gid = status.stx_gid;
  attributes.block_size = status.stx_blksize;
  attributes.kind = kind_of(status.stx_mode);
  return attributes;
}

}  // namespace cachefs::posix
