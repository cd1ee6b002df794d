// MemFs: look-up, and making and removing names.
#include <sys/stat.h>

#include "vfs/mem_fs_access.h"
#include "vfs/mem_fs_core.h"

namespace cachefs::mem {
namespace {

constexpr size_t kTargetMax = 4095;  // as PATH_MAX, without its NUL

}  // namespace

Result<void> MemFs::check_name(std::string_view name) const {
  if (name.empty() || name == "." || name == "..") return fail(std::errc::invalid_argument);
  if (name.find('/') != std::string_view::npos || name.find('\0') != std::string_view::npos) {
    return fail(std::errc::invalid_argument);
  }
  if (name.size() > capabilities_.name_max) return fail(std::errc::filename_too_long);
  return {};
}

Result<void> MemFs::check_change_of(const Inode& directory, std::string_view name,
                                    const Caller& caller) const {
  if (!directory.is_directory()) return fail(std::errc::not_a_directory);
  if (auto good = check_name(name); !good) return good;
  if (directory.nlink == 0) return fail(std::errc::no_such_file_or_directory);
  return check_access(directory, kMayWrite | kMayExecute, caller);
}

Result<void> MemFs::check_removal(const Inode& directory, const Inode& inode, const Caller& caller) const {
  if (!options_.enforce_permissions || may_remove_entry(directory, inode, caller)) return {};
  return fail(std::errc::operation_not_permitted);
}

Result<Entry> MemFs::lookup(Node& directory, std::string_view name, const Caller& caller) {
  MutexLock lock(mutex_);
  Inode& parent = inode_of(directory);
  if (!parent.is_directory()) return fail(std::errc::not_a_directory);
  if (auto good = check_name(name); !good) return std::unexpected(good.error());
  if (auto allowed = check_access(parent, kMayExecute, caller); !allowed)
    return std::unexpected(allowed.error());
  const DirectorySlot* slot = parent.entries.find(name);
  if (slot == nullptr) return fail(std::errc::no_such_file_or_directory);
  return entry_of(slot->node);
}

NodeRef MemFs::new_inode(const Inode& directory, FileKind kind, uint32_t mode, const Caller& caller) {
  NodeRef node(new Inode(owner_, kind, next_generation_++, options_.case_sensitive));
  Inode& inode = inode_of(node);
  inode.uid = caller.uid;
  inode.gid = caller.gid;
  inode.mode = mode & ~caller.umask & 07777;
  if ((directory.mode & S_ISGID) != 0) {
    inode.gid = directory.gid;
    if (inode.is_directory()) inode.mode |= S_ISGID;
  }
  touch_content(inode);
  inode.atime = inode.btime = inode.mtime;
  return node;
}

void MemFs::add_entry(Inode& directory, std::string_view name, const NodeRef& node) {
  Inode& inode = inode_of(node);
  directory.entries.insert(name, node);
  inode.nlink += inode.is_directory() ? 2 : 1;
  if (inode.is_directory()) {
    inode.parent = &directory;
    ++directory.nlink;
  }
  touch_content(directory);
}

void MemFs::drop_name(Inode& directory, Inode& inode) {
  if (inode.is_directory()) {
    inode.nlink = 0;
    inode.parent = nullptr;
    --directory.nlink;
  } else {
    --inode.nlink;
  }
  touch_attributes(inode);
  touch_content(directory);
}

Result<CreatedFile> MemFs::create(Place place, const CreateOptions& options, const Caller& caller) {
  Pages dropped;  // freed after the lock is released
  MutexLock lock(mutex_);
  Inode& directory = inode_of(place.directory);
  if (!directory.is_directory()) return fail(std::errc::not_a_directory);
  if (auto good = check_name(place.name); !good) return std::unexpected(good.error());
  const DirectorySlot* slot = directory.entries.find(place.name);
  const bool made = slot == nullptr;
  if (!made && options.exclusive) return fail(std::errc::file_exists);
  NodeRef node;
  if (made) {
    if (auto good = check_change_of(directory, place.name, caller); !good)
      return std::unexpected(good.error());
    node = new_inode(directory, FileKind::regular, options.mode, caller);
  } else {
    if (auto allowed = check_access(directory, kMayExecute, caller); !allowed)
      return std::unexpected(allowed.error());
    node = slot->node;
  }
  if (auto good = check_open(inode_of(node), options.open, caller, made); !good)
    return std::unexpected(good.error());
  if (made) add_entry(directory, place.name, node);
  auto file = open_inode(node, options.open, dropped);
  return CreatedFile{.entry = entry_of(node), .file = std::move(file), .created = made};
}

Result<Entry> MemFs::make(Place place, const NewNode& spec, const Caller& caller) {
  MutexLock lock(mutex_);
  Inode& directory = inode_of(place.directory);
  if (auto good = check_change_of(directory, place.name, caller); !good) return std::unexpected(good.error());
  if (directory.entries.find(place.name) != nullptr) return fail(std::errc::file_exists);
  const bool symlink = spec.kind == FileKind::symlink;
  if (symlink && spec.target.empty()) return fail(std::errc::no_such_file_or_directory);
  if (symlink && spec.target.size() > kTargetMax) return fail(std::errc::filename_too_long);
  if (symlink && spec.target.find('\0') != std::string_view::npos) return fail(std::errc::invalid_argument);
  NodeRef node = new_inode(directory, spec.kind, spec.mode, caller);
  Inode& inode = inode_of(node);
  if (symlink) {
    inode.mode = 0777;
    inode.target = spec.target;
    inode.size = spec.target.size();
  }
  if (spec.kind == FileKind::char_device || spec.kind == FileKind::block_device) inode.rdev = spec.rdev;
  add_entry(directory, place.name, node);
  return entry_of(node);
}

Result<Entry> MemFs::link(Node& node, Place place, const Caller& caller) {
  MutexLock lock(mutex_);
  Inode& inode = inode_of(node);
  Inode& directory = inode_of(place.directory);
  if (auto good = check_change_of(directory, place.name, caller); !good) return std::unexpected(good.error());
  if (directory.entries.find(place.name) != nullptr) return fail(std::errc::file_exists);
  if (inode.is_directory()) return fail(std::errc::operation_not_permitted);
  if (inode.nlink == 0) return fail(std::errc::no_such_file_or_directory);
  touch_attributes(inode);
  add_entry(directory, place.name, NodeRef(&node));
  return entry_of(NodeRef(&node));
}

Result<void> MemFs::remove(Place place, RemoveKind kind, const Caller& caller) {
  NodeRef removed;  // freed after the lock is released
  MutexLock lock(mutex_);
  Inode& directory = inode_of(place.directory);
  if (auto good = check_change_of(directory, place.name, caller); !good) return good;
  const DirectorySlot* slot = directory.entries.find(place.name);
  if (slot == nullptr) return fail(std::errc::no_such_file_or_directory);
  Inode& inode = inode_of(slot->node);
  if (auto allowed = check_removal(directory, inode, caller); !allowed) return allowed;
  if (kind == RemoveKind::file && inode.is_directory()) return fail(std::errc::is_a_directory);
  if (kind == RemoveKind::directory && !inode.is_directory()) return fail(std::errc::not_a_directory);
  if (inode.entries.size() != 0) return fail(std::errc::directory_not_empty);
  removed = directory.entries.erase(place.name);
  drop_name(directory, inode);
  return {};
}

}  // namespace cachefs::mem
