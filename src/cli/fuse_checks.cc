#include "cli/fuse_checks.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

#include "cli/nearest.h"
#include "server/unique_fd.h"

namespace cachefs::cli {
namespace {

const std::array<std::string, 23> kFlags{"allow_other", "allow_root",  "auto_unmount", "default_permissions",
                                         "rw",          "ro",          "suid",         "nosuid",
                                         "dev",         "nodev",       "exec",         "noexec",
                                         "async",       "sync",        "dirsync",      "atime",
                                         "noatime",     "diratime",    "nodiratime",   "relatime",
                                         "norelatime",  "strictatime", "nosymfollow"};

bool contains(const std::vector<std::string>& options, std::string_view option) {
  return std::find(options.begin(), options.end(), option) != options.end();
}

/// /etc/fuse.conf lets ordinary users open their mounts to others.
bool users_may_allow_other() {
  std::ifstream file("/etc/fuse.conf");
  for (std::string line, word; std::getline(file, line);) {
    if (std::istringstream(line) >> word && word == "user_allow_other") return true;
  }
  return false;
}

bool in_path(const std::string& program) {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path != nullptr ? path : "/usr/bin:/bin");
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (::access(fmt::format("{}/{}", folder, program).c_str(), X_OK) == 0) return true;
  }
  return false;
}

Outcome<void> check_option(const std::string& option) {
  const std::string name = option.substr(0, option.find('='));
  if (name == "fsname" || name == "subtype") {
    return refuse_usage(fmt::format("-o {}: cachefs sets it itself; leave it out", name));
  }
  if (std::find(kFlags.begin(), kFlags.end(), option) != kFlags.end()) return {};
  return refuse_usage(fmt::format("-o {}: cachefs has no such option{}; `cachefs mount --help` lists them",
                                  option, did_you_mean(name, kFlags)));
}

Outcome<void> check_device() {
  struct stat status{};
  if (::stat("/dev/fuse", &status) == 0 && !S_ISCHR(status.st_mode)) {
    return refuse(
        "/dev/fuse is not the device but something else of that name; have root make it anew: "
        "rm -r /dev/fuse && mknod -m 666 /dev/fuse c 10 229");
  }
  const server::UniqueFd device(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
  if (device) return {};
  const std::string why = std::strerror(errno);  // NOLINT(concurrency-mt-unsafe): before any thread
  if (errno == EACCES) {
    return refuse(
        fmt::format("cannot open /dev/fuse ({}); mount as root, or have root open it to all users: "
                    "chmod 666 /dev/fuse",
                    why));
  }
  return refuse(
      fmt::format("cannot open /dev/fuse ({}); run `modprobe fuse` as root and install the package fuse3, "
                  "or start the container with --device /dev/fuse --cap-add SYS_ADMIN",
                  why));
}

}  // namespace

Outcome<void> check_fuse() {
  if (const auto device = check_device(); !device) return device;
  if (::geteuid() != 0 && !in_path("fusermount3")) {
    return refuse(
        "fusermount3 is missing, which mounts for ordinary users; install the package fuse3, or run as root");
  }
  return {};
}

Outcome<std::vector<std::string>> check_fuse_options(const std::vector<std::string>& given) {
  std::vector<std::string> options;
  for (const std::string& list : given) {
    std::istringstream parts(list);
    for (std::string option; std::getline(parts, option, ',');) {
      if (option.empty()) continue;
      if (const auto known = check_option(option); !known) return std::unexpected(known.error());
      if (option != "default_permissions") options.push_back(option);  // always on
    }
  }
  const bool opened = contains(options, "allow_other") || contains(options, "allow_root");
  if (::geteuid() == 0 && !opened) options.emplace_back("allow_other");
  if (::geteuid() != 0 && opened && !users_may_allow_other()) {
    return refuse(
        "-o allow_other: /etc/fuse.conf does not let users do it; have root add the line `user_allow_other` "
        "there, or leave the option out");
  }
  return options;
}

}  // namespace cachefs::cli
