// Finds and asks the daemon of a mount, without touching the mount.
#pragma once

#include <string>
#include <string_view>

#include "cachefs/error.h"
#include "cli/mount_table.h"
#include "cli/outcome.h"
#include "server/control_client.h"

namespace cachefs::cli {

/// Errors: econnrefused (the daemon is dead, its socket is left), enoent (no socket: dead, or never ours),
/// etimedout, eacces or eperm (another user's), eproto.
Result<server::ControlReply> ask_daemon(const MountEntry& mount, std::string_view command);

/// The same, with a sentence for the user.
Outcome<server::ControlReply> ask_daemon_or_explain(const MountEntry& mount, std::string_view command);

/// Removes the sockets that a dead daemon of this mount left; best effort, since a new daemon replaces them
/// too. True if there was one: a daemon that ends in order leaves none.
bool remove_leftover_sockets(const MountEntry& mount);

}  // namespace cachefs::cli
