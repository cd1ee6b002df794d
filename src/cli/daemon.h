// The process behind a mount.
#pragma once

#include <functional>

#include "cli/mount_plan.h"
#include "cli/outcome.h"

namespace cachefs::cli {

/// Mounts, calls `on_mounted`, and serves until unmounted by anybody or told to end by SIGTERM, SIGINT or
/// SIGHUP; then everything is at the source, the mount gone, the control socket removed. Starts threads: fork
/// before.
Outcome<void> serve(const MountPlan& plan, const std::function<void()>& on_mounted);

}  // namespace cachefs::cli
