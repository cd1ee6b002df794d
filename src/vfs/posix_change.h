// Changing attributes and creating as a caller: what FileSystem and File have in common.
#pragma once

#include "vfs/posix_descriptor.h"
#include "vfs/posix_node.h"

namespace cachefs::posix {

/// The file to change: through `path`, an O_PATH descriptor, or, where `content` is valid, through the open
/// file.
struct ChangeTarget {
  int path = -1;
  int content = -1;
  FileKind kind = FileKind::regular;
  bool drops_set_id = false;  ///< a change of size does (see ContentRights)
};

/// Applies owner, size, mode, times in this order (a change of owner or size may clear set-id bits, a change
/// of size sets times), as whoever the thread acts as. Mode of a symlink: ENOTSUP. Size of what is no regular
/// file: EISDIR, EINVAL.
Result<void> apply(const AttributeChange& change, const ChangeTarget& target);

}  // namespace cachefs::posix
