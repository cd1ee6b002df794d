// The serving side of slowfs.
#pragma once

#include <expected>
#include <string>
#include <vector>

#include "cachefs/decorators.h"

namespace cachefs::slowfs {

/// The error as a sentence: what only says "invalid argument" besides explains itself.
std::string sentence_of(const Error& error);

struct ServeOptions {
  std::string source;
  std::string mountpoint;  ///< resolved
  DelayOptions delay;
  bool foreground = false;
  std::vector<std::string> fuse_options;
};

/// Mounts, and serves until unmounted or told to end by SIGTERM, SIGINT or SIGHUP. Unless in the foreground,
/// returns once a process of its own serves. To be called before any thread is started. The error is a
/// sentence for people.
std::expected<void, std::string> serve(const ServeOptions& options);

}  // namespace cachefs::slowfs
