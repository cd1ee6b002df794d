// What statx tells of a file, in the words of attributes.h.
#pragma once

#include <sys/stat.h>

#include "cachefs/attributes.h"
#include "cachefs/error.h"

namespace cachefs::posix {

/// What is mixed into FileIdentity::generation, so that a reused inode number is another file.
struct GenerationSources {
  bool birth_time = false;
  bool handle = false;  ///< name_to_handle_at: holds the inode's generation number on local file systems
};

/// What is shown as inode numbers. Files of what is mounted below the root may have the number of another
/// file here, and everything above a mount looks like one device: programs would take two such files for hard
/// links of each other. So theirs are replaced by a hash of device and number, above all that file systems
/// use themselves.
class InodeNumbers {
 public:
  explicit InodeNumbers(uint64_t root_device) : root_device_(root_device) {}
  [[nodiscard]] uint64_t shown(uint64_t device, uint64_t inode) const;

 private:
  uint64_t root_device_;
};

uint64_t device_of(const struct statx& status);

/// What statx says of `fd`, of any kind and O_PATH too, asked of the server where there is one.
Result<struct statx> read_status(int fd);

/// The device number of what `fd` leads to. Asks the file system nothing: it may be waiting for us. 0: not
/// known.
uint64_t read_device(int fd);

/// 0 where no source is to be used or none is known of this file.
/// Tells the places apart in which one directory shows, if something is mounted below the root (a bind mount
/// of a part of it, say): to the kernel each is a directory of its own, and a path leads back to where it
/// came from. 0 in the root's own mount. A file is one file wherever it shows.
uint64_t appearance_of(const struct statx& status, uint64_t root_mount);

uint64_t read_generation(int fd, const struct statx& status, GenerationSources sources);

FileIdentity identity_of(const struct statx& status, uint64_t generation);
Attributes attributes_of(const struct statx& status, uint64_t generation);

}  // namespace cachefs::posix
