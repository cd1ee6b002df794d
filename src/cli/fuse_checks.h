// Whether FUSE is there, and takes the options that it is to be given.
#pragma once

#include <string>
#include <vector>

#include "cli/outcome.h"

namespace cachefs::cli {

/// That this process can mount: /dev/fuse opens and, for an ordinary user, fusermount3 is installed.
Outcome<void> check_fuse();

/// The options of all `-o`, apart, each known to FUSE and free to be set. As root allow_other is among them,
/// so that a mount by root serves everybody (permissions are checked by the kernel as on the source).
Outcome<std::vector<std::string>> check_fuse_options(const std::vector<std::string>& given);

}  // namespace cachefs::cli
