#include "vfs/mem_fs_access.h"

#include <sys/stat.h>

#include <algorithm>

namespace cachefs::mem {

bool is_member(uint32_t gid, const Caller& caller) {
  return caller.gid == gid || std::ranges::find(caller.groups, gid) != caller.groups.end();
}

bool is_owner(const Inode& inode, const Caller& caller) { return caller.uid == 0 || caller.uid == inode.uid; }

bool may_access(const Inode& inode, uint32_t wanted, const Caller& caller) {
  if (caller.uid == 0) return true;
  uint32_t granted = inode.mode;
  if (caller.uid == inode.uid) {
    granted >>= 6;
  } else if (is_member(inode.gid, caller)) {
    granted >>= 3;
  }
  return (granted & wanted) == wanted;
}

bool may_remove_entry(const Inode& directory, const Inode& inode, const Caller& caller) {
  return (directory.mode & S_ISVTX) == 0 || is_owner(directory, caller) || is_owner(inode, caller);
}

Result<void> may_change(const Inode& inode, const AttributeChange& change, const Caller& caller,
                        bool by_handle) {
  const bool owner = is_owner(inode, caller);
  if (change.mode && !owner) return fail(std::errc::operation_not_permitted);
  if (change.uid && caller.uid != 0 && !(owner && *change.uid == inode.uid)) {
    return fail(std::errc::operation_not_permitted);
  }
  if (change.gid && caller.uid != 0 &&
      !(owner && (*change.gid == inode.gid || is_member(*change.gid, caller)))) {
    return fail(std::errc::operation_not_permitted);
  }
  if (change.size && !by_handle && !may_access(inode, kMayWrite, caller))
    return fail(std::errc::permission_denied);
  for (const auto& time : {change.atime, change.mtime}) {
    if (!time || owner) continue;
    if (!time->now) return fail(std::errc::operation_not_permitted);
    if (!may_access(inode, kMayWrite, caller)) return fail(std::errc::permission_denied);
  }
  return {};
}

uint32_t without_set_id(uint32_t mode) {
  mode &= ~static_cast<uint32_t>(S_ISUID);
  if ((mode & S_IXGRP) != 0) mode &= ~static_cast<uint32_t>(S_ISGID);
  return mode;
}

}  // namespace cachefs::mem
