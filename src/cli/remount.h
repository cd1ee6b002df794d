// Changing the options of a mount that there is.
#pragma once

#include "cli/mount_options.h"
#include "cli/outcome.h"

namespace cachefs::cli {

/// What becomes of nosuid, noexec and the like that are not named. mount(8) names all that shall be.
enum class Unnamed : bool { stays, is_off };

/// Changes ro, nosuid, noexec and the like, as `arguments.fuse_options` say, of the mount at
/// arguments.mountpoint (of arguments.source, if that is empty). Nothing is changed if anything else is asked
/// for than the mount has. Only root may. Errors: ro while a file is open for writing, which the kernel
/// refuses.
Outcome<void> remount(const MountArguments& arguments, Unnamed unnamed);

}  // namespace cachefs::cli
