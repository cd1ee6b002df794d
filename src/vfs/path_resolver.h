// How a path is followed: the one place where components, "..", and symlinks are interpreted.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cachefs/path_operations.h"

namespace cachefs {

/// Where a path ends: at a name in a directory, which may be there or not.
struct Location {
  std::vector<NodeRef> directories;  ///< from the root to the directory that holds the name
  std::string name;                  ///< empty if the path ends in a directory itself: "/", "." or ".."
  std::optional<Entry> entry;        ///< what the name leads to, if it is there
  bool must_be_directory = false;    ///< a '/' came after the name

  [[nodiscard]] Node& directory() const { return *directories.back(); }
  [[nodiscard]] Place place() const { return {directory(), name}; }
};

/// Follows `path` up to its last component, and that one too if it is a symlink and `follow` says so. A name
/// that is missing is an error only on the way, not at the end.
Result<Location> locate(const PathContext& context, std::string_view path, FollowLast follow);

/// As `locate`, for a name that is to be made or removed: errors for "/", "." and ".." are `if_directory`.
Result<Location> locate_name(const PathContext& context, std::string_view path, std::errc if_directory);

}  // namespace cachefs
