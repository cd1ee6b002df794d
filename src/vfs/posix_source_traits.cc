#include "vfs/posix_source_traits.h"

#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <vector>

#include "vfs/posix_descriptor.h"

namespace cachefs::posix {
namespace {

constexpr SourceTraits kLocal{.generation = {.birth_time = true, .handle = true}};
// A file copied up to the upper layer keeps its inode number, but neither its birth time nor its handle.
constexpr SourceTraits kOverlay{.generation = {}};
constexpr SourceTraits kServer{.local_clock = false,
                               .granule = Granule::two_seconds,
                               .generation = {.birth_time = true},
                               .rename_exchange = false};
constexpr SourceTraits kWindowsServer{.local_clock = false,
                                      .granule = Granule::two_seconds,
                                      .generation = {.birth_time = true},
                                      .case_sensitive = false,
                                      .special_files = false,
                                      .rename_exchange = false};
constexpr SourceTraits kFat{.stable_identity = false,
                            .granule = Granule::two_seconds,
                            .case_sensitive = false,
                            .hard_links = false,
                            .symlinks = false,
                            .special_files = false,
                            .rename_exchange = false};
// The kernel's handle of a FUSE file changes when the kernel forgets it; a birth time is seldom served.
// Locks are kept by the kernel, as a rule: the file system behind FUSE is told of them only if it wants to
// be.
constexpr SourceTraits kPassThrough{.granule = Granule::two_seconds, .locks = LockReach::machine};
constexpr SourceTraits kForeign{.stable_identity = false,
                                .local_clock = false,
                                .granule = Granule::two_seconds,
                                .rename_exchange = false,
                                .locks = LockReach::machine};
constexpr SourceTraits kNtfs{.granule = Granule::two_seconds, .rename_exchange = false};

struct Row {
  std::string_view type;
  const SourceTraits* traits;
};

constexpr std::array kTable{
    Row{"ext2", &kLocal},
    Row{"ext3", &kLocal},
    Row{"ext4", &kLocal},
    Row{"xfs", &kLocal},
    Row{"btrfs", &kLocal},
    Row{"tmpfs", &kLocal},
    Row{"f2fs", &kLocal},
    Row{"zfs", &kLocal},
    Row{"bcachefs", &kLocal},
    Row{"overlay", &kOverlay},
    Row{"nfs", &kServer},
    Row{"nfs4", &kServer},
    Row{"ceph", &kServer},
    Row{"9p", &kServer},
    Row{"cifs", &kWindowsServer},
    Row{"smb3", &kWindowsServer},
    Row{"vfat", &kFat},
    Row{"exfat", &kFat},
    Row{"msdos", &kFat},
    Row{"fuse.slowfs", &kPassThrough},
    Row{"fuse.cachefs", &kPassThrough},
    Row{"fuse.bindfs", &kPassThrough},
    Row{"fuseblk", &kNtfs},
    Row{"ntfs3", &kNtfs},
};

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    const size_t end = std::min(text.find(separator), text.size());
    parts.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

bool has_option(std::string_view options, std::string_view wanted) {
  const auto all = split(options, ',');
  return std::find(all.begin(), all.end(), wanted) != all.end();
}

std::string read_all(const char* path) {
  std::string text;
  const UniqueFd fd(open(path, O_RDONLY | O_CLOEXEC));
  std::array<char, 16 * 1024> part{};
  ssize_t size = 0;
  while (fd.valid() && (size = read(fd.get(), part.data(), part.size())) > 0) {
    text.append(part.data(), static_cast<size_t>(size));
  }
  return text;
}

std::string type_by_magic(int fd) {
  struct statfs status{};
  if (fstatfs(fd, &status) != 0) return "unknown";
  switch (static_cast<uint32_t>(status.f_type)) {
    case EXT4_SUPER_MAGIC:
      return "ext4";
    case XFS_SUPER_MAGIC:
      return "xfs";
    case BTRFS_SUPER_MAGIC:
      return "btrfs";
    case TMPFS_MAGIC:
      return "tmpfs";
    case F2FS_SUPER_MAGIC:
      return "f2fs";
    case OVERLAYFS_SUPER_MAGIC:
      return "overlay";
    case NFS_SUPER_MAGIC:
      return "nfs";
    case MSDOS_SUPER_MAGIC:
      return "vfat";
    case EXFAT_SUPER_MAGIC:
      return "exfat";
    case CIFS_SUPER_MAGIC:
      return "cifs";
    case SMB2_SUPER_MAGIC:
      return "smb3";
    case CEPH_SUPER_MAGIC:
      return "ceph";
    case V9FS_MAGIC:
      return "9p";
    case FUSE_SUPER_MAGIC:
      return "fuse";
    default:
      return "unknown";
  }
}

/// SMB's own locks keep everybody out who reads or writes by another open file than the one that locked: they
/// are none of those that programs expect.
LockReach locks_of_windows_server(const MountInfo& mount) {
  return has_option(mount.options, "nobrl") ? LockReach::machine : LockReach::none;
}

/// By what the client of a server was told to do with locks.
LockReach locks_of_server(const MountInfo& mount) {
  constexpr std::array kKeptHere{"nolock", "local_lock=all", "local_lock=flock", "local_lock=posix"};
  const bool kept_here =
      std::ranges::any_of(kKeptHere, [&](const char* option) { return has_option(mount.options, option); });
  return kept_here ? LockReach::machine : LockReach::everywhere;
}

}  // namespace

SourceTraits traits_of(const MountInfo& mount) {
  const auto row =
      std::find_if(kTable.begin(), kTable.end(), [&](const Row& r) { return r.type == mount.type; });
  if (row == kTable.end()) return kForeign;
  SourceTraits traits = *row->traits;
  if (row->traits == &kServer) traits.locks = locks_of_server(mount);
  if (row->traits == &kWindowsServer) {
    traits.stable_identity = has_option(mount.options, "serverino");
    traits.locks = locks_of_windows_server(mount);
  }
  return traits;
}

// 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
MountInfo find_mount(std::string_view mountinfo, uint64_t mount_id) {
  for (const std::string_view line : split(mountinfo, '\n')) {
    uint64_t id = 0;
    std::from_chars(line.data(), line.data() + line.size(), id);
    const size_t separator = line.find(" - ");
    if (id != mount_id || separator == std::string_view::npos) continue;
    const auto fields = split(line.substr(separator + 3), ' ');
    const auto place = split(line.substr(0, separator), ' ');
    if (fields.size() < 2 || place.size() < 4) continue;
    return {.type = std::string(fields[0]),
            .source = std::string(fields[1]),
            .root = std::string(place[3]),
            .options = std::string(fields.back())};
  }
  return {};
}

bool is_mounted(uint64_t mount_id) {
  const std::string mounts = read_all("/proc/self/mountinfo");
  return mount_id == 0 || mounts.empty() || find_mount(mounts, mount_id).type != "unknown";
}

MountInfo mount_of(int fd) {
  const Result<struct statx> status = read_status(fd);
  if (status && (status->stx_mask & STATX_MNT_ID) != 0) {
    MountInfo mount = find_mount(read_all("/proc/self/mountinfo"), status->stx_mnt_id);
    if (mount.type != "unknown") return mount;
  }
  return {.type = type_by_magic(fd), .options = {}};
}

}  // namespace cachefs::posix
