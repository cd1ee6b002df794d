// The command line that mount(8) gives to the helper of a file system's type: mount.fuse.cachefs SOURCE
// MOUNTPOINT [-sfnv] [-N NAMESPACE] [-t TYPE] [-o OPTIONS].
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cli/mount_options.h"
#include "cli/outcome.h"

namespace cachefs::cli {

/// What it asks for.
struct HelperLine {
  MountArguments mount;    ///< its options taken
  bool fake = false;       ///< -f: check the options, mount nothing
  bool verbose = false;    ///< -v
  std::string name_space;  ///< -N: a path to the mount namespace to mount in; empty: this one
};

/// Errors: of usage.
Outcome<HelperLine> parse_helper_line(const std::vector<std::string>& arguments);

/// Whether a program that is called by this name, with these arguments, is called as such a helper. The
/// helper for all FUSE file systems (mount.fuse) calls the program itself, with no command: names of commands
/// have no slash.
bool is_helper_line(std::string_view program, const std::vector<std::string>& arguments);

/// Does it. Returns what mount(8) knows as exit codes: 0 mounted, 1 wrong usage, 32 not mounted.
int run_helper_line(const std::vector<std::string>& arguments);

}  // namespace cachefs::cli
