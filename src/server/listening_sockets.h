// Who listens, as the kernel knows it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <istream>
#include <string>
#include <string_view>
#include <vector>

namespace cachefs::server {

struct ListeningSocket {
  std::string path;  ///< as it was bound: perhaps gone, perhaps another's now
  uint64_t inode = 0;
};

/// The sockets of `uid` that listen under the file name `name` in a directory that is `uid`'s alone (see
/// check_control_directory). Anybody may bind a socket of any name somewhere, and call his directories as he
/// likes in a name space of his own.
std::vector<ListeningSocket> find_listening(std::string_view name, uid_t uid);

/// The same without regard to owner and directory, of a table like /proc/net/unix, for kernels that answer
/// nothing better. Names may contain line ends: what does not look like the table's own line is skipped.
std::vector<ListeningSocket> find_listening(std::istream& table, std::string_view name);

}  // namespace cachefs::server
