#include "vfs/posix_file.h"

#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <vector>

#include "base/request_deadline.h"
#include "cachefs/time_limits.h"
#include "vfs/posix_change.h"

namespace cachefs::posix {
namespace {

/// What one read(2) or write(2) moves at most.
constexpr size_t kRequestMax = 0x7ffff000;
/// Where the kernel does not copy.
constexpr size_t kCopyBuffer = 128 * 1024;
constexpr auto kOffsetMax = static_cast<uint64_t>(INT64_MAX);

int fallocate_mode(AllocateMode mode) {
  switch (mode) {
    case AllocateMode::extend:
      return 0;
    case AllocateMode::keep_size:
      return FALLOC_FL_KEEP_SIZE;
    case AllocateMode::punch_hole:
      return FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    case AllocateMode::zero_range:
      return FALLOC_FL_ZERO_RANGE;
    case AllocateMode::zero_range_keep_size:
      break;
  }
  return FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
}

iovec vector_of(std::span<const std::byte> data) {
  return {.iov_base = const_cast<std::byte*>(data.data()), .iov_len = std::min(data.size(), kRequestMax)};
}

/// 0 or the errno.
int close_duplicate(const UniqueFd& fd) {
  UniqueFd duplicate(fcntl(fd.get(), F_DUPFD_CLOEXEC, 0));
  return duplicate.valid() ? duplicate.close_now() : errno;
}

/// Whether the kernel cannot copy between these two itself.
bool must_copy_by_buffer(int reason) {
  return reason == EXDEV || reason == ENOSYS || reason == EOPNOTSUPP || reason == ETXTBSY;
}

}  // namespace

int open_flags(const OpenFlags& flags) {
  int result = flags.write ? (flags.read ? O_RDWR : O_WRONLY) : O_RDONLY;
  if (flags.truncate) result |= O_TRUNC;
  if (flags.no_atime) result |= O_NOATIME;
  return result;
}

PosixFile::PosixFile(PosixSource& source, NodeRef node, UniqueFd fd, const OpenFlags& flags, Caller opener)
    : source_(source),
      node_(std::move(node)),
      fd_(std::move(fd)),
      flags_(flags),
      opener_(std::move(opener)),
      opened_in_(fd_.epoch()),
      epoch_(opened_in_) {
  source_.open_files().add(*node_, fd_);
}

PosixFile::~PosixFile() { source_.open_files().remove(*node_, fd_); }

Result<size_t> PosixFile::read_at(uint64_t offset, std::span<const std::span<std::byte>> buffers) {
  if (offset > kOffsetMax) return 0;
  const uint32_t epoch = epoch_;
  Result<size_t> count = read_once(offset, buffers);
  return count || !open_anew(epoch, count.error()) ? count : read_once(offset, buffers);
}

Result<void> PosixFile::check_bond() const {
  if (!flags_.write || (source_.epoch() == opened_in_ && source_.is_there())) return {};
  return fail_errno(ENOTCONN, "the source was lost since the file was opened");
}

template <typename Run>
auto PosixFile::with_position(Run run) -> decltype(run()) {
  if (!position_mutex_.try_lock_until(RequestDeadline::clamp(RequestDeadline::Time::max()))) {
    RequestDeadline::note_in_vain();
    return fail(std::errc::timed_out,
                "an append to the file, or a search for data or holes, has not ended yet");
  }
  decltype(run()) result = fail(std::errc::timed_out);
  if (!RequestDeadline::has_passed()) result = run();
  position_mutex_.unlock();
  return result;
}

bool PosixFile::open_anew(uint32_t failed_in, const Error& why) {
  if (flags_.write || (!is_unreachable(why) && why.to_errno() != ESTALE)) return false;
  const Result<void> opened = with_position([&]() REQUIRES(position_mutex_) -> Result<void> {
    if (epoch_ != failed_in) return {};  // somebody else has done it
    if (epoch_ == source_.epoch()) return std::unexpected(why);
    const auto path = source_.descriptor(as_posix(*node_), opener_);
    if (!path) return std::unexpected(path.error());
    const ActAs acting(source_.credentials(), opener_);
    if (!acting.result()) return acting.result();
    const auto content = source_.open_content(as_posix(*node_), **path, open_flags(flags_));
    if (!content) return std::unexpected(content.error());
    if (dup3(content->get(), fd_.get(), O_CLOEXEC) < 0) return failed(errno, "open anew");
    epoch_ = content->epoch();
    return {};
  });
  return opened.has_value();
}

Result<size_t> PosixFile::read_once(uint64_t offset, std::span<const std::span<std::byte>> buffers) {
  if (const Result<void> bound = check_bond(); !bound) return std::unexpected(bound.error());
  std::array<iovec, 16> few;
  std::vector<iovec> many;
  const size_t count = std::min<size_t>(buffers.size(), IOV_MAX);
  if (count > few.size()) many.resize(count);
  iovec* vectors = count > few.size() ? many.data() : few.data();
  for (size_t i = 0; i < count; ++i)
    vectors[i] = {.iov_base = buffers[i].data(), .iov_len = buffers[i].size()};
  ssize_t size = 0;
  do {
    size = preadv(fd_.get(), vectors, static_cast<int>(count), static_cast<off_t>(offset));
  } while (size < 0 && errno == EINTR);
  if (size < 0) return failed(errno, "read");
  return static_cast<size_t>(size);
}

Result<size_t> PosixFile::write_at(uint64_t offset, std::span<const std::byte> data) {
  if (!flags_.write) return fail(std::errc::bad_file_descriptor);
  if (const Result<void> bound = check_bond(); !bound) return std::unexpected(bound.error());
  if (offset > kOffsetMax || data.size() > kOffsetMax - offset) return fail(std::errc::file_too_large);
  const ActAs acting(source_.credentials(), opener_);
  if (!acting.result()) return std::unexpected(acting.result().error());
  const ContentRights rights = source_.content_rights();
  size_t written = 0;
  while (written < data.size()) {
    const size_t part = std::min(data.size() - written, kRequestMax);
    const ssize_t size = pwrite(fd_.get(), data.data() + written, part, static_cast<off_t>(offset + written));
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && written == 0) return failed(errno, "write");
    if (size <= 0) break;  // the rest's error comes again when the caller writes the rest
    written += static_cast<size_t>(size);
  }
  return written;
}

Result<AppendResult> PosixFile::append(std::span<const std::byte> data) {
  if (!flags_.write) return fail(std::errc::bad_file_descriptor);
  if (const Result<void> bound = check_bond(); !bound) return std::unexpected(bound.error());
  const ActAs acting(source_.credentials(), opener_);
  if (!acting.result()) return std::unexpected(acting.result().error());
  const ContentRights rights = source_.content_rights();
  return with_position([&]() REQUIRES(position_mutex_) { return append_at_end(data); });
}

Result<AppendResult> PosixFile::append_at_end(std::span<const std::byte> data) {
  if (append_fd_.valid()) return append_by_descriptor(data);
  Result<AppendResult> result = append_flagged(data);
  if (result || (result.error().to_errno() != EOPNOTSUPP && result.error().to_errno() != ENOSYS))
    return result;
  append_fd_ = UniqueFd(open(ProcPath(fd_.get()).c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
  if (!append_fd_.valid()) return failed(errno, "open for appending");
  return append_by_descriptor(data);
}

// One system call: a second one could go elsewhere than right after the first. With the offset -1 the kernel
// moves the descriptor's position to the end of what it wrote, which tells where that went even if others
// append meanwhile.
Result<AppendResult> PosixFile::append_flagged(std::span<const std::byte> data) {
  const iovec vector = vector_of(data);
  ssize_t size = 0;
  do {
    size = pwritev2(fd_.get(), &vector, 1, -1, RWF_APPEND);
  } while (size < 0 && errno == EINTR);
  if (size < 0) return failed(errno, "append");
  const off_t end = lseek(fd_.get(), 0, SEEK_CUR);
  if (end < 0) return failed(errno, "find where the append went");
  return AppendResult{.offset = static_cast<uint64_t>(end - size), .size = static_cast<size_t>(size)};
}

Result<AppendResult> PosixFile::append_by_descriptor(std::span<const std::byte> data) {
  ssize_t size = 0;
  do {
    size = write(append_fd_.get(), data.data(), std::min(data.size(), kRequestMax));
  } while (size < 0 && errno == EINTR);
  if (size < 0) return failed(errno, "append");
  const off_t end = lseek(append_fd_.get(), 0, SEEK_CUR);
  if (end < 0) return failed(errno, "find where the append went");
  return AppendResult{.offset = static_cast<uint64_t>(end - size), .size = static_cast<size_t>(size)};
}

Result<Attributes> PosixFile::attributes() {
  const uint32_t epoch = epoch_;
  Result<Attributes> answer = source_.attributes(as_posix(*node_), fd_);
  return answer || !open_anew(epoch, answer.error()) ? answer : source_.attributes(as_posix(*node_), fd_);
}

Result<Attributes> PosixFile::set_attributes(const AttributeChange& change, const Caller& caller) {
  if (const Result<void> bound = check_bond(); !bound) return std::unexpected(bound.error());
  if (change.size && !flags_.write) return fail(std::errc::invalid_argument);
  {
    const ActAs acting(source_.credentials(), caller);
    if (!acting.result()) return std::unexpected(acting.result().error());
    const Result<void> applied =
        apply(change, {.content = fd_.get(), .drops_set_id = source_.capabilities().drops_set_id});
    if (!applied) return std::unexpected(applied.error());
  }
  return attributes();
}

Result<void> PosixFile::sync(SyncKind kind) {
  if (const Result<void> bound = check_bond(); !bound) return std::unexpected(bound.error());
  const int result = kind == SyncKind::data ? fdatasync(fd_.get()) : fsync(fd_.get());
  if (result != 0) return failed(errno, "sync");
  return {};
}

// Closing a duplicate is what makes the kernel ask the server, or the daemon of a FUSE source. (It also drops
// this process's POSIX locks of the file; there are none.)
Result<void> PosixFile::flush() {
  if (!flags_.write) return {};
  if (const Result<void> bound = check_bond(); !bound) return std::unexpected(bound.error());
  const Result<void> appended = with_position([&]() REQUIRES(position_mutex_) -> Result<void> {
    const int error = append_fd_.valid() ? close_duplicate(append_fd_) : 0;
    return error == 0 ? Result<void>() : failed(error, "flush");
  });
  if (const int error = close_duplicate(fd_); error != 0) return failed(error, "flush");
  return appended;
}

Result<void> PosixFile::allocate(AllocateMode mode, uint64_t offset, uint64_t length) {
  if (!flags_.write) return fail(std::errc::bad_file_descriptor);
  if (const Result<void> bound = check_bond(); !bound) return std::unexpected(bound.error());
  if (!source_.capabilities().allocate) return fail(std::errc::operation_not_supported);
  if (offset > kOffsetMax || length > kOffsetMax - offset) return fail(std::errc::file_too_large);
  const ActAs acting(source_.credentials(), opener_);
  if (!acting.result()) return acting.result();
  const ContentRights rights = source_.content_rights();
  int result = 0;
  do {
    result =
        fallocate(fd_.get(), fallocate_mode(mode), static_cast<off_t>(offset), static_cast<off_t>(length));
  } while (result != 0 && errno == EINTR);
  if (result != 0) return failed(errno, "allocate");
  return {};
}

Result<uint64_t> PosixFile::seek(SeekKind kind, uint64_t offset) {
  if (offset > kOffsetMax) return fail(std::errc::no_such_device_or_address);
  return with_position([&]() REQUIRES(position_mutex_) -> Result<uint64_t> {
    const off_t found =
        lseek(fd_.get(), static_cast<off_t>(offset), kind == SeekKind::data ? SEEK_DATA : SEEK_HOLE);
    if (found < 0 && errno == ENXIO) return fail(std::errc::no_such_device_or_address);
    if (found < 0) return failed(errno, "seek");
    return static_cast<uint64_t>(found);
  });
}

Result<uint64_t> PosixFile::copy_range(uint64_t offset, File& target, uint64_t target_offset,
                                       uint64_t length) {
  auto* other = dynamic_cast<PosixFile*>(&target);
  if (other == nullptr) return fail(std::errc::cross_device_link);
  if (!flags_.read || !other->flags_.write) return fail(std::errc::bad_file_descriptor);
  if (const Result<void> bound = other->check_bond(); !bound) return std::unexpected(bound.error());
  if (offset > kOffsetMax || target_offset > kOffsetMax) return fail(std::errc::invalid_argument);
  const Result<uint64_t> copied = copy_in_kernel(offset, *other, target_offset, length);
  if (copied || !must_copy_by_buffer(copied.error().to_errno())) return copied;
  return copy_by_buffer(offset, *other, target_offset, length);
}

Result<uint64_t> PosixFile::copy_in_kernel(uint64_t offset, PosixFile& target, uint64_t target_offset,
                                           uint64_t length) {
  const ActAs acting(source_.credentials(), target.opener_);
  if (!acting.result()) return std::unexpected(acting.result().error());
  const ContentRights rights = source_.content_rights();
  uint64_t copied = 0;
  while (copied < length) {
    auto from = static_cast<off64_t>(offset + copied);
    auto to = static_cast<off64_t>(target_offset + copied);
    const size_t part = std::min<uint64_t>(length - copied, kRequestMax);
    const ssize_t size = copy_file_range(fd_.get(), &from, target.fd_.get(), &to, part, 0);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && copied == 0) return failed(errno, "copy within the source");
    if (size <= 0) break;
    copied += static_cast<uint64_t>(size);
  }
  return copied;
}

Result<uint64_t> PosixFile::copy_by_buffer(uint64_t offset, PosixFile& target, uint64_t target_offset,
                                           uint64_t length) {
  std::vector<std::byte> buffer(std::min<uint64_t>(length, kCopyBuffer));
  uint64_t copied = 0;
  while (copied < length) {
    const std::span<std::byte> part(buffer.data(), std::min<uint64_t>(length - copied, buffer.size()));
    const Result<size_t> size = read_at(offset + copied, part);
    if (!size && copied == 0) return std::unexpected(size.error());
    if (!size || *size == 0) break;
    const Result<size_t> written = target.write_at(target_offset + copied, part.first(*size));
    if (!written && copied == 0) return std::unexpected(written.error());
    if (!written) break;
    copied += *written;
    if (*written < *size) break;
  }
  return copied;
}

Result<void> PosixFile::close() {
  const Result<void> bound = check_bond();
  const Result<void> appended = with_position([&]() REQUIRES(position_mutex_) -> Result<void> {
    const int error = append_fd_.close_now();
    return error == 0 ? Result<void>() : failed(error, "close");
  });
  if (!appended && appended.error().is(std::errc::timed_out)) return appended;
  source_.open_files().remove(*node_, fd_);
  if (const int error = fd_.close_now(); error != 0) return failed(error, "close");
  return appended ? bound : appended;
}

}  // namespace cachefs::posix
