// Serving a mount from a process of its own.
#pragma once

#include <sys/types.h>

#include "cli/mount_plan.h"
#include "cli/outcome.h"

namespace cachefs::cli {

/// Starts a daemon and returns its pid once its mount is live; else why it could not. To be called before any
/// thread is started. The daemon's own exit code is that of `serve`.
Outcome<pid_t> serve_in_background(const MountPlan& plan);

}  // namespace cachefs::cli
