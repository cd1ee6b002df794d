// MemFs: advisory locks.
#include "vfs/mem_fs_core.h"

namespace cachefs::mem {
namespace {

Result<void> check_lock(const Inode& inode, const LockRequest& request) {
  if (inode.kind != FileKind::regular || request.range.empty()) return fail(std::errc::invalid_argument);
  const bool is_record = request.owner.family == LockFamily::record;
  const bool allowed = !is_record || request.mode == LockMode::none ||
                       (request.mode == LockMode::shared ? request.access.read : request.access.write);
  if (!allowed) return fail(std::errc::bad_file_descriptor);
  return {};
}

HeldLock lock_of(const LockRequest& request) {
  const bool whole = request.owner.family == LockFamily::whole;
  return {.owner = request.owner,
          .mode = request.mode,
          .range = whole ? LockRange{} : request.range,
          .process = request.process};
}

}  // namespace

Result<void> MemLocks::set(Node& node, const LockRequest& request, const Caller& /*caller*/) {
  MutexLock lock(fs_.mutex_);
  Inode& inode = inode_of(node);
  if (auto good = check_lock(inode, request); !good) return good;
  const HeldLock wanted = lock_of(request);
  if (request.mode != LockMode::none && inode.locks.conflict(wanted)) {
    // A change from one mode to the other begins with giving back, as by flock(2).
    if (request.owner.family == LockFamily::whole) inode.locks.release(request.owner);
    return fail(std::errc::resource_unavailable_try_again);
  }
  inode.locks.set(wanted);
  return {};
}

Result<std::optional<HeldLock>> MemLocks::test(Node& node, const LockRequest& request,
                                               const Caller& /*caller*/) {
  MutexLock lock(fs_.mutex_);
  Inode& inode = inode_of(node);
  if (inode.kind != FileKind::regular || request.range.empty()) return fail(std::errc::invalid_argument);
  if (request.mode == LockMode::none) return std::nullopt;
  return inode.locks.conflict(lock_of(request));
}

Result<void> MemLocks::release(Node& node, const LockOwner& owner) {
  MutexLock lock(fs_.mutex_);
  inode_of(node).locks.release(owner);
  return {};
}

}  // namespace cachefs::mem
