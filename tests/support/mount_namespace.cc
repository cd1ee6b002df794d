#include "support/mount_namespace.h"

#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <fstream>
#include <vector>

namespace cachefs::test {
namespace {

/// The new namespace has copies of the FUSE mounts of others; kept, they would outlive their unmounting.
bool let_go_of_other_mounts() {
  std::ifstream table("/proc/self/mounts");
  std::vector<std::string> paths;
  std::string source, path, type, rest;
  while (table >> source >> path >> type && std::getline(table, rest)) {
    if (type.starts_with("fuse.")) paths.push_back(path);
  }
  for (const std::string& mounted : paths) umount2(mounted.c_str(), MNT_DETACH);
  return true;
}

}  // namespace

std::string prepare_mounts() {
  if (access("/dev/fuse", R_OK | W_OK) != 0) return "/dev/fuse cannot be opened here";
  if (geteuid() != 0) return "only root can make the mount namespace that these tests clean up with";
  static const bool kSeparate = unshare(CLONE_NEWNS) == 0 &&
                                ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                                let_go_of_other_mounts();
  return kSeparate ? "" : "a mount namespace cannot be made here";
}

}  // namespace cachefs::test
