#include "cli/daemon_search.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "cli/process.h"
#include "server/control_client.h"
#include "server/control_path.h"
#include "server/listening_sockets.h"

namespace cachefs::cli {
namespace {

constexpr std::chrono::milliseconds kConnectTimeout = std::chrono::seconds(1);
constexpr std::chrono::milliseconds kProbeTime = std::chrono::seconds(1);

constexpr std::chrono::seconds kSettlingTime{2};
constexpr int kLookAgainMs = 10;

using State = DaemonSighting::State;

/// What the kernel tells of a mount.
enum class Connection : char {
  connected = 'c',
  lost = 'l',
  hidden = 'h',  // another user's, closed to us
};

std::vector<server::ListeningSocket> listening_sockets(const MountEntry& mount) {
  return server::find_listening(server::control_socket_name(mount.mountpoint), mount.owner);
}

Connection connection_of(const std::string& mountpoint) {
  struct statvfs status{};
  if (::statvfs(mountpoint.c_str(), &status) != 0) {
    return errno == ENOTCONN ? Connection::lost : Connection::hidden;
  }
  return status.f_bsize == 0 ? Connection::hidden
                             : Connection::connected;  // the kernel's answer to strangers
}

/// Whether the kernel has lost the daemon. A mount that does not answer in time is connected: the kernel
/// waits for somebody.
Connection probe(const std::string& mountpoint) {
  const auto question = [&] { return std::string(1, static_cast<char>(connection_of(mountpoint))); };
  const auto answer = ask_apart(question, kProbeTime);
  if (!answer) return Connection::connected;
  return answer->empty() ? Connection::hidden : static_cast<Connection>(answer->front());
}

/// One look. A sighting that is not settled may be of a daemon that was killed and is not quite dead.
struct Look {
  DaemonSighting sighting;
  bool is_settled = true;
};

Look look_once(const MountEntry& mount) {
  bool seen = false;
  bool refused = false;
  for (const std::string& path : control_paths(mount)) {
    const auto pid = server::listener_at(path, mount.owner, kConnectTimeout);
    if (pid && *pid > 0) {
      const auto reply = server::ask(path, mount.owner, "status", kConnectTimeout);
      return {{State::alive, *pid}, reply || reply.error().is(std::errc::timed_out)};
    }
    seen |= pid.has_value() || pid.error().is(std::errc::timed_out);
    refused |= !pid && pid.error().is(std::errc::connection_refused);
  }
  for (const server::ListeningSocket& socket : listening_sockets(mount)) {  // its file was removed
    if (const auto pid = process_with_socket(socket.inode, mount.owner)) return {{State::alive, *pid}};
    seen = true;
  }
  if (seen) return {{State::unknown}, false};
  if (!mount.is_mounted()) return {{State::dead}};
  const Connection connection = probe(mount.mountpoint);
  const bool dead = connection == Connection::lost || (connection == Connection::hidden && refused);
  return {{dead ? State::dead : State::unknown}};
}

}  // namespace

bool is_seen_to_be_dead(const MountEntry& mount) {
  return look_for_daemon(mount).state == State::dead && probe(mount.mountpoint) == Connection::lost;
}

std::vector<std::string> control_paths(const MountEntry& mount) {
  const std::string name = server::control_socket_name(mount.mountpoint);
  std::vector<std::string> directories = server::control_directories(mount.owner);
  for (const server::ListeningSocket& socket : listening_sockets(mount)) {
    directories.push_back(socket.path.substr(0, socket.path.rfind('/')));
  }
  std::vector<std::string> paths;
  for (const std::string& directory : directories) {
    std::string path = fmt::format("{}/{}", directory, name);
    const bool known = std::find(paths.begin(), paths.end(), path) != paths.end();
    if (!known && server::check_control_directory(directory, mount.owner)) paths.push_back(std::move(path));
  }
  return paths;
}

DaemonSighting look_for_daemon(const MountEntry& mount) {
  const auto deadline = std::chrono::steady_clock::now() + kSettlingTime;
  for (;;) {
    const Look look = look_once(mount);
    if (look.is_settled || std::chrono::steady_clock::now() >= deadline) return look.sighting;
    ::poll(nullptr, 0, kLookAgainMs);
  }
}

Outcome<ServedMount> find_served_mount(const std::string& path) {
  auto mount = find_cachefs_mount(path);
  const auto mountpoint = resolve_mountpoint(path);
  if (mount) return ServedMount{std::move(*mount)};
  if (!mountpoint) return std::unexpected(mount.error());
  MountEntry gone;
  gone.mountpoint = *mountpoint;
  gone.type = kMountType;
  gone.owner = ::geteuid();
  for (const std::string& socket : control_paths(gone)) {
    const auto daemon = server::listener_at(socket, gone.owner, kConnectTimeout);
    if (!daemon || *daemon <= 0) continue;
    const auto reply = server::ask(socket, gone.owner, "status", kConnectTimeout);
    const bool is_starting = reply && reply->result.value("state", "") == "starting";
    if (!is_starting) return ServedMount{std::move(gone), *daemon};
  }
  return std::unexpected(mount.error());
}

}  // namespace cachefs::cli
