// The process behind a mount.
#pragma once

#include <functional>

#include "cli/mount_plan.h"
#include "cli/outcome.h"

namespace cachefs::cli {

struct ServeEvents {
  std::function<void()> on_mounted{};
  std::function<void()> on_told_to_end{};  ///< by the first signal; from another thread; may be empty
};

/// Mounts, and serves until unmounted by anybody or told to end by SIGTERM, SIGINT or SIGHUP; then everything
/// is at the source, the mount gone, the control socket removed. Starts threads: fork before.
Outcome<void> serve(const MountPlan& plan, const ServeEvents& events);

}  // namespace cachefs::cli
