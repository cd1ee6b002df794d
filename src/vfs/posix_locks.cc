#include "vfs/posix_locks.h"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>
#include <vector>

namespace cachefs::posix {
namespace {

constexpr auto kOffsetMax = static_cast<uint64_t>(INT64_MAX);

short type_of(LockMode mode) {
  return mode == LockMode::none ? F_UNLCK : mode == LockMode::shared ? F_RDLCK : F_WRLCK;
}

int flock_operation(LockMode mode) {
  return mode == LockMode::none ? LOCK_UN : mode == LockMode::shared ? LOCK_SH : LOCK_EX;
}

struct flock to_flock(LockMode mode, const LockRange& range) {
  struct flock lock{};
  lock.l_type = type_of(mode);
  lock.l_whence = SEEK_SET;
  lock.l_start = static_cast<off_t>(range.begin);
  // A length of 0 is the end of the file, wherever that is.
  if (range.end <= kOffsetMax) lock.l_len = static_cast<off_t>(range.end - range.begin);
  return lock;
}

HeldLock held_by_somebody(const struct flock& lock) {
  HeldLock held{.mode = lock.l_type == F_WRLCK ? LockMode::exclusive : LockMode::shared,
                .range = {.begin = static_cast<uint64_t>(lock.l_start), .end = LockRange::kEnd}};
  if (lock.l_len != 0) held.range.end = held.range.begin + static_cast<uint64_t>(lock.l_len);
  if (lock.l_pid > 0) held.process = lock.l_pid;  // else it is bound to an open file, not to a process
  return held;
}

Result<void> check(const PosixNode& node, const LockRequest& request) {
  const bool good =
      node.kind() == FileKind::regular && !request.range.empty() && request.range.begin <= kOffsetMax;
  return good ? Result<void>() : fail(std::errc::invalid_argument);
}

/// 0 or the errno. Waits for no lock.
int apply(const UniqueFd& fd, LockFamily family, LockMode mode, const LockRange& range) {
  struct flock lock = to_flock(mode, range);
  int result = 0;
  do {
    result = family == LockFamily::whole ? flock(fd.get(), flock_operation(mode) | LOCK_NB)
                                         : fcntl(fd.get(), F_OFD_SETLK, &lock);
  } while (result != 0 && errno == EINTR);
  if (result == 0) return 0;
  return errno == EACCES ? EAGAIN : errno;  // some give the one, some the other
}

/// How to open the file, the best first. The right to lock it comes with the caller's open file, so that this
/// process may stand in for a caller who may no longer open it. A descriptor for reading alone cannot take an
/// exclusive record lock, which the same owner may want later by another open file.
std::vector<int> ways_to_open(const LockRequest& request) {
  const LockAccess& access = request.access;
  const int as_opened = access.read && access.write ? O_RDWR : access.write ? O_WRONLY : O_RDONLY;
  if (request.owner.family == LockFamily::whole || as_opened == O_RDWR) return {as_opened};
  return {O_RDWR, as_opened};
}

bool is_refusal(const Error& error) {
  const int code = error.to_errno();
  return code == EACCES || code == EPERM || code == EROFS || code == ETXTBSY;
}

}  // namespace

Result<UniqueFd> PosixLocks::open(PosixNode& node, const LockRequest& request, const Caller& caller) const {
  const Result<SharedFd> path = source_.descriptor_of_open(node, caller);
  if (!path) return std::unexpected(path.error());
  Result<UniqueFd> content = fail(std::errc::permission_denied);
  for (const int flags : ways_to_open(request)) {
    const ActAs acting(source_.credentials(), caller);
    if (!acting.result()) return std::unexpected(acting.result().error());
    content = source_.open_content(node, **path, flags);
    if (content || !is_refusal(content.error())) return content;
  }
  return source_.open_content(node, **path, ways_to_open(request).back());
}

PosixLocks::LockedRef PosixLocks::find(Node& node, const LockOwner& owner) {
  MutexLock lock(mutex_);
  const auto found = locked_.find({&node, owner});
  return found == locked_.end() ? nullptr : found->second;
}

PosixLocks::LockedRef PosixLocks::find_or_add(Node& node, const LockOwner& owner) {
  MutexLock lock(mutex_);
  LockedRef& locked = locked_[{&node, owner}];
  if (locked == nullptr) locked = std::make_shared<Locked>(NodeRef(&node));
  return locked;
}

void PosixLocks::forget(Node& node, const LockOwner& owner) {
  LockedRef last;  // let go of after the lock
  MutexLock lock(mutex_);
  const auto found = locked_.find({&node, owner});
  if (found == locked_.end()) return;
  last = std::move(found->second);
  locked_.erase(found);
}

Result<void> PosixLocks::set(Node& node, const LockRequest& request, const Caller& caller) {
  if (auto good = check(as_posix(node), request); !good) return good;
  for (;;) {
    const LockedRef locked =
        request.mode == LockMode::none ? find(node, request.owner) : find_or_add(node, request.owner);
    if (locked == nullptr) return {};
    MutexLock lock_of_owner(locked->mutex);
    if (locked->gone) continue;
    return request.mode == LockMode::none ? unlock(*locked, request) : lock(*locked, request, caller);
  }
}

/// A descriptor of before the source was lost has lost its locks with it: its owner must be told.
Result<void> PosixLocks::have_descriptor(Locked& locked, const LockRequest& request,
                                         const Caller& caller) const {
  if (locked.fd.valid() && locked.fd.epoch() != source_.epoch()) {
    if (!locked.held.empty()) return fail_errno(ENOTCONN, "the source was lost since the file was locked");
    locked.fd = UniqueFd();
  }
  if (locked.fd.valid()) return {};
  Result<UniqueFd> fd = open(as_posix(*locked.node), request, caller);
  if (!fd) return std::unexpected(fd.error());
  locked.fd = std::move(*fd);
  return {};
}

/// The descriptor stays when this fails: who waits for a lock tries again soon.
Result<void> PosixLocks::lock(Locked& locked, const LockRequest& request, const Caller& caller) const {
  if (const Result<void> ready = have_descriptor(locked, request, caller); !ready) return ready;
  const LockFamily family = request.owner.family;
  const LockRange range = family == LockFamily::whole ? LockRange{} : request.range;
  const int error = apply(locked.fd, family, request.mode, range);
  if (error == 0) locked.held.set({.owner = request.owner, .mode = request.mode, .range = range});
  if (error != 0 && family == LockFamily::whole) locked.held.release(request.owner);  // see flock(2)
  if (error == EAGAIN) return fail(std::errc::resource_unavailable_try_again);
  return error == 0 ? Result<void>() : failed(error, "lock a file");
}

Result<void> PosixLocks::unlock(Locked& locked, const LockRequest& request) {
  const LockFamily family = request.owner.family;
  const LockRange range = family == LockFamily::whole ? LockRange{} : request.range;
  const int error = locked.fd.valid() ? apply(locked.fd, family, LockMode::none, range) : 0;
  locked.held.set({.owner = request.owner, .mode = LockMode::none, .range = range});
  if (locked.held.empty()) {
    locked.gone = true;
    locked.fd = UniqueFd();  // which lets go of all that there may be
    forget(*locked.node, request.owner);
    return {};
  }
  return error == 0 ? Result<void>() : failed(error, "unlock a file");
}

Result<void> PosixLocks::release(Node& node, const LockOwner& owner) {
  const LockedRef locked = find(node, owner);
  if (locked == nullptr) return {};
  MutexLock lock(locked->mutex);
  if (locked->gone) return {};
  locked->gone = true;
  locked->held = {};
  locked->fd = UniqueFd();
  forget(*locked->node, owner);
  return {};
}

Result<std::optional<HeldLock>> PosixLocks::test(Node& node, const LockRequest& request,
                                                 const Caller& caller) {
  if (auto good = check(as_posix(node), request); !good) return std::unexpected(good.error());
  if (request.owner.family == LockFamily::whole || request.mode == LockMode::none)
    return fail(std::errc::invalid_argument);
  const LockedRef known = find(node, request.owner);
  // Else with a descriptor of the moment.
  const LockedRef locked = known != nullptr ? known : std::make_shared<Locked>(NodeRef(&node));
  MutexLock lock_of_owner(locked->mutex);
  if (const Result<void> ready = have_descriptor(*locked, request, caller); !ready)
    return std::unexpected(ready.error());
  struct flock lock = to_flock(request.mode, request.range);
  if (fcntl(locked->fd.get(), F_OFD_GETLK, &lock) != 0) return failed(errno, "ask for a lock");
  return lock.l_type == F_UNLCK ? std::nullopt : std::optional(held_by_somebody(lock));
}

}  // namespace cachefs::posix
