#include "cli/place_checks.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <memory>

#include "cli/daemon_search.h"
#include "cli/mount_table.h"
#include "cli/output.h"
#include "cli/unmount.h"
#include "server/unique_fd.h"

namespace cachefs::cli {
namespace {

Outcome<void> accept() { return {}; }

std::string reason(int code) {
  return std::strerror(code);
}  // NOLINT(concurrency-mt-unsafe): before any thread

bool same_file(const std::string& a, const std::string& b) {
  struct stat status_a{};
  struct stat status_b{};
  return ::stat(a.c_str(), &status_a) == 0 && ::stat(b.c_str(), &status_b) == 0 &&
         status_a.st_dev == status_b.st_dev && status_a.st_ino == status_b.st_ino;
}

/// True if `path` (resolved) is `directory` or below it, by whatever name or bind mount.
bool is_within(std::string path, const std::string& directory) {
  for (;;) {
    if (path == directory || same_file(path, directory)) return true;
    if (path == "/") return false;
    path.erase(std::max<size_t>(path.rfind('/'), 1));
  }
}

Outcome<void> check_apart(const std::string& mountpoint, const std::string& source) {
  const bool inside_source = is_within(mountpoint, source);
  const bool around_source = is_within(source, mountpoint);
  if (inside_source && around_source) {
    return refuse(fmt::format(
        "'{}' is both source and mount point; give an empty directory elsewhere as MOUNTPOINT", mountpoint));
  }
  if (inside_source) {
    return refuse(
        fmt::format("the mount point '{}' is inside the source '{}', which would contain itself; "
                    "give an empty directory elsewhere",
                    mountpoint, source));
  }
  if (around_source) {
    return refuse(
        fmt::format("the source '{}' is inside the mount point '{}', which would hide it; "
                    "give an empty directory elsewhere",
                    source, mountpoint));
  }
  return accept();
}

/// What is mounted there already decides before the directory is looked into: that could hang.
Outcome<void> check_not_in_use(const std::string& mountpoint, std::vector<std::string>& notes) {
  const auto table = read_mount_table();
  if (!table) return refuse("cannot read the list of mounts: " + table.error().message());
  const auto mount = mounted_at(*table, mountpoint);
  if (!mount || !mount->type.starts_with("fuse")) return accept();
  if (!mount->is_cachefs()) {
    return refuse(fmt::format("'{}' is in use: a {} is mounted there; unmount it with: fusermount3 -u {}",
                              mountpoint, mount->type, shell_word(mountpoint)));
  }
  const bool dead = look_for_daemon(*mount).state == DaemonSighting::State::dead;
  if (!dead) {
    return refuse(fmt::format("'{}' is in use: cachefs serves '{}' there; unmount it with: cachefs umount {}",
                              mountpoint, mount->source, shell_word(mountpoint)));
  }
  if (const auto cleaned = unmount(mountpoint, UnmountKind::detach); !cleaned) {
    return refuse(
        fmt::format("'{}' is in use by a cachefs whose daemon has died ({}); clean up with: "
                    "cachefs umount {}",
                    mountpoint, cleaned.error().message(), shell_word(mountpoint)));
  }
  notes.push_back(
      fmt::format("cachefs: note: took away the mount that a dead daemon had left at '{}'", mountpoint));
  return check_not_in_use(mountpoint, notes);  // there may be another one below
}

struct CloseDirectory {
  void operator()(DIR* stream) const { ::closedir(stream); }
};

Outcome<bool> is_empty(const std::string& directory) {
  const std::unique_ptr<DIR, CloseDirectory> stream(::opendir(directory.c_str()));
  if (!stream) return refuse(fmt::format("cannot read the mount point '{}': {}", directory, reason(errno)));
  while (const dirent* entry = ::readdir(stream.get())) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") return false;
  }
  return true;
}

Outcome<void> check_directory(const std::string& mountpoint) {
  struct stat status{};
  if (::stat(mountpoint.c_str(), &status) != 0) {
    if (errno == ENOENT) {
      return refuse(fmt::format("the mount point '{}' does not exist; make it with: mkdir -p {}", mountpoint,
                                shell_word(mountpoint)));
    }
    if (errno == ENOTCONN) {
      return refuse(
          fmt::format("'{}' is the mount of a program that has died; clean up with: fusermount3 -uz {}",
                      mountpoint, shell_word(mountpoint)));
    }
    return refuse(fmt::format("cannot use the mount point '{}': {}", mountpoint, reason(errno)));
  }
  if (!S_ISDIR(status.st_mode)) {
    return refuse(
        fmt::format("the mount point '{}' is not a directory; give an empty directory", mountpoint));
  }
  const auto empty = is_empty(mountpoint);
  if (!empty) return std::unexpected(empty.error());
  if (!*empty) {
    return refuse(
        fmt::format("the mount point '{}' is not empty, and the mount would hide what is in it; "
                    "give an empty directory",
                    mountpoint));
  }
  if (::geteuid() != 0 && ::access(mountpoint.c_str(), W_OK) != 0) {
    return refuse(
        fmt::format("the mount point '{}' is not yours to write; give a directory of your own, or mount as "
                    "root",
                    mountpoint));
  }
  return accept();
}

}  // namespace

Outcome<std::string> check_source(const std::string& source) {
  if (source.empty()) return refuse_usage("the source is empty text; give an existing directory");
  const std::unique_ptr<char, decltype(&std::free)> resolved(::realpath(source.c_str(), nullptr), &std::free);
  if (!resolved) {
    if (errno == ENOENT) {
      return refuse(fmt::format("the source '{}' does not exist; give an existing directory", source));
    }
    return refuse(fmt::format("cannot use the source '{}': {}", source, reason(errno)));
  }
  const server::UniqueFd directory(::open(resolved.get(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK));
  if (!directory && errno == ENOTDIR) {
    return refuse(
        fmt::format("the source '{}' is not a directory; give the directory that holds it", source));
  }
  if (!directory && errno == EACCES) {
    return refuse(
        fmt::format("the source '{}' cannot be read by you; get read permission, or mount as root", source));
  }
  if (!directory) return refuse(fmt::format("cannot open the source '{}': {}", source, reason(errno)));
  return std::string(resolved.get());
}

Outcome<std::string> check_mountpoint(const std::string& mountpoint, const std::string& source,
                                      std::vector<std::string>& notes) {
  if (mountpoint.empty()) return refuse_usage("the mount point is empty text; give an empty directory");
  const auto resolved = resolve_mountpoint(mountpoint);
  if (!resolved && resolved.error().is(std::errc::no_such_file_or_directory)) {
    return refuse(fmt::format("the mount point '{}' does not exist; make it with: mkdir -p {}", mountpoint,
                              shell_word(mountpoint)));
  }
  if (!resolved) {
    return refuse(fmt::format("cannot use the mount point '{}': {}", mountpoint, resolved.error().message()));
  }
  if (const auto free = check_not_in_use(*resolved, notes); !free) return std::unexpected(free.error());
  if (const auto apart = check_apart(*resolved, source); !apart) return std::unexpected(apart.error());
  if (const auto usable = check_directory(*resolved); !usable) return std::unexpected(usable.error());
  return *resolved;
}

}  // namespace cachefs::cli
