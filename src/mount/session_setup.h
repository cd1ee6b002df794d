// How libfuse is asked for a session, and what it says while it makes one.
#pragma once

#include <fuse_lowlevel.h>

#include <expected>
#include <string>

#include "cachefs/error.h"
#include "mount/mount_state.h"
#include "mount/session.h"

namespace cachefs::mount {

/// Keeps what libfuse says in this thread, which it tells nobody in another way, as long as it lives.
class LogCapture {
 public:
  LogCapture();
  ~LogCapture();
  LogCapture(const LogCapture&) = delete;
  LogCapture& operator=(const LogCapture&) = delete;

  /// An error with what was said, after a call that failed.
  [[nodiscard]] std::unexpected<Error> error(int value, const std::string& doing) const;

 private:
  std::string text_;
};

/// A session with all operations, not yet mounted. Null if libfuse does not take the options.
fuse_session* new_session(const SessionOptions& options, MountState& mount);

}  // namespace cachefs::mount
