#include "cli/daemon_client.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>

#include "cli/output.h"
#include "server/control_path.h"
#include "server/unique_fd.h"

namespace cachefs::cli {
namespace {

constexpr std::chrono::milliseconds kAnswerTimeout = std::chrono::seconds(10);
constexpr int kProbeTimeoutMs = 1000;

}  // namespace

Result<server::ControlReply> ask_daemon(const MountEntry& mount, std::string_view command) {
  const std::string name = server::control_socket_name(mount.mountpoint);
  Error last(std::errc::no_such_file_or_directory);
  for (const std::string& directory : server::control_directories(mount.owner)) {
    const auto safe = server::check_control_directory(directory, mount.owner);
    if (!safe) {
      if (!safe.error().is(std::errc::no_such_file_or_directory)) last = safe.error();
      continue;
    }
    auto reply = server::ask(directory + "/" + name, mount.owner, command, kAnswerTimeout);
    if (reply || !reply.error().is(std::errc::no_such_file_or_directory)) return reply;
  }
  return std::unexpected(last);
}

Outcome<server::ControlReply> ask_daemon_or_explain(const MountEntry& mount, std::string_view command) {
  auto reply = ask_daemon(mount, command);
  if (reply) return std::move(*reply);
  const Error& error = reply.error();
  if (error.is(std::errc::connection_refused)) {
    return refuse(fmt::format("the daemon of '{}' has died; clean up with: cachefs umount {}",
                              mount.mountpoint, shell_word(mount.mountpoint)));
  }
  if (error.is(std::errc::permission_denied)) {
    return refuse(fmt::format("'{}' was mounted by user {}; ask as that user or as root", mount.mountpoint,
                              mount.owner));
  }
  return refuse(fmt::format("the daemon of '{}' does not answer ({})", mount.mountpoint, error.message()));
}

void remove_leftover_sockets(const MountEntry& mount) {
  const std::string name = server::control_socket_name(mount.mountpoint);
  for (const std::string& directory : server::control_directories(mount.owner)) {
    if (!server::check_control_directory(directory, mount.owner)) continue;
    const std::string path = directory + "/" + name;
    const auto connection = server::connect_control(path, kAnswerTimeout);
    if (!connection && connection.error().is(std::errc::connection_refused)) ::unlink(path.c_str());
  }
}

bool is_disconnected(const std::string& mountpoint) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return false;
  server::UniqueFd reading(ends[0]);
  server::UniqueFd writing(ends[1]);
  const pid_t child = ::fork();
  if (child == 0) {
    struct statvfs status{};
    const char answer = ::statvfs(mountpoint.c_str(), &status) != 0 && errno == ENOTCONN ? 'd' : 'a';
    const ssize_t written = ::write(writing.get(), &answer, 1);
    ::_exit(written == 1 ? 0 : 1);
  }
  writing.reset();
  if (child < 0) return false;
  pollfd waiting{.fd = reading.get(), .events = POLLIN, .revents = 0};
  char answer = 'a';
  if (::poll(&waiting, 1, kProbeTimeoutMs) > 0) {
    if (::read(reading.get(), &answer, 1) != 1) answer = 'a';
    ::waitpid(child, nullptr, 0);
  }
  return answer == 'd';
}

}  // namespace cachefs::cli
