// Who may do what to a file of MemFs: the rules of a kernel, as pure functions.
#pragma once

#include <cstdint>

#include "cachefs/file_system.h"
#include "vfs/mem_fs_inode.h"

namespace cachefs::mem {

inline constexpr uint32_t kMayExecute = 1, kMayWrite = 2, kMayRead = 4;

/// Mode bits against the caller; uid 0 may everything.
bool may_access(const Inode& inode, uint32_t wanted, const Caller& caller);
bool is_owner(const Inode& inode, const Caller& caller);
bool is_member(uint32_t gid, const Caller& caller);
/// Whether the sticky bit of `directory` leaves an entry that leads to `inode` to the caller.
bool may_remove_entry(const Inode& directory, const Inode& inode, const Caller& caller);
/// chown, chmod, utimens and truncate by path; EPERM or EACCES. `by_handle`: the size needs no access.
Result<void> may_change(const Inode& inode, const AttributeChange& change, const Caller& caller,
                        bool by_handle);

/// The mode after the loss of set-id bits that a change of content or owner brings.
uint32_t without_set_id(uint32_t mode);

}  // namespace cachefs::mem
