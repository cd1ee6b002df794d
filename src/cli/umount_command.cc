#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <optional>

#include "cachefs/units.h"
#include "cli/commands.h"
#include "cli/daemon_client.h"
#include "cli/daemon_search.h"
#include "cli/mount_table.h"
#include "cli/output.h"
#include "cli/process.h"
#include "cli/unmount.h"

namespace cachefs::cli {
namespace {

constexpr size_t kUsersShown = 5;

constexpr const char* kDetails =
    R"(Returns 0 only once the mount is gone, everything is at the source and the
daemon has ended. A mount in use is left as it is; who uses it is told, and how to
take it away all the same (kill its daemon, whose pid `cachefs status` tells).
What a daemon that died has left is cleaned up.

Examples:
  cachefs umount /mnt/photos
  cachefs umount /mnt/photos --json

Exit codes: 0 unmounted, 1 not unmounted (in use, no mount of cachefs, not yours)
or the daemon still runs after the timeout or cannot be seen, 2 wrong usage. To
wait on, umount again.)";

struct UmountArguments {
  std::string mountpoint;
  std::string timeout = "60s";
};

/// How to take a mount away from those who use it: by its daemon (0: unknown), which first writes back what
/// they changed.
std::string way_by_force(const MountEntry& mount, pid_t daemon) {
  if (daemon > 0) {
    return fmt::format(
        "take it away from them with: kill {0} (its daemon; a second `kill {0}` does not wait for a source "
        "that hangs)",
        daemon);
  }
  return fmt::format("take it away from them with: {} {}", ::geteuid() == 0 ? "umount -l" : "fusermount3 -uz",
                     shell_word(mount.mountpoint));
}

/// A daemon that is mounted over its source has that open, under the same names: it is no user.
Failure explain_busy(const MountEntry& mount, pid_t daemon) {
  const auto users = processes_using(mount.mountpoint, daemon, kUsersShown + 1);
  const std::string force = way_by_force(mount, daemon);
  if (users.empty()) {
    constexpr const char* kUnseen = "another user's program, or one that waits for the source";
    return {fmt::format(
        "'{}' is in use, by whom cannot be seen ({}); close what is open in it and leave it as working "
        "directory, then try again, or {}",
        mount.mountpoint, kUnseen, force)};
  }
  std::string list;
  for (size_t i = 0; i < std::min(users.size(), kUsersShown); ++i) list += (i == 0 ? "" : ", ") + users[i];
  if (users.size() > kUsersShown) list += " and others";
  return {fmt::format("'{}' is in use by {}; end them or have them leave it, then try again, or {}",
                      mount.mountpoint, list, force)};
}

Failure explain(const MountEntry& mount, pid_t daemon, const Error& error) {
  if (error.is(std::errc::device_or_resource_busy)) return explain_busy(mount, daemon);
  if (error.is(std::errc::operation_not_permitted) && mount.owner != ::geteuid()) {
    return {fmt::format("cannot unmount '{}', which user {} has mounted; unmount as that user or as root",
                        mount.mountpoint, mount.owner)};
  }
  return {fmt::format("cannot unmount '{}': {}", mount.mountpoint, error.message())};
}

void note_death(const MountEntry& mount) {
  note(fmt::format("cachefs: note: the daemon of '{}' had died; cleaned up what it left", mount.mountpoint));
}

Outcome<void> clean_up(const MountEntry& mount) {
  if (!mount.is_mounted()) return {};  // a daemon that was ending has ended since it was looked for
  if (const auto gone = unmount(mount.mountpoint, UnmountKind::detach); !gone) {
    return std::unexpected(explain(mount, 0, gone.error()));
  }
  remove_leftover_sockets(mount);
  note_death(mount);
  return {};
}

Outcome<void> check_gone(const MountEntry& mount) {
  const auto table = read_mount_table();
  if (!table) return refuse("cannot read the list of mounts: " + table.error().message());
  for (const MountEntry& entry : *table) {
    if (entry.id == mount.id && entry.mountpoint == mount.mountpoint) {
      return refuse(fmt::format("'{}' is still mounted", mount.mountpoint));
    }
  }
  return {};
}

/// Takes the mount of `daemon` (0: unknown) away, unless it is gone already.
Outcome<void> take_away(const MountEntry& mount, pid_t daemon) {
  if (!mount.is_mounted()) return {};
  if (const auto gone = unmount(mount.mountpoint, UnmountKind::if_unused); !gone) {
    return std::unexpected(explain(mount, daemon, gone.error()));
  }
  return check_gone(mount);
}

Outcome<void> unmount_living(const MountEntry& mount, pid_t daemon, std::chrono::milliseconds timeout) {
  const auto process = open_process(daemon);  // before the end, so that the pid cannot be another's
  if (const auto gone = take_away(mount, daemon); !gone) return gone;
  const bool ended_before = !process && process.error().is(std::errc::no_such_process);
  if (!process && !ended_before) {
    return refuse(
        fmt::format("'{}' is unmounted, but whether its daemon (pid {}) has ended cannot be seen: {}",
                    mount.mountpoint, daemon, process.error().message()));
  }
  if (process && !wait_for_end(*process, timeout)) {
    return refuse(fmt::format(
        "'{}' is unmounted, but its daemon (pid {}) still runs; wait on with: cachefs umount {}, or "
        "end it at once with: kill -KILL {}",
        mount.mountpoint, daemon, shell_word(mount.mountpoint), daemon));
  }
  if (remove_leftover_sockets(mount)) note_death(mount);  // killed, and not quite dead when it was looked for
  return {};
}

/// For a daemon that cannot be seen from here. That it has ended is not claimed.
Outcome<void> unmount_unknown(const MountEntry& mount) {
  if (const auto gone = take_away(mount, 0); !gone) return gone;
  return refuse(fmt::format(
      "'{}' is unmounted, but its daemon could not be found, so that it may still run; look with: "
      "pgrep -a cachefs",
      mount.mountpoint));
}

Outcome<std::string> umount(const UmountArguments& arguments) {
  using State = DaemonSighting::State;
  const auto timeout = parse_duration(arguments.timeout);
  if (!timeout) return refuse_usage("--timeout: " + timeout.error().doing());
  const auto served = find_served_mount(arguments.mountpoint);
  if (!served) return std::unexpected(served.error());
  const MountEntry& mount = served->mount;
  const DaemonSighting daemon = served->ending_daemon > 0
                                    ? DaemonSighting{State::alive, served->ending_daemon}
                                    : look_for_daemon(mount);
  Outcome<void> gone;
  switch (daemon.state) {
    case State::alive:
      gone = unmount_living(mount, daemon.pid, std::chrono::ceil<std::chrono::milliseconds>(*timeout));
      break;
    case State::dead:
      gone = clean_up(mount);
      break;
    case State::unknown:
      gone = unmount_unknown(mount);
      break;
  }
  if (!gone) return std::unexpected(gone.error());
  return mount.mountpoint;
}

}  // namespace

Command add_umount(CLI::App& program) {
  const auto arguments = std::make_shared<UmountArguments>();
  CLI::App* app = program.add_subcommand("umount", "Unmount, and wait until the daemon has ended");
  app->add_option("MOUNTPOINT", arguments->mountpoint, "Where it is mounted")->required()->type_name("");
  app->add_option("--timeout", arguments->timeout, "How long to wait for the daemon's end")
      ->type_name("DURATION")
      ->take_last()
      ->capture_default_str();
  app->footer(kDetails);
  return {app, [arguments](Format format) {
            const auto mountpoint = umount(*arguments);
            if (!mountpoint) return report_failure(format, mountpoint.error());
            return report(format, {{"mountpoint", *mountpoint}, {"state", "unmounted"}},
                          fmt::format("Unmounted '{}'.\n", *mountpoint));
          }};
}

}  // namespace cachefs::cli
