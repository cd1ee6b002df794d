// A directory of this machine as a FileSystem. No path, symlink or race leads out of it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "cachefs/clock.h"
#include "cachefs/file_system.h"

namespace cachefs {

struct PosixFsOptions {
  /// Descriptors kept open for nodes; 0: a quarter of the soft limit of open files.
  uint32_t max_cached_descriptors = 0;
  /// Overrides what is known of the file system's type.
  std::optional<bool> stable_identity{};
  std::optional<std::chrono::nanoseconds> timestamp_granule{};
  std::optional<bool> local_clock{};
  /// Run each operation as its Caller (fsuid, fsgid, supplementary groups). Needs root; else ignored.
  bool switch_caller = true;
  /// What changes content drops set-id bits, also where this process may keep them (CAP_FSETID, as root has
  /// it). It gives that right up for the moment of each such call, in the calling thread alone.
  bool drop_set_id = true;
  /// Asked when a name leads to what is mounted below the directory, with its device number (st_dev): whether
  /// that serves this very PosixFs, as a mount that is shown within its own source does. It is not entered
  /// (ELOOP), nor asked anything. Null: there is none. Called from any thread.
  std::function<bool(uint64_t device)> is_own_mount{};
  /// Bounds the measurement of timestamps when the PosixFs is made; nothing else asks it.
  Clock* clock = &Clock::system();
};

/// Opens the directory at `path`, which must be readable. What is created gets its mode less Caller::umask;
/// the process's own umask, which threads cannot set apart, is taken off too: a daemon that serves callers
/// runs with umask(0). Errors: enoent, enotdir, eacces, with the path named.
Result<std::unique_ptr<FileSystem>> make_posix_fs(const std::string& path,
                                                  const PosixFsOptions& options = {});

}  // namespace cachefs
