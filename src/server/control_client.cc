#include "server/control_client.h"

#include <fmt/format.h>
#include <sys/time.h>

#include <array>
#include <cstring>

#include "server/control_protocol.h"

namespace cachefs::server {
namespace {

timeval to_timeval(std::chrono::milliseconds time) {
  return {.tv_sec = time.count() / 1000, .tv_usec = time.count() % 1000 * 1000};
}

Error socket_error(std::string_view doing) {
  const int code = errno == EAGAIN ? ETIMEDOUT : errno;
  return Error::from_errno(code, std::string(doing));
}

Result<void> send_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno != EINTR) return std::unexpected(socket_error("ask the daemon"));
    if (sent > 0) bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return {};
}

/// The pid of whoever listens at the other end.
Result<pid_t> peer_of(const UniqueFd& socket, const std::string& path, uid_t owner) {
  ucred peer{};
  socklen_t size = sizeof(peer);
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return fail_errno(errno);
  if (peer.uid != owner && peer.uid != 0) {
    return fail(std::errc::operation_not_permitted, fmt::format("'{}' is served by user {}", path, peer.uid));
  }
  return peer.pid;
}

Result<std::string> receive_line(int fd) {
  std::string line;
  std::array<char, 4096> chunk;
  while (line.size() <= kControlLineMax) {
    const ssize_t received = ::recv(fd, chunk.data(), chunk.size(), 0);
    if (received < 0 && errno == EINTR) continue;
    if (received < 0) return std::unexpected(socket_error("hear the daemon"));
    if (received == 0) return fail(std::errc::connection_reset, "the daemon closed the connection");
    line.append(chunk.data(), static_cast<size_t>(received));
    if (line.ends_with('\n')) return line;
  }
  return fail(std::errc::protocol_error, "the daemon's answer is too long");
}

}  // namespace

Result<ControlAddress> control_address(const std::string& path) {
  ControlAddress result;
  result.address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(result.address.sun_path)) {
    return fail(std::errc::filename_too_long, fmt::format("use '{}' as a socket", path));
  }
  std::memcpy(result.address.sun_path, path.data(), path.size());
  return result;
}

Result<UniqueFd> connect_control(const std::string& path, std::chrono::milliseconds timeout) {
  const auto address = control_address(path);
  if (!address) return std::unexpected(address.error());
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return fail_errno(errno, "make a socket");
  const timeval limit = to_timeval(timeout);
  if (::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) != 0 ||
      ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) != 0) {
    return fail_errno(errno, "limit the time of a socket");
  }
  while (::connect(socket.get(), address->pointer(), sizeof(sockaddr_un)) != 0) {
    if (errno != EINTR) return std::unexpected(socket_error(fmt::format("connect to '{}'", path)));
  }
  return socket;
}

Result<pid_t> listener_at(const std::string& path, uid_t owner, std::chrono::milliseconds timeout) {
  const auto socket = connect_control(path, timeout);
  if (!socket) return std::unexpected(socket.error());
  return peer_of(*socket, path, owner);
}

Result<ControlReply> ask(const std::string& path, uid_t owner, std::string_view command,
                         std::chrono::milliseconds timeout) {
  const auto socket = connect_control(path, timeout);
  if (!socket) return std::unexpected(socket.error());
  const auto peer = peer_of(*socket, path, owner);
  if (!peer) return std::unexpected(peer.error());
  if (const auto sent = send_all(socket->get(), encode_request(command) + "\n"); !sent) {
    return std::unexpected(sent.error());
  }
  const auto line = receive_line(socket->get());
  if (!line) return std::unexpected(line.error());
  auto result = decode_answer(*line);
  if (!result) return std::unexpected(result.error());
  return ControlReply{std::move(*result), *peer};
}

}  // namespace cachefs::server
