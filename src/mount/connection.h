// The connection of a mount, as the kernel lets it be controlled.
#pragma once

#include <string>

namespace cachefs::mount {

/// Makes the kernel end the connection: all that waits for an answer fails, all that is asked later too.
/// `device`: MAJOR:MINOR of the mount (see device_of); `end`: the session's end, which tells whether that
/// number still is its own. False if it is not, or where that is not allowed (others than root need fusectl
/// to be mounted).
bool abort_connection(const std::string& device, int end);

}  // namespace cachefs::mount
