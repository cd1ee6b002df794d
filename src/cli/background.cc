#include "cli/background.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "cli/daemon.h"
#include "cli/log.h"
#include "server/inherited.h"
#include "server/unique_fd.h"

namespace cachefs::cli {
namespace {

using server::UniqueFd;

// What the daemon writes to the pipe: this for a live mount, else the sentence of its failure.
constexpr std::string_view kMounted = "\x06";

/// False: the parent has gone, nobody is left to tell.
bool write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t size = ::write(fd, text.data(), text.size());
    if (size < 0 && errno != EINTR) return false;
    if (size > 0) text.remove_prefix(static_cast<size_t>(size));
  }
  return true;
}

std::string read_all(int fd) {
  std::string text;
  std::array<char, 1024> chunk;
  for (;;) {
    const ssize_t size = ::read(fd, chunk.data(), chunk.size());
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return text;
    text.append(chunk.data(), static_cast<size_t>(size));
  }
}

/// Lets go of the terminal and whatever pipes the caller waits on.
void detach_stdio() {
  const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (null) {
      ::dup2(null.get(), fd);
    } else {
      ::close(fd);
    }
  }
}

int run_daemon(const MountPlan& plan, UniqueFd report) {
  ::setsid();
  ::umask(0);
  report = server::close_inherited(std::move(report));
  log_to(LogTarget::system_log);
  if (::chdir("/") != 0) write_all(STDERR_FILENO, "cachefs: note: cannot leave the working directory\n");
  bool mounted = false;
  const auto tell_mounted = [&] {
    mounted = true;
    detach_stdio();
    // A command that was interrupted leaves no mount that nobody knows of.
    if (!write_all(report.get(), kMounted)) ::kill(::getpid(), SIGTERM);
    report.reset();
  };
  const auto served = serve(plan, {.on_mounted = tell_mounted});
  if (served) return kExitOk;
  if (mounted) {
    spdlog::error("{}", served.error().sentence);
  } else {
    write_all(report.get(), served.error().sentence);
  }
  return served.error().exit_code;
}

std::string describe_end(pid_t child) {
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFSIGNALED(status)) return fmt::format("signal {} ended it", WTERMSIG(status));
  return fmt::format("it ended with code {}", WEXITSTATUS(status));
}

}  // namespace

Outcome<pid_t> serve_in_background(const MountPlan& plan) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return refuse("cannot make a pipe to the daemon");
  const UniqueFd reading(ends[0]);
  UniqueFd writing(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return refuse("cannot start the daemon: too many processes, or no memory");
  if (child == 0) ::_exit(run_daemon(plan, std::move(writing)));
  writing.reset();
  const std::string answer = read_all(reading.get());
  if (answer == kMounted) return child;
  const std::string end = describe_end(child);
  if (answer.empty()) return refuse(fmt::format("the daemon died before the mount was live: {}", end));
  return refuse(answer);
}

}  // namespace cachefs::cli
