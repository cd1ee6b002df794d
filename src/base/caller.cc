#include <sys/stat.h>
#include <unistd.h>

#include "cachefs/file_system.h"

namespace cachefs {

Caller Caller::self() {
  Caller caller{.uid = geteuid(), .gid = getegid(), .groups = {}, .umask = 0};
  const int count = getgroups(0, nullptr);
  if (count > 0) {
    caller.groups.resize(static_cast<size_t>(count));
    const int filled = getgroups(count, caller.groups.data());
    caller.groups.resize(filled > 0 ? static_cast<size_t>(filled) : 0);
  }
  return caller;
}

}  // namespace cachefs
