// The mount as the machine shows it: unmounting, and the settings of its device.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace cachefs::mount {

/// MAJOR:MINOR of what is mounted last on `mountpoint`. Asks the file system itself nothing.
std::optional<std::string> device_of(const std::string& mountpoint);

/// Takes the mount out of the name space; it ends once nobody uses it. False, with errno set, if it was not
/// mounted or may not be.
bool unmount_lazily(const std::string& mountpoint);

/// Makes the kernel read ahead up to `kib` KiB in files of the mount of that device number, where that is
/// allowed (root): libfuse cannot ask for more than 128 KiB. To be called after the kernel has the answer to
/// INIT, which sets it anew. A matter of speed alone; false where it is not allowed.
bool raise_read_ahead(const std::string& device, uint32_t kib);

}  // namespace cachefs::mount
