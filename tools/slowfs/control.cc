#include "control.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <array>
#include <climits>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "server/control_client.h"
#include "server/control_path.h"

namespace cachefs::slowfs {
namespace {

using server::UniqueFd;

constexpr std::chrono::seconds kPatience{5};
constexpr size_t kMessageMax = 64 * 1024;

std::string socket_name(const std::string& mountpoint) {
  return "slowfs-" + server::control_socket_name(mountpoint);
}

/// Reads to the end of what the other side sends; what it sent until then if it is too slow or says too much.
std::string receive_all(int fd) {
  std::string text;
  std::array<char, 4096> chunk;
  while (text.size() < kMessageMax) {
    const ssize_t size = recv(fd, chunk.data(), chunk.size(), 0);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) break;
    text.append(chunk.data(), static_cast<size_t>(size));
  }
  return text;
}

/// Sends everything and ends this direction.
bool send_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t size = send(fd, text.data(), text.size(), MSG_NOSIGNAL);
    if (size < 0 && errno != EINTR) return false;
    if (size > 0) text.remove_prefix(static_cast<size_t>(size));
  }
  return shutdown(fd, SHUT_WR) == 0;
}

void limit_waiting(int fd) {
  const timeval limit{.tv_sec = kPatience.count(), .tv_usec = 0};
  for (const int option : {SO_RCVTIMEO, SO_SNDTIMEO})
    setsockopt(fd, SOL_SOCKET, option, &limit, sizeof limit);
}

}  // namespace

Result<std::string> resolve_mountpoint(const std::string& path) {
  std::filesystem::path given = std::filesystem::path(path).lexically_normal();
  if (!given.has_filename()) given = given.parent_path();
  const std::string parent = given.has_parent_path() ? given.parent_path().string() : ".";
  const std::unique_ptr<char, decltype(&std::free)> real(realpath(parent.c_str(), nullptr), &std::free);
  if (!real) return fail_errno(errno, fmt::format("find '{}'", path));
  return (std::filesystem::path(real.get()) / given.filename()).string();
}

ControlService::ControlService(std::unique_ptr<server::ControlListener> listener, UniqueFd end,
                               Handler handler)
    : listener_(std::move(listener)),
      end_(std::move(end)),
      handler_(std::move(handler)),
      thread_([this] { serve(); }) {}

Result<std::unique_ptr<ControlService>> ControlService::start(const std::string& mountpoint,
                                                              Handler handler) {
  const auto directories = server::make_control_directories();
  if (!directories) return std::unexpected(directories.error());
  auto listener = server::ControlListener::bind(directories->front(), socket_name(mountpoint), kPatience);
  if (!listener && listener.error().is(std::errc::address_in_use)) {
    return fail(std::errc::invalid_argument,
                fmt::format("another slowfs serves '{0}'; unmount it with: umount {0}, or fusermount3 -u {0}",
                            mountpoint));
  }
  if (!listener) return std::unexpected(listener.error().during(fmt::format("listen for '{}'", mountpoint)));
  UniqueFd end(eventfd(0, EFD_CLOEXEC));
  if (!end) return fail_errno(errno, "make an event");
  return std::unique_ptr<ControlService>(
      new ControlService(std::move(*listener), std::move(end), std::move(handler)));
}

ControlService::~ControlService() {
  eventfd_write(end_.get(), 1);  // cannot fail: the counter is at 0
  thread_.join();
}

void ControlService::serve() {
  while (true) {
    std::array<pollfd, 2> waiting{{{.fd = end_.get(), .events = POLLIN, .revents = 0},
                                   {.fd = listener_->fd(), .events = POLLIN, .revents = 0}}};
    if (poll(waiting.data(), waiting.size(), -1) < 0 && errno != EINTR) return;
    if (waiting[0].revents != 0) return;
    const UniqueFd connection(accept4(listener_->fd(), nullptr, nullptr, SOCK_CLOEXEC));
    if (connection) answer(connection);
  }
}

void ControlService::answer(const UniqueFd& connection) const {
  limit_waiting(connection.get());
  const auto request = nlohmann::json::parse(receive_all(connection.get()), nullptr, false);
  nlohmann::json reply;
  try {
    if (!request.is_object()) throw std::invalid_argument("a command is a JSON object");
    const Result<nlohmann::json> result = handler_(request);
    if (result) {
      reply["result"] = *result;
    } else {
      reply["error"] = result.error().doing();
    }
  } catch (const std::exception& error) {  // the JSON library's way to refuse a member of the wrong type
    reply["error"] = error.what();
  }
  send_all(connection.get(), reply.dump());  // a client that has gone misses its answer
}

Result<nlohmann::json> send_command(const std::string& mountpoint, const nlohmann::json& request) {
  for (const std::string& directory : server::control_directories(geteuid())) {
    const auto connection = server::connect_control(directory + "/" + socket_name(mountpoint), kPatience);
    if (!connection) continue;
    if (!send_all(connection->get(), request.dump())) return fail_errno(errno, "send the command");
    const auto reply = nlohmann::json::parse(receive_all(connection->get()), nullptr, false);
    if (reply.contains("result")) return reply["result"];
    if (reply.contains("error")) return fail(std::errc::invalid_argument, reply["error"].get<std::string>());
    return fail(std::errc::protocol_error, fmt::format("the slowfs of '{}' gave no answer", mountpoint));
  }
  return fail(std::errc::no_such_file_or_directory,
              fmt::format("no slowfs of yours serves '{}'", mountpoint));
}

}  // namespace cachefs::slowfs
