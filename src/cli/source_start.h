// A source that may hang when it is to be served: it answers in time, or the user is told.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "cachefs/file_system.h"
#include "cachefs/posix_fs.h"
#include "cachefs/time_limits.h"
#include "cli/outcome.h"
#include "cli/signal_watcher.h"

namespace cachefs::cli {

/// How long a start waits for its source: as long as a question may take, if that was said; zero: for ever. A
/// disk that has to spin up first is waited for by default.
std::chrono::nanoseconds start_limit(const std::optional<TimeLimits>& limits);

/// Looks at the directory, in a process of its own, which is left to itself if it hangs. Says nothing of
/// errors: who looks next meets them. To be called before any thread is started.
Outcome<void> await_source(const std::string& source, std::chrono::nanoseconds limit);

/// make_posix_fs(), on a thread of its own, which is left to itself if it hangs. A signal ends the waiting;
/// it is not taken.
Outcome<std::unique_ptr<FileSystem>> open_source(const std::string& source, const PosixFsOptions& options,
                                                 std::chrono::nanoseconds limit,
                                                 const SignalWatcher& signals);

}  // namespace cachefs::cli
