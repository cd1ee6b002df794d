// Owned file descriptors, and the system calls that make them without ever leaving a directory.
#pragma once

#include <fcntl.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "cachefs/error.h"

namespace cachefs::posix {

/// A descriptor that is closed when it is destroyed. What a close could tell is asked for by close_now().
///
/// It knows the epoch of the root that led to it (see PosixRoot): one that was opened slowly may be of a root
/// that has been let go of when the open ends.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd, uint32_t epoch = 0) : fd_(fd), epoch_(epoch) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)), epoch_(other.epoch_) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    std::swap(fd_, other.fd_);
    std::swap(epoch_, other.epoch_);
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd();

  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] bool valid() const { return fd_ >= 0; }
  [[nodiscard]] uint32_t epoch() const { return epoch_; }
  int release() { return std::exchange(fd_, -1); }

  /// Closes and returns 0 or the errno. The descriptor is gone in any case.
  int close_now();

 private:
  int fd_ = -1;
  uint32_t epoch_ = 0;
};

/// A descriptor that several operations use at once; closed when the last one lets go.
using SharedFd = std::shared_ptr<const UniqueFd>;

inline SharedFd share(UniqueFd fd) { return std::make_shared<const UniqueFd>(std::move(fd)); }

/// What a successful system call gives, else its errno as an Error. Everyday answers (ENOENT, EEXIST) carry
/// no text.
std::unexpected<Error> failed(int errno_value, std::string_view doing, std::string_view name = {});

/// Whether that directory has no name any more; without asking a server.
bool is_removed(const UniqueFd& directory);

/// Whether a name may lead to what is mounted there; if not, that fails with EXDEV.
enum class Crossing : bool { refused, allowed };

/// Opens the single component `name` in `directory` without following a symlink and without leaving the
/// directory. Returns the descriptor, or -1 with errno set. Without openat2 `crossing` is not heeded.
int open_beneath(int directory, const std::string& name, int flags, mode_t mode = 0,
                 Crossing crossing = Crossing::allowed);

/// "/proc/self/fd/N": a path that leads to whatever `fd` is, a symlink itself included.
class ProcPath {
 public:
  explicit ProcPath(int fd);
  [[nodiscard]] const char* c_str() const { return text_; }

  /// Whether such paths work in this process.
  static bool available();

 private:
  char text_[32];
};

/// EINVAL for what is no single component, ENAMETOOLONG for what is longer than `name_max`.
Result<void> check_name(std::string_view name, uint32_t name_max);

}  // namespace cachefs::posix
