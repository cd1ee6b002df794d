// Whether a source can be served and a mount point mounted on.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "cli/outcome.h"

namespace cachefs::cli {

/// Absolute paths without symlinks.
struct Places {
  std::string source;      ///< a directory that can be listed
  std::string mountpoint;  ///< a directory that no other FUSE file system uses, but for the source itself
};

/// The source, and an empty directory apart from it to mount on: by no bind mount, nor through other mounts
/// of cachefs, would the mount be inside of its own source. What a dead cachefs daemon left at the mount
/// point is taken away, and told in `notes`. The source is waited for no longer than `limit` (zero: for
/// ever).
Outcome<Places> check_places(const std::string& source, const std::string& mountpoint,
                             std::vector<std::string>& notes, std::chrono::nanoseconds limit);

/// The source, to be mounted on itself: any directory but "/" that no mount of cachefs is on. `mountpoint`:
/// empty, or the same directory. What a dead cachefs daemon left there is taken away likewise.
Outcome<Places> check_over(const std::string& source, const std::string& mountpoint,
                           std::vector<std::string>& notes, std::chrono::nanoseconds limit);

}  // namespace cachefs::cli
