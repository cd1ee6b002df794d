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

/// What statx says of `fd`, of any kind and O_PATH too, asked of the server where there is one.
Result<struct statx> read_status(int fd);

/// 0 where no source is to be used or none is known of this file.
uint64_t read_generation(int fd, const struct statx& status, GenerationSources sources);

FileIdentity identity_of(const struct statx& status, uint64_t generation);
Attributes attributes_of(const struct statx& status, uint64_t generation);

}  // namespace cachefs::posix
