// Where the control socket of a mount is.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "cachefs/error.h"

namespace cachefs::server {

/// The directories that may hold the control sockets of `uid`, in the order in which a daemon tries them:
///   root   /run/cachefs, /tmp/cachefs-0 (a login's runtime directory would vanish with the login)
///   others $XDG_RUNTIME_DIR/cachefs (only if `uid` is the caller), /run/user/UID/cachefs, /tmp/cachefs-UID
std::vector<std::string> control_directories(uid_t uid);

/// The socket's name for a mount point (absolute, resolved): a hash, and its last component to be readable.
std::string control_socket_name(std::string_view mountpoint);

/// That `directory` is a real directory (no symlink) of `uid` that nobody else can enter.
/// Errors: enoent, eacces, eperm (unsafe; says what is wrong).
Result<void> check_control_directory(const std::string& directory, uid_t uid);

/// Those directories of the calling user that exist or can be made, and are safe; not empty. Errors: of the
/// last one, if none is.
Result<std::vector<std::string>> make_control_directories();

}  // namespace cachefs::server
