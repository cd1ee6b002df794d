#include "vfs/posix_credentials.h"

#include <sys/fsuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

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

}  // namespace

Credentials::Credentials(bool wanted) : own_(Caller::self()), can_switch_(wanted && own_.uid == 0) {}

bool Credentials::must_switch_for(const Caller& caller) const {
  return can_switch_ && !(caller.uid == own_.uid && caller.gid == own_.gid);
}

ActAs::ActAs(const Credentials& credentials, const Caller& caller) : credentials_(credentials) {
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
  // A thread that stays somebody else would run the next operations with the wrong rights.
  std::fputs("cachefs: cannot return to the process's own credentials\n", stderr);
  std::abort();
}

}  // namespace cachefs::posix
