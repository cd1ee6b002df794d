// Taking a mount away.
#pragma once

#include <cstdint>
#include <string>

#include "cachefs/error.h"

namespace cachefs::cli {

enum class UnmountKind : uint8_t {
  if_unused,  ///< EBUSY while anybody uses it
  detach,     ///< out of sight at once, gone with its last user: for mounts whose daemon is dead
};

/// As root by the system call, else by fusermount3. Sends nothing to the mount's daemon but the end of the
/// connection. Errors: ebusy, eperm (somebody else's mount), einval (no mount), enoent (fusermount3 is not
/// installed).
Result<void> unmount(const std::string& mountpoint, UnmountKind kind);

}  // namespace cachefs::cli
