#include "mount/write_back.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace cachefs::mount {

std::optional<WriteBack> WriteBack::hold(const std::string& mountpoint, const std::string& device) {
  const int fd = open(mountpoint.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return std::nullopt;
  WriteBack held(fd);
  struct stat status{};
  if (fstat(fd, &status) != 0) return std::nullopt;
  if (fmt::format("{}:{}", major(status.st_dev), minor(status.st_dev)) != device) return std::nullopt;
  return held;
}

WriteBack::WriteBack(WriteBack&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

WriteBack::~WriteBack() {
  if (fd_ >= 0) ::close(fd_);
}

Result<void> WriteBack::run() const {
  if (syncfs(fd_) != 0) return fail_errno(errno, "writing back what was written through mappings");
  return {};
}

void WriteBack::make_round_trip() const {
  struct statfs unused{};
  fstatfs(fd_, &unused);
}

}  // namespace cachefs::mount
