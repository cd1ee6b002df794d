// What a daemon has from its caller and must not keep.
#pragma once

#include "server/unique_fd.h"

namespace cachefs::server {

/// Closes every descriptor above stderr but `kept`, which may move: a lock of the caller's, or a pipe whose
/// end it waits for, would be held as long as the daemon lives. For a new process that owns none of them.
UniqueFd close_inherited(UniqueFd kept);

}  // namespace cachefs::server
