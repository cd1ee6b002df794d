#include "mount/lock_process.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>

namespace cachefs::test {
namespace {

constexpr std::chrono::seconds kPatience{20};
constexpr size_t kTextMax = 4096;

enum class Action : int {
  open,
  close,
  duplicate,
  lock,
  lock_open_file,
  flock,
  test,
  write,
  read,
  count_up,
  fork,
  end_fork,
};

/// In the child.
std::array<int, 16> files;
pid_t child_of_child = -1;

int result_of(int returned) { return returned < 0 ? errno : 0; }

int set_lock(int fd, int command, short type, LockedBytes bytes) {
  struct flock lock{};
  lock.l_type = type;
  lock.l_start = bytes.start;
  lock.l_len = bytes.length;
  return result_of(::fcntl(fd, command, &lock));
}

int lock_all(int fd, bool by_flock, bool on) {
  if (by_flock) return result_of(::flock(fd, on ? LOCK_EX : LOCK_UN));
  return set_lock(fd, F_SETLKW, on ? F_WRLCK : F_UNLCK, {});
}

int count_once(int fd, bool by_flock) {
  if (const int error = lock_all(fd, by_flock, true); error != 0) return error;
  char text[32] = {};
  if (::pread(fd, text, sizeof text - 1, 0) < 0) return errno;
  const int size = std::snprintf(text, sizeof text, "%010ld", std::strtol(text, nullptr, 10) + 1);
  if (::pwrite(fd, text, static_cast<size_t>(size), 0) != size) return errno;
  return lock_all(fd, by_flock, false);
}

}  // namespace

struct LockProcess::Command {
  Action action{};
  int file = 0;
  int other = 0;  ///< flags, an operation, a count
  bool waits = false;
  short type = 0;
  LockedBytes bytes{};
  char text[kTextMax] = {};
};

struct LockProcess::Answer {
  int error = 0;
  struct flock found{};
  char text[kTextMax] = {};
};

LockProcess::LockProcess() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return;
  pid_ = ::fork();
  if (pid_ == 0) serve(ends[1]);
  ::close(ends[1]);
  commands_ = ends[0];
}

LockProcess::~LockProcess() {
  kill();
  ::close(commands_);
}

/// Nothing of the test's own stays open: a session's device would keep its mount alive.
void LockProcess::serve(int commands) {
  dup2(commands, STDIN_FILENO);
  close_range(3, ~0U, 0);
  struct sigaction nothing{};
  nothing.sa_handler = [](int) {};
  sigaction(SIGUSR1, &nothing, nullptr);
  files.fill(-1);
  Command command;
  for (;;) {
    const ssize_t size = ::read(STDIN_FILENO, &command, sizeof command);
    if (size < 0 && errno == EINTR) continue;
    if (size != static_cast<ssize_t>(sizeof command)) _exit(0);
    const Answer answer = run(command);
    if (::write(STDIN_FILENO, &answer, sizeof answer) < 0) _exit(1);
  }
}

LockProcess::Answer LockProcess::run(const Command& command) {
  Answer answer;
  int& fd = files[static_cast<size_t>(command.file)];
  switch (command.action) {
    case Action::open:
      fd = ::open(command.text, command.other | O_CLOEXEC, 0644);
      answer.error = result_of(fd);
      break;
    case Action::close:
      answer.error = result_of(::close(fd));
      fd = -1;
      break;
    case Action::duplicate:
      files[static_cast<size_t>(command.other)] = ::dup(fd);
      break;
    case Action::lock:
      answer.error = set_lock(fd, command.waits ? F_SETLKW : F_SETLK, command.type, command.bytes);
      break;
    case Action::lock_open_file:
      answer.error = set_lock(fd, F_OFD_SETLK, command.type, command.bytes);
      break;
    case Action::flock:
      answer.error = result_of(::flock(fd, command.other));
      break;
    case Action::test:
      answer.found.l_type = F_WRLCK;
      answer.error = result_of(::fcntl(fd, F_GETLK, &answer.found));
      break;
    case Action::write:
      answer.error =
          ::pwrite(fd, command.text, std::strlen(command.text), command.bytes.start) < 0 ? errno : 0;
      break;
    case Action::read: {
      const ssize_t size = ::pread(fd, answer.text, static_cast<size_t>(command.other), command.bytes.start);
      if (size < 0) answer.error = errno;
      break;
    }
    case Action::count_up:
      for (int i = 0; i < command.other && answer.error == 0; ++i)
        answer.error = count_once(fd, command.waits);
      break;
    case Action::fork:
      child_of_child = ::fork();
      if (child_of_child == 0) {
        ::close(STDIN_FILENO);
        pause();
        _exit(0);
      }
      answer.error = result_of(child_of_child);
      break;
    case Action::end_fork:
      ::kill(child_of_child, SIGKILL);
      answer.error = result_of(::waitpid(child_of_child, nullptr, 0));
      child_of_child = -1;
      break;
  }
  return answer;
}

bool LockProcess::send(const Command& command) const {
  return ::write(commands_, &command, sizeof command) == static_cast<ssize_t>(sizeof command);
}

bool LockProcess::receive(Answer& answer) const {
  pollfd waiting{.fd = commands_, .events = POLLIN, .revents = 0};
  if (poll(&waiting, 1, static_cast<int>(std::chrono::milliseconds(kPatience).count())) != 1) return false;
  return ::read(commands_, &answer, sizeof answer) == static_cast<ssize_t>(sizeof answer);
}

int LockProcess::ask(const Command& command, Answer* answer) {
  Answer own;
  Answer& into = answer != nullptr ? *answer : own;
  return send(command) && receive(into) ? into.error : -1;
}

int LockProcess::open(int file, const std::string& path, int flags) {
  Command command{.action = Action::open, .file = file, .other = flags};
  path.copy(command.text, kTextMax - 1);
  return ask(command);
}
int LockProcess::close(int file) { return ask({.action = Action::close, .file = file}); }
int LockProcess::duplicate(int file, int as) {
  return ask({.action = Action::duplicate, .file = file, .other = as});
}
int LockProcess::lock(int file, short type, LockedBytes bytes) {
  return ask({.action = Action::lock, .file = file, .type = type, .bytes = bytes});
}
int LockProcess::lock_open_file(int file, short type, LockedBytes bytes) {
  return ask({.action = Action::lock_open_file, .file = file, .type = type, .bytes = bytes});
}
int LockProcess::flock(int file, int operation) {
  return ask({.action = Action::flock, .file = file, .other = operation | LOCK_NB});
}
int LockProcess::test(int file, struct flock& found) {
  Answer answer;
  const int error = ask({.action = Action::test, .file = file}, &answer);
  found = answer.found;
  return error;
}
int LockProcess::write(int file, off_t offset, const std::string& text) {
  Command command{.action = Action::write, .file = file, .bytes = {.start = offset}};
  text.copy(command.text, kTextMax - 1);
  return ask(command);
}
std::string LockProcess::read(int file, off_t offset, size_t size) {
  Answer answer;
  const int error =
      ask({.action = Action::read, .file = file, .other = static_cast<int>(size), .bytes = {.start = offset}},
          &answer);
  return error == 0 ? answer.text : std::string("?") + strerrorname_np(error);
}
int LockProcess::count_up(int file, int times, bool by_flock) {
  const Command command{.action = Action::count_up, .file = file, .other = times, .waits = by_flock};
  return send(command) ? 0 : -1;
}
int LockProcess::fork() { return ask({.action = Action::fork}); }
int LockProcess::end_fork() { return ask({.action = Action::end_fork}); }

void LockProcess::begin_lock(int file, short type, LockedBytes bytes) {
  send({.action = Action::lock, .file = file, .waits = true, .type = type, .bytes = bytes});
}
void LockProcess::begin_flock(int file, int operation) {
  send({.action = Action::flock, .file = file, .other = operation});
}

int LockProcess::end() {
  Answer answer;
  return receive(answer) ? answer.error : -1;
}

bool LockProcess::has_ended() const {
  pollfd waiting{.fd = commands_, .events = POLLIN, .revents = 0};
  return poll(&waiting, 1, 0) == 1;
}

bool LockProcess::sleeps() const {
  std::ifstream status("/proc/" + std::to_string(pid_) + "/stat");
  std::string text;
  std::getline(status, text);
  const size_t name_end = text.rfind(')');
  return name_end != std::string::npos && name_end + 2 < text.size() && text[name_end + 2] == 'S';
}

void LockProcess::signal(int number) const { ::kill(pid_, number); }

bool LockProcess::kill() {
  if (pid_ <= 0) return true;
  ::kill(pid_, SIGKILL);
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (::waitpid(pid_, nullptr, WNOHANG) == 0) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    ::poll(nullptr, 0, 1);
  }
  pid_ = -1;
  return true;
}

}  // namespace cachefs::test
