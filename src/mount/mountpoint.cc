#include "mount/mountpoint.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <optional>
#include <sstream>

namespace cachefs::mount {
namespace {

/// /proc/self/mountinfo writes blanks and the like as \ooo.
std::string unescape(const std::string& text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      plain.push_back(static_cast<char>(std::stoi(text.substr(i + 1, 3), nullptr, 8)));
      i += 3;
    } else {
      plain.push_back(text[i]);
    }
  }
  return plain;
}

bool run_fusermount(const std::string& mountpoint) {
  std::string program = "fusermount3", flags = "-uqz", end = "--", path = mountpoint;
  char* const arguments[] = {program.data(), flags.data(), end.data(), path.data(), nullptr};
  pid_t child = 0;
  if (const int error = posix_spawnp(&child, program.c_str(), nullptr, nullptr, arguments, environ);
      error != 0) {
    errno = error;
    return false;
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return false;
  }
  errno = EPERM;
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace

std::optional<std::string> device_of(const std::string& mountpoint) {
  std::ifstream mounts("/proc/self/mountinfo");
  std::optional<std::string> device;
  std::string line;
  while (std::getline(mounts, line)) {
    std::istringstream fields(line);
    std::string id, parent, number, root, path;
    fields >> id >> parent >> number >> root >> path;
    if (unescape(path) == mountpoint) device = number;
  }
  return device;
}

bool unmount_lazily(const std::string& mountpoint) {
  if (umount2(mountpoint.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0) return true;
  return errno == EPERM && run_fusermount(mountpoint);
}

bool raise_read_ahead(const std::string& device, uint32_t kib) {
  std::ofstream setting(fmt::format("/sys/class/bdi/{}/read_ahead_kb", device));
  return static_cast<bool>(setting << kib << std::flush);
}

}  // namespace cachefs::mount
