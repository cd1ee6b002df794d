// Running another program, and waiting for the end of a process that is no child.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cachefs/error.h"
#include "server/unique_fd.h"

namespace cachefs::cli {

struct ProgramResult {
  int exit_code = 0;
  std::string error_output;
};

/// Runs `arguments[0]` (looked for in PATH) to its end, in the C locale, its stderr caught.
/// Errors: those of fork and exec.
Result<ProgramResult> run_program(const std::vector<std::string>& arguments);

/// A handle to a running process that the kernel does not give to another one. Errors: esrch.
Result<server::UniqueFd> open_process(pid_t pid);

/// True if the process ended in time.
bool wait_for_end(const server::UniqueFd& process, std::chrono::milliseconds timeout);

/// What `question` says, called in a process apart; nothing if it does not within `timeout`. For questions to
/// the kernel that may hang as long as some other process does. Not for a process with threads.
std::optional<std::string> ask_apart(const std::function<std::string()>& question,
                                     std::chrono::milliseconds timeout);

/// The process of `uid` or root that has the socket of this inode open. Reads /proc alone, for a second at
/// most; nothing if none is seen there: other users' descriptors show to root only.
std::optional<pid_t> process_with_socket(uint64_t inode, uid_t uid);

/// Up to `limit` processes, this one and `daemon` (0: none) apart, that have something below `mountpoint`
/// open or as working directory or root, as "1234 (bash)". Reads /proc alone, for a second at most; other
/// users' processes show to root only.
std::vector<std::string> processes_using(const std::string& mountpoint, pid_t daemon, size_t limit);

}  // namespace cachefs::cli
