#include "vfs/posix_credentials.h"

#include <linux/capability.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>

#include "base/request_deadline.h"
#include "vfs/posix_descriptor.h"

namespace cachefs::posix {
namespace {

/// Of this thread alone: glibc's setgroups() switches all threads of the process.
int set_thread_groups(const std::vector<uint32_t>& groups) {
  return static_cast<int>(syscall(SYS_setgroups, groups.size(), groups.data()));
}

/// setfsuid and setfsgid do not tell failure; asking for the impossible id shows the one that is set.
bool set_file_ids(uint32_t uid, uint32_t gid) {
  constexpr auto kAsk = static_cast<uint32_t>(-1);
  setfsgid(gid);
  setfsuid(uid);
  return static_cast<uint32_t>(setfsgid(kAsk)) == gid && static_cast<uint32_t>(setfsuid(kAsk)) == uid;
}

/// The calling thread's capabilities.
class ThreadCapabilities {
 public:
  bool read() { return syscall(SYS_capget, &header_, sets_.data()) == 0; }
  bool write() { return syscall(SYS_capset, &header_, sets_.data()) == 0; }
  [[nodiscard]] bool keeps_set_id() const { return (sets_[0].effective & kKeepSetId) != 0; }
  void set_keeps_set_id(bool keeps) {
    if (keeps) {
      sets_[0].effective |= kKeepSetId;
    } else {
      sets_[0].effective &= ~kKeepSetId;
    }
  }

 private:
  static constexpr uint32_t kKeepSetId = 1U << CAP_FSETID;
  __user_cap_header_struct header_{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> sets_{};
};

[[noreturn]] void die(const char* sentence) {
  // A thread that stays somebody else would run the next operations with the wrong rights.
  std::fprintf(stderr, "cachefs: %s\n", sentence);
  std::abort();
}

}  // namespace

Credentials::Credentials(bool wanted) : own_(Caller::self()), can_switch_(wanted && own_.uid == 0) {}

bool Credentials::must_switch_for(const Caller& caller) const {
  return can_switch_ && !(caller.uid == own_.uid && caller.gid == own_.gid);
}

ActAs::ActAs(const Credentials& credentials, const Caller& caller) : credentials_(credentials) {
  if (RequestDeadline::has_passed()) {
    result_ = fail(std::errc::timed_out, "begin, since the request's time is over");
    return;
  }
  if (credentials.must_switch_for(caller)) switch_to(caller);
}

void ActAs::switch_to(const Caller& caller) {
  if (caller.groups != credentials_.own().groups) {
    if (set_thread_groups(caller.groups) != 0) {
      result_ = failed(errno, "take on the caller's groups");
      return;
    }
    groups_switched_ = true;
  }
  ids_switched_ = true;
  if (!set_file_ids(caller.uid, caller.gid))
    result_ = fail(std::errc::operation_not_permitted, "act as the caller");
}

ActAs::~ActAs() {
  const Caller& own = credentials_.own();
  const bool ids_back = !ids_switched_ || set_file_ids(own.uid, own.gid);
  const bool groups_back = !groups_switched_ || set_thread_groups(own.groups) == 0;
  if (ids_back && groups_back) return;
  die("cannot return to the process's own credentials");
}

ContentRights::ContentRights(bool drop) {
  ThreadCapabilities own;
  if (!drop || !own.read() || !own.keeps_set_id()) return;
  own.set_keeps_set_id(false);
  if (!own.write()) die("cannot give up the right to keep set-id bits");
  dropped_ = true;
}

ContentRights::~ContentRights() {
  if (!dropped_) return;
  ThreadCapabilities own;
  if (!own.read()) die("cannot read the process's own capabilities");
  own.set_keeps_set_id(true);
  if (!own.write()) die("cannot take back the right to keep set-id bits");
}

bool ContentRights::can_be_dropped() {
  ThreadCapabilities own;
  if (!own.read()) return geteuid() != 0;
  if (!own.keeps_set_id()) return true;
  own.set_keeps_set_id(false);
  if (!own.write()) return false;
  own.set_keeps_set_id(true);
  if (!own.write()) die("cannot take back the right to keep set-id bits");
  return true;
}

}  // namespace cachefs::posix
