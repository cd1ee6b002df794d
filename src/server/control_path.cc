#include "server/control_path.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <cctype>
#include <cstdlib>

namespace cachefs::server {
namespace {

constexpr size_t kReadableNameMax = 32;  // a socket's path has 107 bytes in all

std::string readable_tail(std::string_view mountpoint) {
  std::string tail;
  const std::string_view name = mountpoint.substr(mountpoint.rfind('/') + 1);
  for (const char c : name.substr(0, kReadableNameMax)) {
    const bool plain = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '_' || c == '-';
    tail += plain ? c : '_';
  }
  return tail;
}

}  // namespace

std::vector<std::string> control_directories(uid_t uid) {
  if (uid == 0) return {"/run/cachefs", "/tmp/cachefs-0"};
  std::vector<std::string> directories;
  const char* runtime = uid == ::geteuid() ? std::getenv("XDG_RUNTIME_DIR") : nullptr;
  if (runtime != nullptr && runtime[0] == '/') directories.push_back(std::string(runtime) + "/cachefs");
  directories.push_back(fmt::format("/run/user/{}/cachefs", uid));
  directories.push_back(fmt::format("/tmp/cachefs-{}", uid));
  return directories;
}

std::string control_socket_name(std::string_view mountpoint) {
  const uint64_t hash = XXH3_64bits(mountpoint.data(), mountpoint.size());
  return fmt::format("{:016x}-{}.sock", hash, readable_tail(mountpoint));
}

Result<void> check_control_directory(const std::string& directory, uid_t uid) {
  struct stat status{};
  if (::lstat(directory.c_str(), &status) != 0)
    return fail_errno(errno, fmt::format("look at '{}'", directory));
  const auto unsafe = [&](std::string_view why) {
    return fail(std::errc::operation_not_permitted,
                fmt::format("'{}' is not safe for the control socket: {}; remove it", directory, why));
  };
  if (!S_ISDIR(status.st_mode)) return unsafe("it is not a directory");
  if (status.st_uid != uid) return unsafe(fmt::format("it belongs to user {}, not {}", status.st_uid, uid));
  if ((status.st_mode & 077) != 0)
    return unsafe(fmt::format("its mode is {:04o}, not 0700", status.st_mode & 07777));
  return {};
}

Result<std::vector<std::string>> make_control_directories() {
  Error last(std::errc::no_such_file_or_directory);
  std::vector<std::string> usable;
  for (const std::string& directory : control_directories(::geteuid())) {
    if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
      last = Error::from_errno(errno, fmt::format("make '{}'", directory));
      continue;
    }
    if (const auto safe = check_control_directory(directory, ::geteuid()); !safe) {
      last = safe.error();
    } else {
      usable.push_back(directory);
    }
  }
  if (usable.empty()) return std::unexpected(last);
  return usable;
}

}  // namespace cachefs::server
