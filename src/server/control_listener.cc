#include "server/control_listener.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <chrono>

#include "server/control_client.h"

namespace cachefs::server {
namespace {

constexpr int kBacklog = 64;

/// Holds flock on a directory; the sections under it are a few system calls long.
class DirectoryLock {
 public:
  explicit DirectoryLock(int directory) : directory_(directory) {
    while (::flock(directory_, LOCK_EX) != 0 && errno == EINTR) {
    }
  }
  ~DirectoryLock() { ::flock(directory_, LOCK_UN); }
  DirectoryLock(const DirectoryLock&) = delete;
  DirectoryLock& operator=(const DirectoryLock&) = delete;

 private:
  int directory_;
};

/// The inode of the socket's own file.
Result<ino_t> inode_of(int directory, const std::string& name) {
  struct stat status{};
  if (::fstatat(directory, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) return fail_errno(errno);
  return status.st_ino;
}

/// True once whoever listens at `path` has gone. A daemon closes its connections when it ends: no need to ask
/// twice.
bool wait_for_end(const std::string& path, std::chrono::milliseconds patience) {
  const auto connection = connect_control(path, patience);
  if (!connection) return true;
  pollfd waiting{.fd = connection->get(), .events = POLLIN | POLLRDHUP, .revents = 0};
  return ::poll(&waiting, 1, static_cast<int>(patience.count())) > 0;
}

Result<UniqueFd> bind_new(int directory, const std::string& name, const std::string& path) {
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return fail_errno(errno, "make the control socket");
  const auto address = control_address(path);
  if (!address) return std::unexpected(address.error());
  if (::bind(socket.get(), address->pointer(), sizeof(sockaddr_un)) != 0 ||
      ::fchmodat(directory, name.c_str(), 0600, 0) != 0 || ::listen(socket.get(), kBacklog) != 0) {
    return fail_errno(errno, fmt::format("bind the control socket '{}'", path));
  }
  return socket;
}

/// Removes what is at `path` unless somebody listens there.
Result<void> remove_leftover(int directory, const std::string& name, const std::string& path) {
  const auto connection = connect_control(path, std::chrono::milliseconds(100));
  if (connection || connection.error().is(std::errc::timed_out)) return fail(std::errc::address_in_use);
  if (::unlinkat(directory, name.c_str(), 0) != 0 && errno != ENOENT) {
    return fail_errno(errno, fmt::format("remove the leftover socket '{}'", path));
  }
  return {};
}

}  // namespace

ControlListener::ControlListener(UniqueFd directory, UniqueFd socket, std::string name, std::string path,
                                 ino_t inode)
    : directory_(std::move(directory)),
      socket_(std::move(socket)),
      name_(std::move(name)),
      path_(std::move(path)),
      inode_(inode) {}

Result<std::unique_ptr<ControlListener>> ControlListener::bind(const std::string& directory,
                                                               const std::string& name,
                                                               std::chrono::milliseconds patience) {
  const std::string path = directory + "/" + name;
  UniqueFd handle(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!handle) return fail_errno(errno, fmt::format("open '{}'", directory));
  const auto deadline = std::chrono::steady_clock::now() + patience;
  for (;;) {
    {
      const DirectoryLock lock(handle.get());
      const auto removed = remove_leftover(handle.get(), name, path);
      if (removed) {
        auto socket = bind_new(handle.get(), name, path);
        if (!socket) return std::unexpected(socket.error());
        const auto inode = inode_of(handle.get(), name);
        if (!inode) return std::unexpected(inode.error());
        return std::unique_ptr<ControlListener>(
            new ControlListener(std::move(handle), std::move(*socket), name, path, *inode));
      }
      if (!removed.error().is(std::errc::address_in_use)) return std::unexpected(removed.error());
    }
    // The last one may have let go of our connection and still be about to close its socket: then once more.
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0 || !wait_for_end(path, left)) return fail(std::errc::address_in_use);
  }
}

ControlListener::~ControlListener() {
  const DirectoryLock lock(directory_.get());
  const auto inode = inode_of(directory_.get(), name_);
  if (inode && *inode == inode_)
    ::unlinkat(directory_.get(), name_.c_str(), 0);  // a leftover is replaced anyway
}

}  // namespace cachefs::server
