// MemFs: rename in all its modes.
#include <utility>

#include "vfs/mem_fs_access.h"
#include "vfs/mem_fs_core.h"

namespace cachefs::mem {
namespace {

/// Whether `inode` is `ancestor` or lies below it.
bool is_within(const Inode& ancestor, const Inode* inode) {
  while (inode != nullptr && inode != &ancestor) inode = inode->parent;
  return inode == &ancestor;
}

Result<void> check_replaceable(const Inode& source, const Inode& target) {
  if (source.is_directory() && !target.is_directory()) return fail(std::errc::not_a_directory);
  if (!source.is_directory() && target.is_directory()) return fail(std::errc::is_a_directory);
  if (target.entries.size() != 0) return fail(std::errc::directory_not_empty);
  return {};
}

}  // namespace

Result<void> MemFs::check_rename(Place from, Inode& source, Place to, Inode* target, RenameMode mode,
                                 const Caller& caller) const {
  const Inode& from_directory = inode_of(from.directory);
  const Inode& to_directory = inode_of(to.directory);
  const bool moves = &from_directory != &to_directory;
  if (mode == RenameMode::exchange && target == nullptr) return fail(std::errc::no_such_file_or_directory);
  if (mode == RenameMode::no_replace && target != nullptr) return fail(std::errc::file_exists);
  if (source.is_directory() && is_within(source, &to_directory)) return fail(std::errc::invalid_argument);
  if (auto allowed = check_removal(from_directory, source, caller); !allowed) return allowed;
  if (moves && source.is_directory()) {  // its ".." changes
    if (auto allowed = check_access(source, kMayWrite, caller); !allowed) return allowed;
  }
  if (target == nullptr) return {};
  if (auto allowed = check_removal(to_directory, *target, caller); !allowed) return allowed;
  if (mode != RenameMode::exchange) return check_replaceable(source, *target);
  if (target->is_directory() && is_within(*target, &from_directory)) return fail(std::errc::invalid_argument);
  if (moves && target->is_directory()) return check_access(*target, kMayWrite, caller);
  return {};
}

Result<void> MemFs::rename(Place from, Place to, RenameMode mode, const Caller& caller) {
  NodeRef replaced;  // freed after the lock is released
  MutexLock lock(mutex_);
  Inode& from_directory = inode_of(from.directory);
  Inode& to_directory = inode_of(to.directory);
  if (auto good = check_change_of(from_directory, from.name, caller); !good) return good;
  if (auto good = check_change_of(to_directory, to.name, caller); !good) return good;
  DirectorySlot* source = from_directory.entries.find(from.name);
  if (source == nullptr) return fail(std::errc::no_such_file_or_directory);
  DirectorySlot* target = to_directory.entries.find(to.name);
  if (source == target) {  // the same name, or one that differs in case alone
    if (mode == RenameMode::no_replace && source->name == to.name) return fail(std::errc::file_exists);
    if (source->name == to.name) return {};
    source->name = to.name;
    touch_attributes(inode_of(source->node));
    touch_content(to_directory);
    return {};
  }
  const bool same_file = target != nullptr && target->node == source->node;
  if (same_file && mode != RenameMode::no_replace)
    return {};  // POSIX: two names of one file stay as they are
  Inode* target_inode = target == nullptr ? nullptr : &inode_of(target->node);
  if (auto good = check_rename(from, inode_of(source->node), to, target_inode, mode, caller); !good)
    return good;
  if (target == nullptr) {
    move_entry(from, to);
  } else if (mode == RenameMode::exchange) {
    exchange_entries(from, to);
  } else {
    replaced = replace_entry(from, to);
  }
  return {};
}

/// A directory came to another parent: ".." of it leads there.
void MemFs::adopt(Inode& directory, Inode& former, Inode& inode) {
  if (!inode.is_directory()) return;
  inode.parent = &directory;
  --former.nlink;
  ++directory.nlink;
}

void MemFs::move_entry(Place from, Place to) {
  Inode& from_directory = inode_of(from.directory);
  Inode& to_directory = inode_of(to.directory);
  NodeRef node = from_directory.entries.erase(from.name);
  Inode& inode = inode_of(node);
  to_directory.entries.insert(to.name, std::move(node));
  adopt(to_directory, from_directory, inode);
  touch_attributes(inode);
  touch_content(from_directory);
  touch_content(to_directory);
}

NodeRef MemFs::replace_entry(Place from, Place to) {
  Inode& from_directory = inode_of(from.directory);
  Inode& to_directory = inode_of(to.directory);
  NodeRef node = from_directory.entries.erase(from.name);
  Inode& inode = inode_of(node);
  DirectorySlot& slot = *to_directory.entries.find(to.name);
  std::swap(slot.node, node);
  drop_name(to_directory, inode_of(node));
  adopt(to_directory, from_directory, inode);
  touch_attributes(inode);
  touch_content(from_directory);
  return node;
}

void MemFs::exchange_entries(Place from, Place to) {
  Inode& from_directory = inode_of(from.directory);
  Inode& to_directory = inode_of(to.directory);
  DirectorySlot& first = *from_directory.entries.find(from.name);
  DirectorySlot& second = *to_directory.entries.find(to.name);
  std::swap(first.node, second.node);
  adopt(to_directory, from_directory, inode_of(second.node));
  adopt(from_directory, to_directory, inode_of(first.node));
  touch_attributes(inode_of(first.node));
  touch_attributes(inode_of(second.node));
  touch_content(from_directory);
  touch_content(to_directory);
}

}  // namespace cachefs::mem
