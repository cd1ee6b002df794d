#include "cli/place_checks.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>

#include "cli/daemon_search.h"
#include "cli/mount_table.h"
#include "cli/output.h"
#include "cli/placement.h"
#include "cli/source_start.h"
#include "cli/unmount.h"
#include "server/unique_fd.h"

namespace cachefs::cli {
namespace {

Outcome<void> accept() { return {}; }

std::string reason(int code) {
  return std::strerror(code);
}  // NOLINT(concurrency-mt-unsafe): before any thread

/// Refuses a mount that would be inside of what it serves, or hide it.
Outcome<void> check_apart(const std::string& mountpoint, const std::string& source) {
  const auto table = read_mount_table();
  if (!table) return refuse("cannot read the list of mounts: " + table.error().message());
  const bool inside_source = is_within(mountpoint, source, *table);
  const bool around_source = is_within(source, mountpoint, *table);
  if (inside_source && around_source) {
    return refuse(fmt::format(
        "'{}' is both source and mount point; give an empty directory elsewhere as MOUNTPOINT, or "
        "mount on the source itself with: cachefs mount --over {}",
        mountpoint, shell_word(source)));
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
  const auto served = sources_behind(source, *table);
  const auto around = std::find_if(served.begin(), served.end(), [&](const std::string& directory) {
    return is_within(mountpoint, directory, *table);
  });
  if (around == served.end()) return accept();
  return refuse(fmt::format(
      "the source '{}' is served by cachefs from '{}', which the mount point '{}' is inside of: the "
      "mount would contain itself; give an empty directory elsewhere",
      source, *around, mountpoint));
}

/// A FUSE file system that is mounted there and is none of cachefs. A mount of cachefs is refused if it
/// lives, else taken away. This decides before the directory is looked into: that could hang.
Outcome<std::optional<MountEntry>> find_other_fuse(const std::string& mountpoint,
                                                   std::vector<std::string>& notes) {
  const auto table = read_mount_table();
  if (!table) return refuse("cannot read the list of mounts: " + table.error().message());
  auto mount = mounted_at(*table, mountpoint);
  if (!mount || !mount->type.starts_with("fuse")) return std::nullopt;
  if (!mount->is_cachefs()) return mount;
  if (!is_seen_to_be_dead(*mount)) {
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
  return find_other_fuse(mountpoint, notes);  // there may be another one below
}

Outcome<void> check_not_in_use(const std::string& mountpoint, std::vector<std::string>& notes) {
  const auto other = find_other_fuse(mountpoint, notes);
  if (!other) return std::unexpected(other.error());
  if (!*other) return accept();
  return refuse(fmt::format("'{}' is in use: a {} is mounted there; unmount it with: fusermount3 -u {}",
                            mountpoint, (*other)->type, shell_word(mountpoint)));
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

/// fusermount3 mounts for an ordinary user where he may write.
Outcome<void> check_writable(const std::string& mountpoint) {
  if (::geteuid() == 0 || ::access(mountpoint.c_str(), W_OK) == 0) return accept();
  return refuse(fmt::format(
      "the mount point '{}' is not yours to write; give a directory of your own, or mount as root",
      mountpoint));
}

/// fusermount3, which mounts for an ordinary user, is root to a FUSE file system, which may keep root out.
Outcome<void> check_fusermount_may_enter(const MountEntry& place) {
  const bool is_open = fmt::format(",{},", place.options).find(",allow_other,") != std::string::npos;
  if (::geteuid() == 0 || is_open) return accept();
  return refuse(
      fmt::format("'{}' is a {} without allow_other, so that fusermount3 cannot mount on it; mount that with "
                  "-o allow_other, "
                  "or cachefs on an empty directory elsewhere",
                  place.mountpoint, place.type));
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
  return check_writable(mountpoint);
}

Outcome<std::string> check_source(const std::string& source) {
  if (source.empty()) return refuse_usage("the source is empty text; give an existing directory");
  const std::unique_ptr<char, decltype(&std::free)> resolved(::realpath(source.c_str(), nullptr), &std::free);
  if (!resolved) {
    if (errno == ENOENT) {
      return refuse(fmt::format("the source '{}' does not exist; give an existing directory", source));
    }
    if (errno == ENOTCONN) {
      return refuse(fmt::format(
          "the source '{}' is not there: the program that serves it has died; mount that anew first",
          source));
    }
    return refuse(fmt::format("cannot use the source '{}': {}", source, reason(errno)));
  }
  const server::UniqueFd directory(::open(resolved.get(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK));
  if (!directory && errno == ENOTDIR) {
    return refuse(
        fmt::format("the source '{}' is not a directory; give the directory that holds it", source));
  }
  if (!directory && errno == EACCES && ::geteuid() == 0) {
    return refuse(
        fmt::format("the source '{}' keeps root out; mount as the user who has mounted that, or mount that "
                    "with -o allow_other",
                    source));
  }
  if (!directory && errno == EACCES) {
    return refuse(
        fmt::format("the source '{}' cannot be read by you; get read permission, or mount as root", source));
  }
  if (!directory) return refuse(fmt::format("cannot open the source '{}': {}", source, reason(errno)));
  return std::string(resolved.get());
}

Outcome<std::string> resolve(const std::string& mountpoint) {
  const auto resolved = resolve_mountpoint(mountpoint);
  if (resolved) return *resolved;
  if (resolved.error().is(std::errc::no_such_file_or_directory)) {
    return refuse(fmt::format("the mount point '{}' does not exist; make it with: mkdir -p {}", mountpoint,
                              shell_word(mountpoint)));
  }
  return refuse(fmt::format("cannot use the mount point '{}': {}", mountpoint, resolved.error().message()));
}

}  // namespace

Outcome<Places> check_places(const std::string& source, const std::string& mountpoint,
                             std::vector<std::string>& notes, std::chrono::nanoseconds limit) {
  if (const auto answers = await_source(source, limit); !answers) return std::unexpected(answers.error());
  const auto directory = check_source(source);
  if (!directory) return std::unexpected(directory.error());
  if (mountpoint.empty()) return refuse_usage("the mount point is empty text; give an empty directory");
  const auto resolved = resolve(mountpoint);
  if (!resolved) return std::unexpected(resolved.error());
  if (const auto free = check_not_in_use(*resolved, notes); !free) return std::unexpected(free.error());
  if (const auto apart = check_apart(*resolved, *directory); !apart) return std::unexpected(apart.error());
  if (const auto usable = check_directory(*resolved); !usable) return std::unexpected(usable.error());
  return Places{*directory, *resolved};
}

Outcome<Places> check_over(const std::string& source, const std::string& mountpoint,
                           std::vector<std::string>& notes, std::chrono::nanoseconds limit) {
  if (source.empty()) return refuse_usage("the source is empty text; give an existing directory");
  if (const auto answers = await_source(source, limit); !answers) return std::unexpected(answers.error());
  // Before anything else looks into it: a dead daemon's mount may be there. Another FUSE file system may be
  // the source.
  if (const auto place = resolve_mountpoint(source)) {
    const auto other = find_other_fuse(*place, notes);
    if (!other) return std::unexpected(other.error());
    const auto enterable = *other ? check_fusermount_may_enter(**other) : accept();
    if (!enterable) return std::unexpected(enterable.error());
  }
  const auto directory = check_source(source);
  if (!directory) return std::unexpected(directory.error());
  if (!mountpoint.empty()) {
    const auto resolved = resolve(mountpoint);
    if (!resolved) return std::unexpected(resolved.error());
    if (*resolved != *directory) {
      return refuse_usage(
          fmt::format("--over mounts on the source '{}' itself, not on '{}'; leave one of the two out",
                      source, mountpoint));
    }
  }
  if (*directory == "/") {
    return refuse(
        "--over /: programs that run already would not see the mount; give a directory below it, as in: "
        "cachefs mount --over /srv");
  }
  if (const auto writable = check_writable(*directory); !writable) return std::unexpected(writable.error());
  return Places{*directory, *directory};
}

}  // namespace cachefs::cli
