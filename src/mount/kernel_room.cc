#include "mount/kernel_room.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "mount/mount_state.h"
#include "mount/protocol.h"

namespace cachefs::mount {
namespace {

/// Of the answer that this thread is about to give.
thread_local uint32_t open_flags_to_add = 0;

KernelRoom& room_of(void* user_data) { return static_cast<MountState*>(user_data)->kernel; }

ssize_t on_read(int device, void* bytes, size_t size, void* user_data) {
  return room_of(user_data).receive(device, {static_cast<std::byte*>(bytes), size});
}

ssize_t on_write(int device, iovec* parts, int count, void* user_data) {
  return room_of(user_data).send(device, {parts, static_cast<size_t>(count)});
}

std::span<std::byte> bytes_of(const iovec& part) {
  return {static_cast<std::byte*>(part.iov_base), part.iov_len};
}

ssize_t send_as_it_is(int device, std::span<iovec> message) {
  return writev(device, message.data(), static_cast<int>(message.size()));
}

/// Header and body; the answers that are amended have no more parts.
constexpr size_t kParts = 2;

/// The message with another body, which `amend` is given a copy of.
template <typename Amend>
ssize_t send_amended(int device, std::span<iovec> message, Amend amend) {
  std::array<std::byte, 256> copy{};
  if (message.size() != kParts || message[1].iov_len > copy.size()) return send_as_it_is(device, message);
  const std::span<std::byte> body = std::span(copy).first(message[1].iov_len);
  std::memcpy(body.data(), message[1].iov_base, body.size());
  amend(body);
  std::array<iovec, kParts> amended{message[0], {.iov_base = body.data(), .iov_len = body.size()}};
  return send_as_it_is(device, amended);
}

}  // namespace

int KernelRoom::enter(fuse_session* session) {
  // Without the two hooks for splice(2) libfuse does not use it: nothing is hidden from receive().
  const fuse_custom_io io{
      .writev = on_write, .read = on_read, .splice_receive = nullptr, .splice_send = nullptr};
  return -fuse_session_custom_io(session, &io, fuse_session_fd(session));
}

void KernelRoom::found(KernelFeature feature, bool granted) {
  offered_.set(feature, granted);
  granted_.set(feature, granted && wanted_.has(feature));
}

ssize_t KernelRoom::receive(int device, std::span<std::byte> room) {
  const ssize_t size = read(device, room.data(), room.size());
  // A request that was being read when the mount ended: an end as any other.
  if (size < 0 && errno == ECONNABORTED) errno = ENODEV;
  if (greeted_ || size <= 0) return size;
  const int saved = errno;
  if (const auto init = protocol::read_init(room.first(static_cast<size_t>(size)))) {
    init_ = init->unique;
    offered_ = offered_by(init->offer);
  }
  errno = saved;
  return size;
}

ssize_t KernelRoom::send(int device, std::span<iovec> message) {
  if (!greeted_ && init_ != 0 && protocol::is_answer_to(bytes_of(message[0]), init_)) {
    greeted_ = true;
    granted_ = granted(wanted_, offered_);
    return send_amended(device, message, [this](std::span<std::byte> body) {
      if (!protocol::amend_init_reply(body, granted_)) granted_ = {};
    });
  }
  if (open_flags_to_add == 0) return send_as_it_is(device, message);
  // An error has no body.
  return send_amended(device, message,
                      [](std::span<std::byte> body) { protocol::amend_open_reply(body, open_flags_to_add); });
}

KernelRoom::AmendedOpen::AmendedOpen(uint32_t open_flags) { open_flags_to_add = open_flags; }
KernelRoom::AmendedOpen::~AmendedOpen() { open_flags_to_add = 0; }

}  // namespace cachefs::mount
