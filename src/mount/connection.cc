#include "mount/connection.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <thread>

namespace cachefs::mount {
namespace {

constexpr const char* kFusectl = "/sys/fs/fuse/connections";

bool is_connected(int end) {
  pollfd state{.fd = end, .events = 0, .revents = 0};
  return poll(&state, 1, 0) == 0;
}

bool abort_by_fusectl(const std::string& number, int end) {
  const int control = open(fmt::format("{}/{}/abort", kFusectl, number).c_str(), O_WRONLY | O_CLOEXEC);
  if (control < 0) return false;
  // The number is ours as long as we are connected; what is open leads to no other connection later.
  const bool aborted = is_connected(end) && write(control, "1", 1) == 1;
  ::close(control);
  return aborted;
}

/// In a mount namespace of the calling thread, which is to end after it.
bool abort_by_own_fusectl(const std::string& number, int end) {
  return unshare(CLONE_NEWNS) == 0 && ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
         ::mount("none", kFusectl, "fusectl", 0, nullptr) == 0 && abort_by_fusectl(number, end);
}

}  // namespace

bool abort_connection(const std::string& device, int end) {
  const std::string number = device.substr(device.find(':') + 1);
  if (number.empty()) return false;
  if (abort_by_fusectl(number, end)) return true;
  if (geteuid() != 0 || !is_connected(end)) return false;
  bool aborted = false;
  std::thread([&] { aborted = abort_by_own_fusectl(number, end); }).join();
  return aborted;
}

}  // namespace cachefs::mount
