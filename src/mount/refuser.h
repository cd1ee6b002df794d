// Answers for a mount whose loop has been left.
#pragma once

#include <thread>

namespace cachefs::mount {

/// From its construction to its destruction a thread refuses (ENOTCONN) what the kernel asks. A loop that has
/// been left reads no requests any more, but programs still have files open: those must not wait, and what
/// the kernel holds for their requests (locks of pages and directories) must come free, for the Notifier
/// waits for it.
class Refuser {
 public:
  /// `device`: the connection to the kernel, which nobody else reads any more.
  explicit Refuser(int device);
  ~Refuser();
  Refuser(const Refuser&) = delete;
  Refuser& operator=(const Refuser&) = delete;

 private:
  void refuse_all() const;

  const int device_;
  int end_event_;  ///< -1 if there is none to be had: then nothing is refused
  std::thread thread_;
};

}  // namespace cachefs::mount
