// The kernel's list of mounts, and names of mount points. Nothing here sends a request into a mount: reading
// a name, a symlink's target or the list is answered by the kernel alone, so that a mount that hangs hangs
// nobody here.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cachefs/error.h"
#include "cli/outcome.h"

namespace cachefs::cli {

inline constexpr std::string_view kMountType = "fuse.cachefs";

struct MountEntry {
  int id = 0;  ///< of this very mount; another one at the same place has another; 0: not mounted
  std::string mountpoint;
  std::string type;  ///< "ext4", "fuse.cachefs"
  std::string source;
  uid_t owner = 0;        ///< of a FUSE mount: who mounted it
  std::string device{};   ///< MAJOR:MINOR of the file system
  std::string root{};     ///< which of its directories is mounted: "/", or another for a bind mount
  bool shared = false;    ///< what is mounted below shows in its peers too: in bind mounts, elsewhere
  std::string options{};  ///< of this mount and of the file system, with commas between: "rw,nosuid,..."

  [[nodiscard]] bool is_mounted() const { return id != 0; }
  [[nodiscard]] bool is_cachefs() const { return type == kMountType; }
};

/// One line of /proc/PID/mountinfo; nullopt if it is none.
std::optional<MountEntry> parse_mountinfo_line(std::string_view line);

/// All mounts that this process sees, in the order of mounting.
Result<std::vector<MountEntry>> read_mount_table();

/// What is mounted on top at `mountpoint` (absolute and resolved).
std::optional<MountEntry> mounted_at(const std::vector<MountEntry>& table, std::string_view mountpoint);

/// `path` as an absolute path without symlinks. The last component need not exist, and is not looked into.
/// Errors: those of realpath for what leads to it.
Result<std::string> resolve_mountpoint(const std::string& path);

/// The cachefs mount at `path`, or a sentence that says that there is none.
Outcome<MountEntry> find_cachefs_mount(const std::string& path);

}  // namespace cachefs::cli
