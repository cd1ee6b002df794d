#include "cli/daemon_client.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>

#include "cli/daemon_search.h"
#include "cli/output.h"

namespace cachefs::cli {
namespace {

constexpr std::chrono::milliseconds kAnswerTimeout = std::chrono::seconds(10);

/// Of the errors of several sockets the one that tells most: a live daemon's trouble, a dead one's socket,
/// none at all.
int weight(const Error& error) {
  if (error.is(std::errc::no_such_file_or_directory)) return 0;
  return error.is(std::errc::connection_refused) ? 1 : 2;
}

}  // namespace

Result<server::ControlReply> ask_daemon(const MountEntry& mount, std::string_view command) {
  Error worst(std::errc::no_such_file_or_directory);
  for (const std::string& path : control_paths(mount)) {
    auto reply = server::ask(path, mount.owner, command, kAnswerTimeout);
    if (reply) return reply;
    if (weight(reply.error()) > weight(worst)) worst = reply.error();
  }
  return std::unexpected(worst);
}

Outcome<server::ControlReply> ask_daemon_or_explain(const MountEntry& mount, std::string_view command) {
  auto reply = ask_daemon(mount, command);
  if (reply) return std::move(*reply);
  const Error& error = reply.error();
  const auto daemon = look_for_daemon(mount);
  if (daemon.state == DaemonSighting::State::dead) {
    return refuse(fmt::format("the daemon of '{}' has died; clean up with: cachefs umount {}",
                              mount.mountpoint, shell_word(mount.mountpoint)));
  }
  if (mount.owner != ::geteuid() && ::geteuid() != 0) {
    return refuse(fmt::format("'{}' was mounted by user {}; ask as that user or as root", mount.mountpoint,
                              mount.owner));
  }
  const std::string pid = daemon.pid > 0 ? fmt::format(" (pid {})", daemon.pid) : "";
  if (!error.is(std::errc::no_such_file_or_directory)) {
    return refuse(
        fmt::format("the daemon of '{}'{} does not answer ({}); ask again later, or end it with: "
                    "cachefs umount {}",
                    mount.mountpoint, pid, error.message(), shell_word(mount.mountpoint)));
  }
  return refuse(fmt::format(
      "the control socket of '{}' has been removed, so its daemon{} cannot be asked; it serves on, and "
      "can be ended with: cachefs umount {}",
      mount.mountpoint, pid, shell_word(mount.mountpoint)));
}

bool remove_leftover_sockets(const MountEntry& mount) {
  bool removed = false;
  for (const std::string& path : control_paths(mount)) {
    const auto connection = server::connect_control(path, kAnswerTimeout);
    const bool is_dead = !connection && connection.error().is(std::errc::connection_refused);
    removed |= is_dead && ::unlink(path.c_str()) == 0;
  }
  return removed;
}

}  // namespace cachefs::cli
