#include "cli/process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <filesystem>
#include <fstream>

extern char** environ;

namespace cachefs::cli {
namespace {

namespace fs = std::filesystem;
using server::UniqueFd;

std::string read_to_end(int fd) {
  std::string text;
  std::array<char, 1024> chunk;
  for (;;) {
    const ssize_t size = ::read(fd, chunk.data(), chunk.size());
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return text;
    text.append(chunk.data(), static_cast<size_t>(size));
  }
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

std::vector<std::string> environment_in_c_locale() {
  std::vector<std::string> environment{"LC_ALL=C"};
  for (char** variable = environ; *variable != nullptr; ++variable) {
    if (!std::string_view(*variable).starts_with("LC_ALL=")) environment.emplace_back(*variable);
  }
  return environment;
}

bool leads_below(const fs::path& link, const std::string& mountpoint) {
  std::array<char, PATH_MAX> target;
  const ssize_t size = ::readlink(link.c_str(), target.data(), target.size());
  if (size <= 0) return false;
  const std::string_view path(target.data(), static_cast<size_t>(size));
  return path == mountpoint || (path.starts_with(mountpoint) && path[mountpoint.size()] == '/');
}

bool uses(const fs::path& process, const std::string& mountpoint) {
  for (const char* link : {"cwd", "root", "exe"}) {
    if (leads_below(process / link, mountpoint)) return true;
  }
  for (const char* folder : {"fd", "map_files"}) {
    std::error_code ended;
    for (fs::directory_iterator entry(process / folder, ended), end; !ended && entry != end;
         entry.increment(ended)) {
      if (leads_below(entry->path(), mountpoint)) return true;
    }
  }
  return false;
}

std::string describe(const fs::path& process) {
  std::string name;
  std::ifstream file(process / "comm");
  std::getline(file, name);
  return fmt::format("{} ({})", process.filename().string(), name);
}

}  // namespace

Result<ProgramResult> run_program(const std::vector<std::string>& arguments) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return fail_errno(errno, "make a pipe");
  const UniqueFd reading(ends[0]);
  UniqueFd writing(ends[1]);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, writing.get(), STDERR_FILENO);
  std::vector<std::string> words = arguments;
  std::vector<std::string> environment = environment_in_c_locale();
  pid_t pid = 0;
  const int status = ::posix_spawnp(&pid, words[0].c_str(), &actions, nullptr, pointers_to(words).data(),
                                    pointers_to(environment).data());
  ::posix_spawn_file_actions_destroy(&actions);
  writing.reset();
  if (status != 0) return fail_errno(status, fmt::format("run '{}'", arguments[0]));
  ProgramResult result{.exit_code = 0, .error_output = read_to_end(reading.get())};
  int wait_status = 0;
  while (::waitpid(pid, &wait_status, 0) < 0 && errno == EINTR) {
  }
  result.exit_code = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
  return result;
}

Result<UniqueFd> open_process(pid_t pid) {
  UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!process) return fail_errno(errno);
  return process;
}

bool wait_for_end(const UniqueFd& process, std::chrono::milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  for (;;) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd waiting{.fd = process.get(), .events = POLLIN, .revents = 0};
    const int64_t bounded = std::clamp<int64_t>(left.count(), 0, INT_MAX);
    if (::poll(&waiting, 1, static_cast<int>(bounded)) > 0) return true;
    if (bounded == 0) return false;
  }
}

std::vector<std::string> processes_using(const std::string& mountpoint, size_t limit) {
  const std::string self = std::to_string(::getpid());
  std::vector<std::string> found;
  std::error_code failed;
  for (fs::directory_iterator entry("/proc", failed), end; !failed && entry != end && found.size() < limit;
       entry.increment(failed)) {
    const std::string name = entry->path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos || name == self) continue;
    if (uses(entry->path(), mountpoint)) found.push_back(describe(entry->path()));
  }
  return found;
}

}  // namespace cachefs::cli
