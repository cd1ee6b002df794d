#include "support/mounts.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fstream>

#include "support/measure.h"

namespace cachefs::bench {
namespace {

constexpr const char* kExamples = "/usr/share/doc/libfuse3-dev/examples";
constexpr std::chrono::seconds kDeadline{20};

/// A child that runs `command`.
struct Streams {
  int output;
  int errors = STDERR_FILENO;
};
pid_t spawn(const std::vector<std::string>& command, Streams streams) {
  std::vector<char*> words;
  for (const std::string& word : command) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  const pid_t child = fork();
  require(child >= 0, "fork failed");
  if (child != 0) return child;
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  dup2(streams.output, STDOUT_FILENO);
  dup2(streams.errors, STDERR_FILENO);
  execvp(words[0], words.data());
  _exit(127);
}

std::string contents(int file) {
  std::string text(4096, '\0');
  const ssize_t size = pread(file, text.data(), text.size(), 0);
  text.resize(size > 0 ? static_cast<size_t>(size) : 0);
  return text;
}

bool ended(pid_t child, int& status) { return waitpid(child, &status, WNOHANG) == child; }

template <typename Condition>
bool eventually(const Condition& condition) {
  const auto deadline = std::chrono::steady_clock::now() + kDeadline;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    poll(nullptr, 0, 1);
  }
  return true;
}

/// The new namespace has copies of the FUSE mounts of others; kept, they would outlive their unmounting.
void let_go_of_other_mounts() {
  std::ifstream table("/proc/self/mounts");
  std::string source, path, type, rest;
  while (table >> source >> path >> type && std::getline(table, rest)) {
    if (type.starts_with("fuse.") && umount2(path.c_str(), MNT_DETACH) != 0)
      fmt::print(stderr, "{} is kept as long as this benchmark runs\n", path);
  }
}

dev_t device_of(const std::string& path) {
  struct stat stat{};
  return ::stat(path.c_str(), &stat) == 0 ? stat.st_dev : 0;
}

}  // namespace

Workspace::Workspace() {
  require(geteuid() == 0 && access("/dev/fuse", R_OK | W_OK) == 0,
          "root and /dev/fuse are needed: the peers are mounted in a namespace of their own");
  require(unshare(CLONE_NEWNS) == 0 && ::mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) == 0,
          "a mount namespace cannot be made here");
  let_go_of_other_mounts();
  std::string pattern = (std::filesystem::temp_directory_path() / "cachefs-bench.XXXXXX").string();
  require(mkdtemp(pattern.data()) != nullptr, "no temporary directory can be made");
  path_ = pattern;
}

Workspace::~Workspace() {
  std::error_code error;
  std::filesystem::remove_all(path_, error);
  if (error) fmt::print(stderr, "left behind: {}: {}\n", path_.string(), error.message());
}

std::string Workspace::directory(const std::string& name) const {
  std::filesystem::create_directories(path_ / name);
  return file(name);
}

Mount::Mount(const std::vector<std::string>& command, std::string mountpoint)
    : mountpoint_(std::move(mountpoint)) {
  const int words = memfd_create("output", MFD_CLOEXEC);
  daemon_ = spawn(command, {.output = words, .errors = words});
  int status = 0;
  bool dead = false;
  const bool settled = eventually([&] { return mounted() || (dead = ended(daemon_, status)); });
  const std::string said = contents(words);
  close(words);
  require(settled && !dead, fmt::format("{} did not mount on {}: {}", command[0], mountpoint_, said));
}

Mount::~Mount() {
  kill(daemon_, SIGTERM);
  int status = 0;
  if (eventually([&] { return ended(daemon_, status); })) return;
  fmt::print(stderr, "the daemon of {} had to be killed\n", mountpoint_);
  kill(daemon_, SIGKILL);
  waitpid(daemon_, &status, 0);
}

bool Mount::mounted() const {
  return device_of(mountpoint_) != device_of(std::filesystem::path(mountpoint_).parent_path());
}

uint64_t Mount::answers() const {
  std::ifstream file(fmt::format("/proc/{}/io", daemon_));
  std::string key;
  uint64_t value = 0;
  while (file >> key >> value) {
    if (key == "syscw:") return value;
  }
  give_up("the kernel does not count system calls here (/proc/PID/io)");
}

CacheMount::CacheMount(const std::string& source, const std::string& mountpoint,
                       const std::vector<std::string>& options)
    : Mount(
          [&] {
            std::vector<std::string> command{CACHEFS_PROGRAM, "mount", "--foreground", source, mountpoint};
            command.insert(command.end(), options.begin(), options.end());
            return command;
          }(),
          mountpoint) {}

nlohmann::json CacheMount::stats() const {
  return nlohmann::json::parse(run({CACHEFS_PROGRAM, "stats", "--json", path()}));
}

SlowMount::SlowMount(const std::string& source, const std::string& mountpoint, const std::string& delay)
    : Mount({SLOWFS_PROGRAM, source, mountpoint, "--foreground", "--op-delay", delay, "--request-delay",
             delay, "--bandwidth", "0"},
            mountpoint) {}

nlohmann::json SlowMount::control(const std::vector<std::string>& words) const {
  std::vector<std::string> command{SLOWFS_PROGRAM, "--json", "--control", path()};
  command.insert(command.end(), words.begin(), words.end());
  return nlohmann::json::parse(run(command));
}

std::string compile_pass_through(const Workspace& workspace) {
  const std::string source = std::string(kExamples) + "/passthrough_ll.c";
  require(access(source.c_str(), R_OK) == 0,
          source + " is missing: install libfuse3-dev (with its documentation)");
  const std::string program = workspace.file("passthrough_ll");
  run({"sh", "-c", fmt::format("cc -O2 -w -o {} {} $(pkg-config --cflags --libs fuse3)", program, source)});
  return program;
}

PassThrough::PassThrough(const std::string& program, const std::string& source, const std::string& mountpoint,
                         Xattrs xattrs)
    : Mount({program, "-f", "-o",
             fmt::format("{},cache=always,timeout=60,allow_other,source={}",
                         xattrs == Xattrs::served ? "xattr" : "no_xattr", source),
             mountpoint},
            mountpoint) {}

std::string run(const std::vector<std::string>& command) {
  int ends[2];
  require(pipe2(ends, O_CLOEXEC) == 0, "no pipe");
  const pid_t child = spawn(command, {.output = ends[1]});
  close(ends[1]);
  std::string output;
  char chunk[4096];
  ssize_t size = 0;
  while ((size = read(ends[0], chunk, sizeof chunk)) > 0) output.append(chunk, static_cast<size_t>(size));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  require(WIFEXITED(status) && WEXITSTATUS(status) == 0, fmt::format("'{}' failed", fmt::join(command, " ")));
  return output;
}

uint64_t delta(const nlohmann::json& before, const nlohmann::json& after, const char* key) {
  return after.at(key).get<uint64_t>() - before.at(key).get<uint64_t>();
}

}  // namespace cachefs::bench
