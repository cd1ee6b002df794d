// Locks, where they are the source's (LockMode::source). Else the kernel keeps them by itself.
#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>
#include <memory>
#include <utility>

#include "mount/translate.h"

namespace cachefs::mount {
namespace {

constexpr auto kLargestOffset = static_cast<uint64_t>(INT64_MAX);

LockRange range_of(const struct flock& lock) {
  const auto begin = static_cast<uint64_t>(lock.l_start);
  const auto length = static_cast<uint64_t>(lock.l_len);
  const bool to_the_end = length == 0 || length > kLargestOffset - begin;
  return {.begin = begin, .end = to_the_end ? LockRange::kEnd : begin + length};
}

LockMode mode_of(short type) {
  return type == F_UNLCK ? LockMode::none : type == F_RDLCK ? LockMode::shared : LockMode::exclusive;
}

struct flock to_flock(const std::optional<HeldLock>& held) {
  struct flock lock{};
  lock.l_type = F_UNLCK;
  lock.l_whence = SEEK_SET;
  if (!held) return lock;
  lock.l_type = held->mode == LockMode::shared ? F_RDLCK : F_WRLCK;
  lock.l_start = static_cast<off_t>(held->range.begin);
  if (held->range.end <= kLargestOffset) lock.l_len = static_cast<off_t>(held->range.end - held->range.begin);
  lock.l_pid = held->process;
  return lock;
}

LockAsk ask_of(fuse_req_t req, const fuse_file_info& info, LockFamily family) {
  const OpenFile& file = OpenFiles::peek(info.fh);
  return {.node = file.node,
          .handle = info.fh,
          .lock = {.owner = {.family = family, .number = info.lock_owner},
                   .access = {.read = file.for_reading, .write = file.for_writing},
                   .process = fuse_req_ctx(req)->pid},
          .caller = caller_of(req),
          .waits = false,
          .asking = nullptr};
}

void have_run(fuse_req_t req, LockAsk ask) {
  MountState& mount = mount_of(req);
  ask.asking = Request::make(req, mount.interrupts);
  run(mount, OperationClass::metadata,
      [&mount, asked = std::make_shared<const LockAsk>(std::move(ask))] { mount.locks->run(asked); });
}

void on_setlk(fuse_req_t req, fuse_ino_t /*ino*/, fuse_file_info* info, struct flock* lock, int sleep) {
  OpenFiles::peek(info->fh).uses();
  LockAsk ask = ask_of(req, *info, LockFamily::record);
  ask.lock.mode = mode_of(lock->l_type);
  ask.lock.range = range_of(*lock);
  ask.lock.process = lock->l_pid;
  ask.waits = sleep != 0;
  have_run(req, std::move(ask));
}

void on_flock(fuse_req_t req, fuse_ino_t /*ino*/, fuse_file_info* info, int operation) {
  OpenFiles::peek(info->fh).uses();
  LockAsk ask = ask_of(req, *info, LockFamily::whole);
  ask.lock.mode = (operation & LOCK_UN) != 0   ? LockMode::none
                  : (operation & LOCK_SH) != 0 ? LockMode::shared
                                               : LockMode::exclusive;
  ask.waits = (operation & LOCK_NB) == 0;
  have_run(req, std::move(ask));
}

void on_getlk(fuse_req_t req, fuse_ino_t ino, fuse_file_info* info, struct flock* lock) {
  LockAsk ask = ask_of(req, *info, LockFamily::record);
  ask.lock.mode = mode_of(lock->l_type);
  ask.lock.range = range_of(*lock);
  submit(req, ino, OperationClass::metadata,
         [&mount = mount_of(req), ask = std::move(ask)](Request& request) {
           answer(request, mount.locks->test(ask), [](fuse_req_t to, const std::optional<HeldLock>& held) {
             const struct flock told = to_flock(held);
             fuse_reply_lock(to, &told);
           });
         });
}

}  // namespace

void add_lock_operations(fuse_lowlevel_ops& operations) {
  operations.getlk = on_getlk;
  operations.setlk = on_setlk;
  operations.flock = on_flock;
}

}  // namespace cachefs::mount
