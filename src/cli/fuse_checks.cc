#include "cli/fuse_checks.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <pwd.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

#include "server/unique_fd.h"

namespace cachefs::cli {
namespace {

const std::array<std::string, 17> kFlags{"allow_other", "allow_root", "auto_unmount", "default_permissions",
                                         "rw",          "ro",         "suid",         "nosuid",
                                         "dev",         "nodev",      "exec",         "noexec",
                                         "async",       "sync",       "dirsync",      "atime",
                                         "noatime"};
/// Options of mount(8) that mean nothing for FUSE: when a file was read, the source alone records.
const std::array<std::string, 5> kMeaningless{"diratime", "nodiratime", "relatime", "norelatime",
                                              "strictatime"};
/// What libfuse sets for no mount, but the kernel for one that there is.
constexpr const char* kRemountOnly = "nosymfollow";

template <typename Options>
bool contains(const Options& options, std::string_view option) {
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

/// Where PATH leads; empty: nowhere.
std::string find_in_path(const std::string& program) {
  const char* list = std::getenv("PATH");
  std::istringstream folders(list != nullptr ? list : "/usr/bin:/bin");
  for (std::string folder; std::getline(folders, folder, ':');) {
    std::string path = fmt::format("{}/{}", folder, program);
    if (::access(path.c_str(), X_OK) == 0) return path;
  }
  return {};
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

/// What root's right to mount comes from: the bit, or a capability of the file.
bool has_rights_of_its_own(const std::string& program) {
  struct stat status{};
  if (::stat(program.c_str(), &status) != 0) return false;
  const bool runs_as_root = (status.st_mode & S_ISUID) != 0 && status.st_uid == 0;
  return runs_as_root || ::getxattr(program.c_str(), "security.capability", nullptr, 0) > 0;
}

/// That fusermount3 can mount for this user, as far as can be seen: what it says itself is short.
Outcome<void> check_fusermount() {
  const std::string program = find_in_path("fusermount3");
  if (program.empty()) {
    return refuse(
        "fusermount3 is missing, which mounts for ordinary users; install the package fuse3, or run as root");
  }
  if (!has_rights_of_its_own(program)) {
    return refuse(fmt::format(
        "{0} may not mount, as it does not run as root; have root run `chmod u+s {0}`, or mount as "
        "root",
        program));
  }
  if (::getpwuid(::getuid()) == nullptr) {  // NOLINT(concurrency-mt-unsafe): before any thread
    return refuse(fmt::format(
        "user {} has no entry in /etc/passwd, which fusermount3 wants; add the user, or mount as root",
        ::getuid()));
  }
  return {};
}

}  // namespace

Outcome<void> check_fuse() {
  if (const auto device = check_device(); !device) return device;
  return ::geteuid() == 0 ? Outcome<void>() : check_fusermount();
}

bool is_fuse_option(const std::string& option) {
  const std::string name = option.substr(0, option.find('='));
  return name == "fsname" || name == "subtype" || option == kRemountOnly || contains(kFlags, option) ||
         contains(kMeaningless, option);
}

std::vector<std::string> fuse_option_names() { return {kFlags.begin(), kFlags.end()}; }

Outcome<std::vector<std::string>> check_fuse_options(const std::vector<std::string>& given) {
  std::vector<std::string> options;
  for (const std::string& option : given) {
    if (const std::string name = option.substr(0, option.find('=')); name == "fsname" || name == "subtype") {
      return refuse_usage(fmt::format("-o {}: cachefs sets it itself; leave it out", name));
    }
    if (option == kRemountOnly) {
      return refuse(fmt::format(
          "-o {0}: a mount cannot begin with it; leave it out, then: mount -o remount,{0} MOUNTPOINT",
          option));
    }
    const bool always_on = option == "default_permissions";
    if (!always_on && !contains(kMeaningless, option)) options.push_back(option);
  }
  const auto opened = std::ranges::find_if(
      options, [](const std::string& option) { return option == "allow_other" || option == "allow_root"; });
  if (::geteuid() == 0 && opened == options.end()) {
    options.emplace_back("allow_other");
  } else if (::geteuid() != 0 && opened != options.end() && !users_may_allow_other()) {
    return refuse(
        fmt::format("-o {}: /etc/fuse.conf does not let users do it; have root add the line "
                    "`user_allow_other` there, or leave the option out",
                    *opened));
  }
  return options;
}

}  // namespace cachefs::cli
