// The listening end of a control socket, and its file.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <memory>
#include <string>

#include "cachefs/error.h"
#include "server/unique_fd.h"

namespace cachefs::server {

/// A bound, listening Unix socket of mode 0600 that removes its own file at the end, and never another's.
class ControlListener {
 public:
  /// Binds `name` in `directory`, which must be safe (make_control_directories). The leftover of a dead
  /// daemon is replaced; for a live one, which may just be ending, waits up to `patience`. Non-blocking;
  /// backlog of 64. Errors: eaddrinuse (a live daemon has it), enametoolong, eio and others of bind.
  static Result<std::unique_ptr<ControlListener>> bind(const std::string& directory, const std::string& name,
                                                       std::chrono::milliseconds patience);
  ~ControlListener();
  ControlListener(const ControlListener&) = delete;
  ControlListener& operator=(const ControlListener&) = delete;

  [[nodiscard]] int fd() const { return socket_.get(); }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  ControlListener(UniqueFd directory, UniqueFd socket, std::string name, std::string path, ino_t inode);

  UniqueFd directory_;  // its flock orders the checks and removals of all daemons of this user
  UniqueFd socket_;
  std::string name_;
  std::string path_;
  ino_t inode_;  // of the socket's file: another daemon may have put its own in its place
};

}  // namespace cachefs::server
