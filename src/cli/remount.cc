#include "cli/remount.h"

#include <fmt/format.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "cli/daemon_client.h"
#include "cli/fuse_checks.h"
#include "cli/mount_table.h"
#include "cli/output.h"

namespace cachefs::cli {
namespace {

struct FlagOption {
  std::string_view name;
  unsigned long on = 0;   ///< flags of mount(2) that it sets
  unsigned long off = 0;  ///< and takes away
};

constexpr std::array kFlagOptions{
    FlagOption{"ro", MS_RDONLY, 0},
    FlagOption{"rw", 0, MS_RDONLY},
    FlagOption{"nosuid", MS_NOSUID, 0},
    FlagOption{"suid", 0, MS_NOSUID},
    FlagOption{"nodev", MS_NODEV, 0},
    FlagOption{"dev", 0, MS_NODEV},
    FlagOption{"noexec", MS_NOEXEC, 0},
    FlagOption{"exec", 0, MS_NOEXEC},
    FlagOption{"sync", MS_SYNCHRONOUS, 0},
    FlagOption{"async", 0, MS_SYNCHRONOUS},
    FlagOption{"dirsync", MS_DIRSYNC, 0},
    FlagOption{"noatime", MS_NOATIME, MS_RELATIME | MS_STRICTATIME},
    FlagOption{"atime", 0, MS_NOATIME},
    FlagOption{"nodiratime", MS_NODIRATIME, 0},
    FlagOption{"diratime", 0, MS_NODIRATIME},
    FlagOption{"relatime", MS_RELATIME, MS_NOATIME | MS_STRICTATIME},
    FlagOption{"norelatime", 0, MS_RELATIME},
    FlagOption{"strictatime", MS_STRICTATIME, MS_NOATIME | MS_RELATIME},
    FlagOption{"nosymfollow", 256, 0},  // MS_NOSYMFOLLOW, which the C library's headers lack
};

const FlagOption* find_flag(std::string_view name) {
  const auto option = std::find_if(kFlagOptions.begin(), kFlagOptions.end(),
                                   [&](const FlagOption& candidate) { return candidate.name == name; });
  return option == kFlagOptions.end() ? nullptr : option;
}

void apply(const std::vector<std::string>& options, unsigned long& flags) {
  for (const std::string& option : options) {
    if (const FlagOption* flag = find_flag(option)) flags = (flags & ~flag->off) | flag->on;
  }
}

std::unexpected<Failure> refuse_change(std::string_view option, std::string_view now,
                                       const std::string& mountpoint) {
  return refuse(fmt::format(
      "remount: {} cannot be changed while mounted{}; leave it out, or unmount with `cachefs umount "
      "{}` and mount anew",
      option, now, shell_word(mountpoint)));
}

/// That nothing is asked for but flags, and what the mount has anyway.
Outcome<void> check_unchanged(const MountArguments& arguments, const MountEntry& mount,
                              const std::vector<std::string>& has) {
  for (const std::string& option : arguments.fuse_options) {
    const bool there = std::find(has.begin(), has.end(), option) != has.end();
    if (find_flag(option) == nullptr && !there) return refuse_change(option, "", mount.mountpoint);
  }
  if (arguments.given.empty()) return {};
  const auto status = ask_daemon_or_explain(mount, "status");
  if (!status) return std::unexpected(status.error());
  const auto now = status->result.value("options", std::map<std::string, std::string>{});
  for (const auto& [name, text] : option_texts(arguments)) {
    if (!arguments.given.contains(name)) continue;
    const auto current = now.find(name);
    if (current != now.end() && current->second == text) continue;
    const std::string is = current == now.end() ? "" : fmt::format(" (it is {})", current->second);
    return refuse_change(name, is, mount.mountpoint);
  }
  return {};
}

Failure explain(int code, const std::string& mountpoint) {
  if (code == EBUSY) {
    return {
        fmt::format("'{}' cannot be made read-only while files are open for writing there; close them, "
                    "then try again",
                    mountpoint)};
  }
  // NOLINTNEXTLINE(concurrency-mt-unsafe): there are no threads
  return {fmt::format("cannot remount '{}': {}", mountpoint, std::strerror(code))};
}

}  // namespace

Outcome<void> remount(const MountArguments& arguments, Unnamed unnamed) {
  const auto mount =
      find_cachefs_mount(arguments.mountpoint.empty() ? arguments.source : arguments.mountpoint);
  if (!mount) return std::unexpected(mount.error());
  if (::geteuid() != 0) {
    return refuse(fmt::format(
        "only root can remount; unmount with `cachefs umount {}` and mount anew with other options",
        shell_word(mount->mountpoint)));
  }
  const auto has = split_options(mount->options);
  if (!has) return std::unexpected(has.error());
  if (const auto unchanged = check_unchanged(arguments, *mount, *has); !unchanged) return unchanged;
  unsigned long flags = 0;
  if (unnamed == Unnamed::stays) apply(*has, flags);
  // Both the mount and its file system may be read-only.
  if (unnamed == Unnamed::stays && std::find(has->begin(), has->end(), "ro") != has->end())
    flags |= MS_RDONLY;
  apply(arguments.fuse_options, flags);
  // The kernel writes back what it has before it makes a mount read-only.
  if (::mount(nullptr, mount->mountpoint.c_str(), nullptr, flags | MS_REMOUNT, nullptr) != 0)
    return std::unexpected(explain(errno, mount->mountpoint));
  return {};
}

}  // namespace cachefs::cli
