// What programs have written through mappings, and the kernel not yet to the mount.
#pragma once

#include <optional>
#include <string>

#include "cachefs/error.h"

namespace cachefs::mount {

/// Holds a mount, so that the kernel's dirty pages of it can be written back even when it has no name any
/// more. A mount that is held does not end.
class WriteBack {
 public:
  /// Opens the root of the mount, which asks the session itself: to be called while that serves. nullopt if
  /// `mountpoint` does not lead to the file system with that device number (see device_of) any more.
  static std::optional<WriteBack> hold(const std::string& mountpoint, const std::string& device);
  WriteBack(WriteBack&& other) noexcept;
  WriteBack& operator=(WriteBack&&) = delete;
  ~WriteBack();

  /// Makes the kernel write all that is dirty. Where the kernel does not wait for the answers (from 6.19 on,
  /// and before 6.16), they are under way when this returns. Errors: those of some write.
  [[nodiscard]] Result<void> run() const;
  /// A question that the session answers, whatever its answer: it has then read all that the kernel had ready
  /// for it before.
  void make_round_trip() const;

 private:
  explicit WriteBack(int fd) : fd_(fd) {}

  int fd_;
};

}  // namespace cachefs::mount
