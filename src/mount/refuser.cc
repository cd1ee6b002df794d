#include "mount/refuser.h"

#include <linux/fuse.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "mount/session.h"

namespace cachefs::mount {
namespace {

/// What the kernel wants to have room for when it is asked for a request.
constexpr size_t kRoom = kMaxRequestBytes + 64 * 1024;

bool wants_answer(uint32_t opcode) {
  return opcode != FUSE_FORGET && opcode != FUSE_BATCH_FORGET && opcode != FUSE_INTERRUPT;
}

}  // namespace

Refuser::Refuser(fuse_session* session)
    : session_(session), device_(fuse_session_fd(session)), end_event_(eventfd(0, EFD_CLOEXEC)) {
  if (end_event_ >= 0) thread_ = std::thread([this] { refuse_all(); });
}

Refuser::~Refuser() {
  if (end_event_ < 0) return;
  eventfd_write(end_event_, 1);  // cannot fail: the counter is at 0
  thread_.join();
  ::close(end_event_);
}

/// False when the connection has ended.
bool Refuser::refuse_one(std::vector<char>& buffer) const {
  const ssize_t size = read(device_, buffer.data(), buffer.size());
  if (size < 0) return errno == EINTR || errno == EAGAIN || errno == ENOENT;  // or the asker has given up
  fuse_in_header request{};
  if (static_cast<size_t>(size) < sizeof request) return false;
  std::memcpy(&request, buffer.data(), sizeof request);
  if (request.opcode == FUSE_INTERRUPT) {
    fuse_buf whole{};
    whole.size = static_cast<size_t>(size);
    whole.mem = buffer.data();
    fuse_session_process_buf(session_, &whole);
  }
  if (!wants_answer(request.opcode)) return true;
  const fuse_out_header answer{.len = sizeof answer, .error = -ENOTCONN, .unique = request.unique};
  return write(device_, &answer, sizeof answer) >= 0 || errno != ENODEV;
}

void Refuser::refuse_all() const {
  std::vector<char> buffer(kRoom);
  while (true) {
    std::array<pollfd, 2> waiting{{{.fd = end_event_, .events = POLLIN, .revents = 0},
                                   {.fd = device_, .events = POLLIN, .revents = 0}}};
    if (poll(waiting.data(), waiting.size(), -1) < 0 && errno != EINTR) return;
    if (waiting[0].revents != 0 || (waiting[1].revents & (POLLERR | POLLNVAL)) != 0) return;
    if ((waiting[1].revents & POLLIN) != 0 && !refuse_one(buffer)) return;
  }
}

}  // namespace cachefs::mount
