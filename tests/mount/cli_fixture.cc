#include "mount/cli_fixture.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

#include "cli/mount_table.h"
#include "cli/unmount.h"
#include "server/control_path.h"
#include "server/unique_fd.h"

namespace cachefs::test {
namespace {

using server::UniqueFd;
constexpr auto kDeadline = std::chrono::seconds(10);

/// A file without a name: a daemon that keeps it open hinders nobody, as it would with a pipe.
UniqueFd anonymous_file() { return UniqueFd(::memfd_create("output", MFD_CLOEXEC)); }

std::string contents(const UniqueFd& file) {
  std::string text;
  std::array<char, 4096> chunk;
  for (off_t offset = 0;;) {
    const ssize_t size = ::pread(file.get(), chunk.data(), chunk.size(), offset);
    if (size <= 0) return text;
    text.append(chunk.data(), static_cast<size_t>(size));
    offset += size;
  }
}

[[noreturn]] void become(const std::vector<std::string>& arguments, const RunOptions& options, int output,
                         int errors) {
  ::dup2(output, STDOUT_FILENO);
  ::dup2(errors, STDERR_FILENO);
  if (!options.directory.empty() && ::chdir(options.directory.c_str()) != 0) ::_exit(126);
  for (const std::string& variable : options.environment) ::putenv(::strdup(variable.c_str()));
  if (options.prepare) options.prepare();
  std::vector<char*> words;
  words.reserve(arguments.size() + 1);
  for (const std::string& argument : arguments) words.push_back(const_cast<char*>(argument.c_str()));
  words.push_back(nullptr);
  ::execvp(words[0], words.data());
  ::_exit(127);
}

}  // namespace

nlohmann::json Finished::json() const {
  nlohmann::json value = nlohmann::json::parse(output, nullptr, false);
  EXPECT_TRUE(value.is_object()) << "not one JSON object: " << output << errors;
  return value.is_object() ? value : nlohmann::json::object();
}

Finished run_command(const std::vector<std::string>& arguments, const RunOptions& options) {
  const UniqueFd output = anonymous_file();
  const UniqueFd errors = anonymous_file();
  const pid_t child = ::fork();
  if (child == 0) become(arguments, options, output.get(), errors.get());
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return {code, contents(output), contents(errors)};
}

bool eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + kDeadline;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    ::poll(nullptr, 0, 2);  // let the others run
  }
  return true;
}

bool is_running(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string line;
  if (!std::getline(file, line)) return false;
  const size_t name_end = line.rfind(')');
  const char state = name_end + 2 < line.size() ? line[name_end + 2] : 'X';
  return state != 'Z' && state != 'X';
}

SlowSource::SlowSource(const std::string& files, std::string place) : place_(std::move(place)) {
  std::filesystem::create_directory(place_);
  const Finished run = run_command(
      {SLOWFS_PROGRAM, files, place_, "--op-delay", "0", "--request-delay", "0", "--bandwidth", "0"});
  EXPECT_EQ(run.exit_code, 0) << run.errors;
}

SlowSource::~SlowSource() {
  run_command({SLOWFS_PROGRAM, "--control", place_, "recover"});  // the test may have ended it
  const auto table = cli::read_mount_table();
  const bool is_mounted = table && cli::mounted_at(*table, place_).has_value();
  EXPECT_TRUE(!is_mounted || cli::unmount(place_, cli::UnmountKind::detach));
}

nlohmann::json SlowSource::control(std::vector<std::string> command) const {
  command.insert(command.begin(), {SLOWFS_PROGRAM, "--json", "--control", place_});
  return run_command(command).json();
}

bool SlowSource::is_awaited() const {
  return eventually([&] { return control({"stats"}).value("hanging", 0) > 0; });
}

void CliTest::SetUp() {
  std::string pattern = (std::filesystem::temp_directory_path() / "cachefs-cli-test.XXXXXX").string();
  ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
  folder_ = std::filesystem::canonical(pattern);
  source_ = folder_ / "source";
  mountpoint_ = folder_ / "mountpoint";
  std::filesystem::create_directory(source_);
  std::filesystem::create_directory(mountpoint_);
  std::ofstream(source_ + "/greeting") << "hello\n";
}

void CliTest::TearDown() {
  const auto below = [&](const cli::MountEntry& entry) {
    return entry.mountpoint.starts_with(folder_.string() + "/");
  };
  for (;;) {  // mounts may be stacked
    const auto table = cli::read_mount_table();
    ASSERT_TRUE(table);
    const auto entry = std::find_if(table->rbegin(), table->rend(), below);
    if (entry == table->rend()) break;
    ASSERT_TRUE(cli::unmount(entry->mountpoint, cli::UnmountKind::detach));
  }
  for (const pid_t daemon : daemons_) {
    if (!eventually([&] { return !is_running(daemon); })) {
      ADD_FAILURE() << "the daemon " << daemon << " outlived its mount";
      ::kill(daemon, SIGKILL);
    }
  }
  ::unlink(socket_path().c_str());
  std::filesystem::remove_all(folder_);
}

bool CliTest::can_mount() { return static_cast<bool>(UniqueFd(::open("/dev/fuse", O_RDWR | O_CLOEXEC))); }

Finished CliTest::cachefs(std::vector<std::string> arguments, const RunOptions& options) const {
  arguments.insert(arguments.begin(), CACHEFS_PROGRAM);
  return run_command(arguments, options);
}

pid_t CliTest::start(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), CACHEFS_PROGRAM);
  const UniqueFd unread = anonymous_file();
  const pid_t child = ::fork();
  if (child == 0) become(arguments, {}, unread.get(), unread.get());
  remember(child);
  return child;
}

pid_t CliTest::mount(const std::vector<std::string>& options) {
  std::vector<std::string> arguments{"mount", source_, mountpoint_, "--json"};
  arguments.insert(arguments.end(), options.begin(), options.end());
  const Finished run = cachefs(arguments);
  EXPECT_EQ(run.exit_code, 0) << run.errors;
  const pid_t daemon = run.json().value("pid", 0);
  EXPECT_GT(daemon, 0);
  if (daemon > 0) remember(daemon);
  return daemon;
}

std::string CliTest::socket_path() const {
  return server::control_directories(::geteuid()).front() + "/" + server::control_socket_name(mountpoint_);
}

bool CliTest::is_mounted() const {
  const auto table = cli::read_mount_table();
  return table && cli::mounted_at(*table, mountpoint_).has_value();
}

void CliTest::kill_hard(pid_t daemon) {
  ASSERT_EQ(::kill(daemon, SIGKILL), 0);
  ASSERT_TRUE(eventually([&] { return !is_running(daemon); }));
}

}  // namespace cachefs::test
