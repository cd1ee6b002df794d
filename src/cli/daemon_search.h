// Which process serves a mount, whether or not its control socket can be found or answers.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "cli/mount_table.h"
#include "cli/outcome.h"

namespace cachefs::cli {

/// Where the control socket of the daemon of `mount` may be: the directories that a daemon of its owner
/// takes, and wherever the kernel knows a socket of its name, since the environment of the daemon may have
/// been another than ours. Only in directories that are safe.
std::vector<std::string> control_paths(const MountEntry& mount);

struct DaemonSighting {
  enum class State : uint8_t {
    alive,
    dead,
    unknown,  ///< it may live: the mount is connected to somebody, or a socket is listened to, by whom is
              ///< hidden
  };
  State state = State::unknown;
  pid_t pid = 0;  ///< if alive
};

/// A daemon whose socket is seen is asked for a sign of life; one that dies meanwhile is waited for, for two
/// seconds. Where no socket is, the mount itself is asked, for a moment at most, by a process apart.
DaemonSighting look_for_daemon(const MountEntry& mount);

/// Dead beyond doubt: a mount that we may not enter could be served from another namespace.
bool is_seen_to_be_dead(const MountEntry& mount);

struct ServedMount {
  MountEntry mount;
  pid_t ending_daemon = 0;  ///< of a mount that is gone already (!mount.is_mounted()), while this still runs
};

/// The cachefs mount at `path`, or one that is gone already while its daemon, one of this user, still runs.
/// Else a sentence that says that there is none.
Outcome<ServedMount> find_served_mount(const std::string& path);

}  // namespace cachefs::cli
