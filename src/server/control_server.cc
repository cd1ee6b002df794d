#include "server/control_server.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

namespace cachefs::server {
namespace {

constexpr int kRetryAcceptMs = 100;  // when this process has no descriptor left

/// The socket's mode keeps strangers out already; this holds where a file system ignores modes.
bool is_welcome(int fd) {
  ucred peer{};
  socklen_t size = sizeof(peer);
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
  return peer.uid == ::geteuid() || peer.uid == 0;
}

}  // namespace

Result<std::unique_ptr<ControlServer>> ControlServer::start(const ControlListener& listener,
                                                            std::vector<ControlCommand> commands) {
  UniqueFd wake_up(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake_up) return fail_errno(errno, "make an eventfd");
  return std::unique_ptr<ControlServer>(new ControlServer(listener, std::move(commands), std::move(wake_up)));
}

ControlServer::ControlServer(const ControlListener& listener, std::vector<ControlCommand> commands,
                             UniqueFd wake_up)
    : listener_(listener),
      commands_(std::move(commands)),
      wake_up_(std::move(wake_up)),
      thread_([this] { run(); }) {}

ControlServer::~ControlServer() {
  ::eventfd_write(wake_up_.get(), 1);  // cannot fail: the counter is at 0
  thread_.join();
}

void ControlServer::run() {
  while (serve_once()) ++round_;
}

bool ControlServer::serve_once() {
  std::vector<pollfd> waiting;
  waiting.push_back({.fd = wake_up_.get(), .events = POLLIN, .revents = 0});
  waiting.push_back({.fd = out_of_descriptors_ ? -1 : listener_.fd(), .events = POLLIN, .revents = 0});
  for (const ControlConnection& connection : connections_) {
    waiting.push_back({.fd = connection.fd(), .events = connection.wanted(), .revents = 0});
  }
  const int ready = ::poll(waiting.data(), waiting.size(), out_of_descriptors_ ? kRetryAcceptMs : -1);
  out_of_descriptors_ = false;
  if (ready < 0) return errno == EINTR || errno == ENOMEM;
  if (waiting[0].revents != 0) return false;

  std::vector<ControlConnection> alive;
  alive.reserve(connections_.size() + 1);
  for (size_t i = 0; i < connections_.size(); ++i) {
    ControlConnection& connection = connections_[i];
    const short events = waiting[i + 2].revents;
    if (events != 0) connection.last_active = round_;
    if (events == 0 || connection.advance(events)) alive.push_back(std::move(connection));
  }
  connections_ = std::move(alive);
  if (waiting[1].revents != 0) accept_client();
  return true;
}

void ControlServer::accept_client() {
  UniqueFd client(::accept4(listener_.fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!client) {
    const bool exhausted = errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM;
    if (exhausted && !connections_.empty()) drop_most_silent();
    out_of_descriptors_ = exhausted;
    return;
  }
  if (!is_welcome(client.get())) return;
  if (connections_.size() >= kConnectionsMax) drop_most_silent();
  connections_.emplace_back(std::move(client), commands_);
  connections_.back().last_active = round_;
}

void ControlServer::drop_most_silent() {
  const auto silent = std::min_element(
      connections_.begin(), connections_.end(),
      [](const ControlConnection& a, const ControlConnection& b) { return a.last_active < b.last_active; });
  connections_.erase(silent);
}

}  // namespace cachefs::server
