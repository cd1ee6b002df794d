// From what the user wrote after `cachefs mount` to what can be served: every check that can be made before.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cachefs/cache_fs.h"
#include "cachefs/time_limits.h"
#include "cli/mount_options.h"
#include "cli/outcome.h"
#include "mount/kernel_features.h"
#include "mount/node_limits.h"
#include "mount/session.h"

namespace cachefs::cli {

/// What is to be served.
struct MountPlan {
  std::string source;      ///< absolute, without symlinks
  std::string mountpoint;  ///< likewise
  CacheOptions cache;
  mount::NodeLimits nodes;
  std::optional<TimeLimits> limits;  ///< not set: by the kind of the source
  std::vector<std::string> fuse_options;
  mount::LockPlace locks = mount::LockPlace::local;
  mount::KernelFeatures kernel_features = mount::KernelFeatures::all();
  std::map<std::string, std::string> options;  ///< cachefs's own, as they were written, by their name in -o
  std::vector<std::string> notes;              ///< to tell the user, none an error
};

/// Changes nothing but one thing: the mount of a dead cachefs daemon at the mount point is taken away, with a
/// note.
Outcome<MountPlan> plan_mount(const MountArguments& arguments);

/// The count of --max-nodes. Errors are of usage.
Outcome<size_t> plan_nodes(const MountArguments& arguments, std::vector<std::string>& notes);

/// Sizes and modes alone. Errors are of usage.
Outcome<CacheOptions> plan_cache(const MountArguments& arguments, std::vector<std::string>& notes);

/// Why `--locks source` is refused for a source of that type, which has none.
std::string without_locks(const std::string& source, const std::string& type);

}  // namespace cachefs::cli
