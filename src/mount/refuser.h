// Answers for a mount whose loop has been left.
#pragma once

#include <fuse_lowlevel.h>

#include <thread>
#include <vector>

namespace cachefs::mount {

/// From its construction to its destruction a thread refuses (ENOTCONN) what the kernel asks. A loop that has
/// been left reads no requests any more, but programs still have files open: those must not wait, and what
/// the kernel holds for their requests (locks of pages and directories) must come free, for the Notifier
/// waits for it. That somebody who waits for an earlier request is interrupted is passed on to libfuse: a
/// program can be killed then too.
class Refuser {
 public:
  /// Nobody else reads from the session's device any more.
  explicit Refuser(fuse_session* session);
  ~Refuser();
  Refuser(const Refuser&) = delete;
  Refuser& operator=(const Refuser&) = delete;

 private:
  void refuse_all() const;
  [[nodiscard]] bool refuse_one(std::vector<char>& buffer) const;

  fuse_session* const session_;
  const int device_;
  int end_event_;  ///< -1 if there is none to be had: then nothing is refused
  std::thread thread_;
};

}  // namespace cachefs::mount
