#include "mount/lock_table.h"

#include <utility>

namespace cachefs::mount {

const LockTable::FileLocks* LockTable::file_of(const MountNode& node) const {
  const auto found = files_.find(&node);
  return found == files_.end() ? nullptr : &found->second;
}

LockUserRef LockTable::find(const MountNode& node, const LockOwner& owner) const {
  MutexLock lock(mutex_);
  const FileLocks* const file = file_of(node);
  if (file == nullptr) return nullptr;
  const auto found = file->users.find(owner);
  return found == file->users.end() ? nullptr : found->second.user;
}

LockUserRef LockTable::enter(const MountNodeRef& node, const LockOwner& owner, uint64_t handle) {
  MutexLock lock(mutex_);
  FileLocks& file = files_[node.get()];
  file.node = node;
  User& user = file.users[owner];
  user.handles.insert(handle);
  return user.user;
}

void LockTable::forget(const MountNode& node, const LockOwner& owner) {
  LockUserRef user;  // let go of after the lock, as is the node
  MountNodeRef last;
  MutexLock lock(mutex_);
  const auto file = files_.find(&node);
  if (file == files_.end()) return;
  file->second.held.release(owner);
  const auto found = file->second.users.find(owner);
  if (found == file->second.users.end()) return;
  user = std::move(found->second.user);
  file->second.users.erase(found);
  if (!file->second.users.empty()) return;
  last = std::move(file->second.node);
  files_.erase(file);
}

std::vector<LockOwner> LockTable::users_of(const MountNode& node, uint64_t handle) const {
  std::vector<LockOwner> owners;
  MutexLock lock(mutex_);
  const FileLocks* const file = file_of(node);
  if (file == nullptr) return owners;
  for (const auto& [owner, user] : file->users) {
    if (user.handles.contains(handle)) owners.push_back(owner);
  }
  return owners;
}

void LockTable::note(const MountNode& node, const HeldLock& lock_told) {
  MutexLock lock(mutex_);
  const auto file = files_.find(&node);
  if (file != files_.end()) file->second.held.set(lock_told);
}

bool LockTable::holds_any(const MountNode& node, const LockOwner& owner) const {
  MutexLock lock(mutex_);
  const FileLocks* const file = file_of(node);
  return file != nullptr && file->held.holds_any(owner);
}

std::vector<HeldLock> LockTable::parts(const MountNode& node, const HeldLock& of) const {
  MutexLock lock(mutex_);
  const FileLocks* const file = file_of(node);
  return file != nullptr ? file->held.parts(of.owner, of.range) : RangeLocks().parts(of.owner, of.range);
}

std::optional<HeldLock> LockTable::conflict(const MountNode& node, const HeldLock& wanted) const {
  MutexLock lock(mutex_);
  const FileLocks* const file = file_of(node);
  return file != nullptr ? file->held.conflict(wanted) : std::nullopt;
}

std::vector<LockTable::Use> LockTable::all() const {
  std::vector<Use> uses;
  MutexLock lock(mutex_);
  for (const auto& [node, file] : files_) {
    for (const auto& [owner, user] : file.users) uses.push_back({file.node, owner});
  }
  return uses;
}

void LockTable::begin_giving_back(const MountNode& node) {
  MutexLock lock(mutex_);
  giving_back_.insert(&node);
}

void LockTable::end_giving_back(const MountNode& node) {
  MutexLock lock(mutex_);
  giving_back_.erase(giving_back_.find(&node));
  ++given_back_;
  given_back_changed_.notify_all();
}

uint64_t LockTable::given_back() const {
  MutexLock lock(mutex_);
  return given_back_;
}

void LockTable::wait_for_giving_back(const MountNode& node) {
  MutexLock lock(mutex_);
  while (giving_back_.contains(&node)) given_back_changed_.wait(mutex_);
}

}  // namespace cachefs::mount
