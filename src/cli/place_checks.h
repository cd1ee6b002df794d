// Whether a source can be served and a mount point mounted on.
#pragma once

#include <string>
#include <vector>

#include "cli/outcome.h"

namespace cachefs::cli {

/// The source as an absolute path without symlinks: a directory that can be listed.
Outcome<std::string> check_source(const std::string& source);

/// The mount point as an absolute path without symlinks: an empty directory, apart from `source` (resolved),
/// that no other FUSE file system uses. What a dead cachefs daemon left there is taken away, and told in
/// `notes`.
Outcome<std::string> check_mountpoint(const std::string& mountpoint, const std::string& source,
                                      std::vector<std::string>& notes);

}  // namespace cachefs::cli
