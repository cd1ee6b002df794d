#include "server/inherited.h"

#include <fcntl.h>
#include <unistd.h>

namespace cachefs::server {

UniqueFd close_inherited(UniqueFd kept) {
  constexpr int kFirst = STDERR_FILENO + 1;
  if (kept.get() != kFirst) {
    ::dup3(kept.get(), kFirst, O_CLOEXEC);  // cannot fail: both are valid
    kept = UniqueFd(kFirst);
  }
  ::closefrom(kFirst + 1);
  return kept;
}

}  // namespace cachefs::server
