#include "cli/process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>

namespace cachefs::cli {
namespace {

namespace fs = std::filesystem;
using server::UniqueFd;

// A process that hangs in exec makes its entry in /proc hang.
constexpr std::chrono::milliseconds kSearchTime = std::chrono::seconds(1);

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
  pointers.reserve(texts.size() + 1);
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

/// Where a link of /proc leads; empty if that cannot be seen.
std::string target_of(const fs::path& link) {
  std::array<char, PATH_MAX> target;
  const ssize_t size = ::readlink(link.c_str(), target.data(), target.size());
  return {target.data(), static_cast<size_t>(std::max<ssize_t>(size, 0))};
}

bool leads_below(const fs::path& link, const std::string& mountpoint) {
  const std::string path = target_of(link);
  return path == mountpoint || (path.starts_with(mountpoint) && path[mountpoint.size()] == '/');
}

/// The first entry of a folder of /proc for which `holds` is true; empty if there is none.
fs::path find_entry(const fs::path& folder, const std::function<bool(const fs::path&)>& holds) {
  std::error_code ended;
  for (fs::directory_iterator entry(folder, ended), end; !ended && entry != end; entry.increment(ended)) {
    if (holds(entry->path())) return entry->path();
  }
  return {};
}

bool is_process(const fs::path& entry) {
  return entry.filename().string().find_first_not_of("0123456789") == std::string::npos;
}

bool belongs_to(const fs::path& process, uid_t uid) {
  struct stat status{};
  return ::stat(process.c_str(), &status) == 0 && (status.st_uid == uid || status.st_uid == 0);
}

bool uses(const fs::path& process, const std::string& mountpoint) {
  for (const char* link : {"cwd", "root", "exe"}) {
    if (leads_below(process / link, mountpoint)) return true;
  }
  const auto below = [&](const fs::path& link) { return leads_below(link, mountpoint); };
  return !find_entry(process / "fd", below).empty() || !find_entry(process / "map_files", below).empty();
}

bool write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t size = ::write(fd, text.data(), text.size());
    if (size < 0 && errno != EINTR) return false;
    if (size > 0) text.remove_prefix(static_cast<size_t>(size));
  }
  return true;
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

std::optional<std::string> ask_apart(const std::function<std::string()>& question,
                                     std::chrono::milliseconds timeout) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return std::nullopt;
  const UniqueFd reading(ends[0]);
  UniqueFd writing(ends[1]);
  const pid_t child = ::fork();
  if (child == 0) ::_exit(write_all(writing.get(), question()) ? 0 : 1);
  writing.reset();
  if (child < 0) return std::nullopt;
  pollfd waiting{.fd = reading.get(), .events = POLLIN, .revents = 0};
  if (::poll(&waiting, 1, static_cast<int>(timeout.count())) <= 0) {
    ::kill(child, SIGKILL);  // not waited for: what it hangs in may not let it go
    return std::nullopt;
  }
  std::string answer = read_to_end(reading.get());
  ::waitpid(child, nullptr, 0);
  return answer;
}

std::vector<std::string> processes_using(const std::string& mountpoint, pid_t daemon, size_t limit) {
  const std::string self = std::to_string(::getpid());
  const std::string server = std::to_string(daemon);
  const auto search = [&] {
    std::string lines;
    size_t found = 0;
    const std::string apart = std::to_string(::getpid());
    find_entry("/proc", [&](const fs::path& process) {
      const std::string pid = process.filename();
      if (pid == self || pid == apart || pid == server) return false;
      if (!is_process(process) || !uses(process, mountpoint)) return false;
      lines += describe(process) + "\n";
      return ++found >= limit;
    });
    return lines;
  };
  std::istringstream lines(ask_apart(search, kSearchTime).value_or(""));
  std::vector<std::string> processes;
  for (std::string line; std::getline(lines, line);) processes.push_back(line);
  return processes;
}

std::optional<pid_t> process_with_socket(uint64_t inode, uid_t uid) {
  const std::string socket = fmt::format("socket:[{}]", inode);
  const auto is_it = [&](const fs::path& link) { return target_of(link) == socket; };
  const auto holds_it = [&](const fs::path& entry) {
    return is_process(entry) && belongs_to(entry, uid) && !find_entry(entry / "fd", is_it).empty();
  };
  const auto search = [&] { return find_entry("/proc", holds_it).filename().string(); };
  const std::string pid = ask_apart(search, kSearchTime).value_or("");
  if (pid.empty()) return std::nullopt;
  return static_cast<pid_t>(std::strtol(pid.c_str(), nullptr, 10));
}

}  // namespace cachefs::cli
