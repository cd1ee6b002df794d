// The serving side of slowfs.
#pragma once

#include <string>
#include <vector>

#include "cachefs/decorators.h"

namespace cachefs::slowfs {

struct ServeOptions {
  std::string source;
  std::string mountpoint;  ///< resolved
  DelayOptions delay;
  bool foreground = false;
  std::vector<std::string> fuse_options;
};

/// Mounts, and serves until unmounted or told to end by SIGTERM, SIGINT or SIGHUP. Unless in the foreground,
/// returns once a process of its own serves. To be called before any thread is started. Errors: a sentence
/// for people in Error::doing().
Result<void> serve(const ServeOptions& options);

}  // namespace cachefs::slowfs
