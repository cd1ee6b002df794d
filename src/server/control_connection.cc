#include "server/control_connection.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

namespace cachefs::server {

short ControlConnection::wanted() const {
  if (!pending_.empty()) return POLLOUT;
  return input_ended_ ? short{0} : short{POLLIN};
}

bool ControlConnection::advance(short events) {
  if ((events & (POLLERR | POLLNVAL)) != 0) return false;
  if (pending_.empty() && (events & (POLLIN | POLLHUP)) != 0 && !receive()) return false;
  do {
    if (!send_pending()) return false;
    if (!pending_.empty()) return true;
    answer_next_line();
  } while (!pending_.empty());
  return !input_ended_;
}

bool ControlConnection::receive() {
  std::array<char, 16 * 1024> chunk;
  const ssize_t size = ::recv(socket_.get(), chunk.data(), chunk.size(), MSG_DONTWAIT);
  if (size < 0) return errno == EAGAIN || errno == EINTR;
  if (size == 0) input_ended_ = true;
  received_.append(chunk.data(), static_cast<size_t>(size));
  return true;
}

bool ControlConnection::send_pending() {
  while (!pending_.empty()) {
    const ssize_t size = ::send(socket_.get(), pending_.data(), pending_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return errno == EAGAIN;
    pending_.erase(0, static_cast<size_t>(size));
  }
  return true;
}

void ControlConnection::answer_next_line() {
  const size_t end = received_.find('\n');
  if (end <= kControlLineMax) {  // npos is more
    pending_ = answer(std::string_view(received_).substr(0, end), *commands_) + "\n";
    received_.erase(0, end + 1);
  } else if (received_.size() > kControlLineMax) {
    // Where the next request would begin is unknown: say so, and end.
    pending_ = encode_error(fmt::format("a request has at most {} bytes", kControlLineMax)) + "\n";
    received_.clear();
    input_ended_ = true;
  }
}

}  // namespace cachefs::server
