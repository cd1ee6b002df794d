#include "cli/placement.h"

#include <sys/stat.h>

#include <algorithm>
#include <string_view>

namespace cachefs::cli {
namespace {

constexpr size_t kMountsInARowMax = 64;

bool same_file(const std::string& a, const std::string& b) {
  struct stat status_a{};
  struct stat status_b{};
  return ::stat(a.c_str(), &status_a) == 0 && ::stat(b.c_str(), &status_b) == 0 &&
         status_a.st_dev == status_b.st_dev && status_a.st_ino == status_b.st_ino;
}

/// By names alone; both without a slash at the end, but for "/".
bool is_below(std::string_view path, std::string_view directory) {
  if (directory == "/" || path == directory) return true;
  return path.starts_with(directory) && path[directory.size()] == '/';
}

/// What `path` is on: the last one of those mounted deepest.
const MountEntry* mount_of(const std::string& path, const std::vector<MountEntry>& table) {
  const MountEntry* found = nullptr;
  for (const MountEntry& entry : table) {
    if (!is_below(path, entry.mountpoint)) continue;
    if (found == nullptr || entry.mountpoint.size() >= found->mountpoint.size()) found = &entry;
  }
  return found;
}

/// `path` on another place of what `mount` shows.
std::string moved(const std::string& path, const MountEntry& mount, const std::string& to) {
  const std::string rest = mount.mountpoint == "/" ? path : path.substr(mount.mountpoint.size());
  const std::string result = (to == "/" ? "" : to) + (rest == "/" ? "" : rest);
  return result.empty() ? "/" : result;
}

/// Both are on one file system, `path` is below `directory` there, and what is mounted on `path` shows in
/// `directory` too.
bool is_within_by_bind(const std::string& path, const std::string& directory,
                       const std::vector<MountEntry>& table) {
  const MountEntry* const of_path = mount_of(path, table);
  const MountEntry* const of_directory = mount_of(directory, table);
  if (of_path == nullptr || of_directory == nullptr) return false;
  if (of_path->device != of_directory->device || !of_path->shared) return false;
  return is_below(moved(path, *of_path, of_path->root), moved(directory, *of_directory, of_directory->root));
}

}  // namespace

bool is_within(const std::string& path, const std::string& directory, const std::vector<MountEntry>& table) {
  if (is_within_by_bind(path, directory, table)) return true;
  for (std::string above = path;;) {
    if (above == directory || same_file(above, directory)) return true;
    if (above == "/") return false;
    above.erase(std::max<size_t>(above.rfind('/'), 1));
  }
}

std::vector<std::string> sources_behind(std::string directory, const std::vector<MountEntry>& table) {
  std::vector<std::string> sources;
  while (sources.size() < kMountsInARowMax) {
    const MountEntry* const mount = mount_of(directory, table);
    if (mount == nullptr || !mount->is_cachefs() || mount->source == mount->mountpoint) break;
    // Of a bind mount of a part of it, the root is that part.
    directory = moved(directory, *mount, mount->root == "/" ? mount->source : mount->source + mount->root);
    sources.push_back(directory);
  }
  return sources;
}

}  // namespace cachefs::cli
