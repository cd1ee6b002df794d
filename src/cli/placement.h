// Whether one directory is inside of another, by whatever way it is reached.
#pragma once

#include <string>
#include <vector>

#include "cli/mount_table.h"

namespace cachefs::cli {

/// True if `path` is `directory` or below it (both absolute and resolved), by its name or by a bind mount
/// through which what is mounted on `path` would be inside of `directory`.
bool is_within(const std::string& path, const std::string& directory, const std::vector<MountEntry>& table);

/// Where cachefs has `directory` from, if that is inside of a mount of it; where it has that from, and so on.
/// Nothing for a mount over its own source, which nobody but that mount sees.
std::vector<std::string> sources_behind(std::string directory, const std::vector<MountEntry>& table);

}  // namespace cachefs::cli
