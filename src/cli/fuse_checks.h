// Whether FUSE is there, and takes the options that it is to be given.
#pragma once

#include <string>
#include <vector>

#include "cli/outcome.h"

namespace cachefs::cli {

/// That this process can mount: /dev/fuse opens and, for an ordinary user, fusermount3 is
/// there and may.
Outcome<void> check_fuse();

/// Whether FUSE has the option (without its value); some of them cachefs sets itself.
bool is_fuse_option(const std::string& option);
std::vector<std::string> fuse_option_names();

/// The options `given` (each is_fuse_option) as FUSE is to get them, each free to be set. As root allow_other
/// is among them, so that a mount by root serves everybody (permissions are checked by the kernel as on the
/// source).
Outcome<std::vector<std::string>> check_fuse_options(const std::vector<std::string>& given);

}  // namespace cachefs::cli
