// What is known of a file system by its type alone.
#pragma once

#include <string>
#include <string_view>

#include "cachefs/file_system.h"
#include "vfs/posix_attributes.h"

namespace cachefs::posix {

/// Where the granule of timestamps comes from.
enum class Granule : uint8_t { measured, two_seconds };

struct SourceTraits {
  bool stable_identity = true;  ///< inode numbers name files for as long as they exist
  bool local_clock = true;
  Granule granule = Granule::measured;
  GenerationSources generation{};
  bool case_sensitive = true;
  bool hard_links = true;
  bool symlinks = true;
  bool special_files = true;
  bool rename_exchange = true;
  LockReach locks = LockReach::everywhere;
};

/// A mounted file system: "ext4", "fuse.sshfs", what is mounted ("/dev/sda1", "server:/export") and which
/// directory of it, and the options of its superblock.
struct MountInfo {
  std::string type = "unknown";
  std::string source{};
  std::string root{};
  std::string options;
};

/// An unknown type gets the traits of a foreign FUSE file system: nothing is taken for granted.
SourceTraits traits_of(const MountInfo& mount);

/// Of the mount that `fd` is in, from /proc/self/mountinfo, else by statfs.
MountInfo mount_of(int fd);

/// Whether a mount of this machine (as this process sees it) still is in place. Unknown ids (0) are.
bool is_mounted(uint64_t mount_id);

/// The line of `mount_id` in a text like /proc/self/mountinfo.
MountInfo find_mount(std::string_view mountinfo, uint64_t mount_id);

}  // namespace cachefs::posix
