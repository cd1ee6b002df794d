#include "cli/source_start.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdlib>
#include <system_error>
#include <thread>
#include <utility>

#include "base/mutex.h"
#include "cachefs/units.h"
#include "server/unique_fd.h"

namespace cachefs::cli {
namespace {

using server::UniqueFd;

constexpr std::chrono::seconds kUsualLimit{30};

std::unexpected<Failure> no_answer(const std::string& source, std::chrono::nanoseconds limit) {
  return refuse(fmt::format(
      "the source '{}' has not answered for {}; look whether its server can be reached, or wait longer "
      "with: --timeout metadata=5m",
      source, format_duration(limit)));
}

/// False if `fd` cannot be read, nor is at its end, within `limit`.
bool wait_readable(int fd, std::chrono::nanoseconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  for (;;) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) return false;
    pollfd waiting{.fd = fd, .events = POLLIN, .revents = 0};
    if (::poll(&waiting, 1, static_cast<int>(std::min<int64_t>(left.count(), INT_MAX))) > 0) return true;
  }
}

/// What can hang: the way to it, and opening it.
[[noreturn]] void look_at(const std::string& source) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  struct stat status{};
  ::stat(source.c_str(), &status);
  ::open(source.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK);
  ::_exit(0);
}

/// Shared with a thread that may never end.
struct Opening {
  UniqueFd ended{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  Mutex mutex;
  std::optional<Result<std::unique_ptr<FileSystem>>> answer GUARDED_BY(mutex);
};

}  // namespace

std::chrono::nanoseconds start_limit(const std::optional<TimeLimits>& limits) {
  return limits ? limits->metadata : kUsualLimit;
}

Outcome<void> await_source(const std::string& source, std::chrono::nanoseconds limit) {
  if (limit.count() == 0) return {};
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return refuse("cannot make a pipe");
  const UniqueFd child_lives(ends[0]);
  UniqueFd held_by_child(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return refuse("cannot start a process: too many processes, or no memory");
  if (child == 0) look_at(source);
  held_by_child.reset();
  const bool ended = wait_readable(child_lives.get(), limit);
  if (!ended) ::kill(child, SIGKILL);  // what hangs may not heed even that
  ::waitpid(child, nullptr, ended ? 0 : WNOHANG);
  if (!ended) return no_answer(source, limit);
  return {};
}

Outcome<std::unique_ptr<FileSystem>> open_source(const std::string& source, const PosixFsOptions& options,
                                                 std::chrono::nanoseconds limit,
                                                 const SignalWatcher& signals) {
  const auto opening = std::make_shared<Opening>();
  if (!opening->ended) return refuse("cannot make an event");
  try {
    std::thread([opening, source, options] {
      auto answer = make_posix_fs(source, options);
      {
        const MutexLock lock(opening->mutex);
        opening->answer = std::move(answer);
      }
      ::eventfd_write(opening->ended.get(), 1);
    }).detach();
  } catch (const std::system_error&) {
    return refuse("cannot start a thread: too many, or no memory");
  }
  switch (signals.wait_for(opening->ended.get(), limit)) {
    case SignalWatcher::Woken::by_signal:
      return refuse(fmt::format("told to end before the source '{}' had answered", source));
    case SignalWatcher::Woken::by_time:
      return no_answer(source, limit);
    case SignalWatcher::Woken::by_event:
      break;
  }
  const MutexLock lock(opening->mutex);
  Result<std::unique_ptr<FileSystem>>& answer = *opening->answer;
  if (!answer) return refuse("cannot open the source: " + answer.error().message());
  return std::move(*answer);
}

}  // namespace cachefs::cli
