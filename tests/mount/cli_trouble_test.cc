// Mounts, signals and unmounts in circumstances that are less than friendly.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstring>
#include <fstream>
#include <thread>
#include <tuple>

#include "mount/cli_fixture.h"
#include "server/control_client.h"
#include "server/control_listener.h"
#include "server/control_path.h"
#include "server/unique_fd.h"

namespace cachefs::test {
namespace {

using namespace std::chrono_literals;
using server::UniqueFd;
using testing::AllOf;
using testing::HasSubstr;

class CliTrouble : public CliTest {
 protected:
  void SetUp() override {
    CliTest::SetUp();
    CACHEFS_REQUIRE_MOUNT();
  }
};

/// Reads a file in a process of its own, whatever comes of it. Not in a thread: a program that this process
/// starts meanwhile would inherit the open file, and hang with it.
class Reader {
 public:
  explicit Reader(const std::string& path) : pid_(::fork()) {
    if (pid_ != 0) return;
    const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    std::array<char, 16> chunk;
    ::_exit(::read(file.get(), chunk.data(), chunk.size()) > 0 ? 0 : 1);
  }
  ~Reader() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

 private:
  const pid_t pid_;
};

bool ends_in_time(const UniqueFd& pipe) {
  pollfd waiting{.fd = pipe.get(), .events = POLLIN, .revents = 0};
  return ::poll(&waiting, 1, 10'000) == 1 && (waiting.revents & POLLHUP) != 0;
}

TEST_F(CliTrouble, SameEndToldTwiceIsAwaited) {
  const SlowSource slow(source_, folder_ / "slow");
  const pid_t daemon = start({"mount", "--foreground", slow.path(), mountpoint_});
  ASSERT_TRUE(eventually([&] { return cachefs({"status", mountpoint_}).exit_code == 0; }));
  slow.control({"hang", "data"});
  const Reader reader(mountpoint_ + "/greeting");
  EXPECT_TRUE(slow.is_awaited());
  for (const int signal : {SIGTERM, SIGHUP, SIGINT}) {
    EXPECT_EQ(::kill(daemon, signal), 0);
    EXPECT_TRUE(eventually([&] { return !is_mounted(); }));
  }
  slow.control({"recover"});
  int status = -1;
  ASSERT_EQ(::waitpid(daemon, &status, 0), daemon);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

/// Changes a file through a mapping, in a process of its own, and keeps the mapping.
class MappingWriter {
 public:
  explicit MappingWriter(const std::string& path) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) return;
    const UniqueFd reading(ends[0]);
    UniqueFd writing(ends[1]);
    pid_ = ::fork();
    if (pid_ == 0) write_and_wait(path, writing.get());
    writing.reset();
    char byte = 0;
    wrote_ = ::read(reading.get(), &byte, 1) == 1;
  }
  ~MappingWriter() { EXPECT_TRUE(ends_killed()); }
  MappingWriter(const MappingWriter&) = delete;
  MappingWriter& operator=(const MappingWriter&) = delete;

  [[nodiscard]] bool wrote() const { return wrote_; }
  /// Kills it, and whether that ended it in time.
  bool ends_killed() {
    if (pid_ <= 0) return true;
    ::kill(pid_, SIGKILL);
    if (!eventually([this] { return ::waitpid(pid_, nullptr, WNOHANG) == pid_; })) return false;
    pid_ = -1;
    return true;
  }

 private:
  [[noreturn]] static void write_and_wait(const std::string& path, int ready) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    void* const mapped = ::mmap(nullptr, 1, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED) ::_exit(1);
    *static_cast<char*>(mapped) = 'm';
    if (::write(ready, "x", 1) == 1) ::pause();
    ::_exit(0);
  }

  pid_t pid_ = -1;
  bool wrote_ = false;
};

/// Makes the kernel answer all that waits on a connection: without that, what hangs could not even be killed.
void abort_connection(unsigned number) {
  const std::string script = R"(mount -t fusectl none /sys/fs/fuse/connections
    echo 1 > "/sys/fs/fuse/connections/$0/abort")";
  run_command({"unshare", "-m", "sh", "-c", script, std::to_string(number)});
}

/// A daemon that is told to end while a program has changed a mapped file and the source hangs, so that it
/// has to wait for its own mount; and is then ended by force.
class CliTroubleByForce : public CliTrouble,
                          public testing::WithParamInterface<std::tuple<const char*, int>> {};
std::string force_name(const testing::TestParamInfo<std::tuple<const char*, int>>& info) {
  return std::string(std::get<0>(info.param)) + "_" + sigabbrev_np(std::get<1>(info.param));
}
INSTANTIATE_TEST_SUITE_P(, CliTroubleByForce,
                         testing::Combine(testing::Values("data", "metadata"),
                                          testing::Values(SIGTERM, SIGKILL)),
                         force_name);

TEST_P(CliTroubleByForce, DaemonEndsAndSoCanItsWriters) {
  if (::geteuid() != 0 || run_command({"unshare", "-m", "true"}).exit_code != 0)
    GTEST_SKIP() << "needs root, and a mount namespace of its own";
  const auto& [what, signal] = GetParam();
  const SlowSource slow(source_, folder_ / "slow");
  const pid_t daemon = start({"mount", "--foreground", slow.path(), mountpoint_});
  ASSERT_TRUE(eventually([&] { return cachefs({"status", mountpoint_}).exit_code == 0; }));
  struct stat status{};
  ASSERT_EQ(::stat(mountpoint_.c_str(), &status), 0);
  MappingWriter writer(mountpoint_ + "/greeting");
  EXPECT_TRUE(writer.wrote());
  slow.control({"hang", what});
  EXPECT_EQ(::kill(daemon, SIGTERM), 0);
  EXPECT_TRUE(slow.is_awaited());
  const bool daemon_ended = eventually([&] {
    ::kill(daemon, signal);
    return ::waitpid(daemon, nullptr, WNOHANG) == daemon;  // all of its threads
  });
  const bool writer_ended = daemon_ended && writer.ends_killed();
  EXPECT_TRUE(daemon_ended);
  EXPECT_TRUE(writer_ended);
  if (!writer_ended) abort_connection(minor(status.st_dev));
  if (!daemon_ended) ::waitpid(daemon, nullptr, 0);
}

TEST_F(CliTrouble, DaemonKeepsNoDescriptorOfItsCaller) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);  // inherited, as a shell's are
  const UniqueFd reading(ends[0]);
  UniqueFd writing(ends[1]);
  UniqueFd high(::fcntl(writing.get(), F_DUPFD, 400));
  mount();
  writing.reset();
  high.reset();
  EXPECT_TRUE(ends_in_time(reading));
}

/// The daemon's pid.
pid_t mount_under_limit(const std::string& limit, const std::string& source, const std::string& mountpoint) {
  const std::string script = "ulimit " + limit + " && exec \"$@\"";
  const Finished run =
      run_command({"sh", "-c", script, "sh", CACHEFS_PROGRAM, "mount", "--json", source, mountpoint});
  EXPECT_EQ(run.exit_code, 0) << run.errors;
  return run.json().value("pid", 0);
}

TEST_F(CliTrouble, LimitOfFileSizeFailsTheWriteAlone) {
  const pid_t daemon = mount_under_limit("-f 64", source_, mountpoint_);
  ASSERT_GT(daemon, 0);
  remember(daemon);
  const UniqueFd file(::open((mountpoint_ + "/large").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  EXPECT_EQ(::pwrite(file.get(), "x", 1, 1024L * 1024), -1);
  EXPECT_EQ(errno, EFBIG);
  EXPECT_TRUE(is_running(daemon));
}

TEST_F(CliTrouble, DaemonMayOpenAsManyFilesAsItsHardLimitAllows) {
  const pid_t daemon = mount_under_limit("-S -n 256", source_, mountpoint_);
  ASSERT_GT(daemon, 0);
  remember(daemon);
  rlimit limit{};
  ASSERT_EQ(::prlimit(daemon, RLIMIT_NOFILE, nullptr, &limit), 0);
  EXPECT_EQ(limit.rlim_cur, limit.rlim_max);
}

TEST_F(CliTrouble, CallerMayHaveClosedItsStandardStreams) {
  const std::string script = "exec \"$@\" <&- >&- 2>&-";
  const Finished run =
      run_command({"sh", "-c", script, "sh", CACHEFS_PROGRAM, "mount", source_, mountpoint_});
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_EQ(cachefs({"status", mountpoint_}).exit_code, 0);
}

TEST_F(CliTrouble, UmountFindsTheDaemonWithoutItsSocket) {
  const pid_t daemon = mount();
  std::filesystem::remove(socket_path());
  const Finished status = cachefs({"status", mountpoint_});
  EXPECT_EQ(status.exit_code, 1);
  EXPECT_THAT(status.errors, AllOf(HasSubstr("has been removed"), HasSubstr(std::to_string(daemon)),
                                   HasSubstr("cachefs umount")));
  const Finished run = cachefs({"umount", mountpoint_});
  EXPECT_EQ(run.exit_code, 0) << run.errors;
  EXPECT_FALSE(is_running(daemon));
}

TEST_F(CliTrouble, UmountFailsWhileTheDaemonLives) {
  for (const bool has_socket : {true, false}) {
    const pid_t daemon = mount();
    if (!has_socket) std::filesystem::remove(socket_path());
    ASSERT_EQ(::kill(daemon, SIGSTOP), 0);
    const Finished run = cachefs({"umount", "--timeout", "50ms", mountpoint_});
    EXPECT_EQ(run.exit_code, 1);
    EXPECT_THAT(run.errors, AllOf(HasSubstr("still runs"), HasSubstr("cachefs umount " + mountpoint_),
                                  HasSubstr("kill -KILL " + std::to_string(daemon))));
    EXPECT_FALSE(is_mounted());
    ASSERT_EQ(::kill(daemon, SIGCONT), 0);
    EXPECT_TRUE(eventually([&] { return !is_running(daemon); }));
  }
}

TEST_F(CliTrouble, StrangerIsToldWhoMayUnmount) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to be somebody else";
  mount();
  std::filesystem::permissions(folder_, std::filesystem::perms::all);
  const Finished run = run_command({"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                                    CACHEFS_PROGRAM, "umount", mountpoint_});
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_EQ(run.errors, "cachefs: cannot unmount '" + mountpoint_ +
                            "', which user 0 has mounted; unmount as that user or as root\n");
  EXPECT_TRUE(is_mounted());
}

TEST_F(CliTrouble, DaemonThatDoesNotAnswerIsTold) {
  mount();
  std::filesystem::remove(socket_path());
  const std::filesystem::path path = socket_path();
  const auto listener = server::ControlListener::bind(path.parent_path(), path.filename(), 10s);
  ASSERT_TRUE(listener);
  std::atomic<bool> is_over{false};
  std::thread hanging_up([&] {
    while (!is_over) {
      pollfd waiting{.fd = (*listener)->fd(), .events = POLLIN, .revents = 0};
      if (::poll(&waiting, 1, 10) == 1) ::close(::accept((*listener)->fd(), nullptr, nullptr));
    }
  });
  const Finished run = cachefs({"status", mountpoint_});
  is_over = true;
  hanging_up.join();
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_THAT(run.errors, AllOf(HasSubstr("does not answer"), HasSubstr("cachefs umount " + mountpoint_)));
}

TEST_F(CliTrouble, UmountAgainWaitsOn) {
  const pid_t daemon = mount();
  ASSERT_EQ(::kill(daemon, SIGSTOP), 0);
  EXPECT_EQ(cachefs({"umount", "--timeout", "1ms", mountpoint_}).exit_code, 1);
  EXPECT_EQ(cachefs({"umount", "--timeout", "1ms", mountpoint_}).exit_code, 1);
  ASSERT_EQ(::kill(daemon, SIGCONT), 0);
  const Finished run = cachefs({"umount", mountpoint_});
  if (run.exit_code == 0) {
    EXPECT_FALSE(is_running(daemon));
  } else {  // it was too late: the daemon is at its very end, its socket gone
    EXPECT_THAT(run.errors, HasSubstr("not a mount point"));
    EXPECT_TRUE(eventually([&] { return !is_running(daemon); }));
  }
}

/// Of a program that waits for the source, the file may not be open yet: nobody is seen who uses the mount.
TEST_F(CliTrouble, UmountTellsHowToTakeAwayAMountThatHangs) {
  const SlowSource slow(source_, folder_ / "slow");
  const pid_t daemon = start({"mount", "--foreground", slow.path(), mountpoint_, "--timeout", "none"});
  ASSERT_TRUE(eventually([&] { return cachefs({"status", mountpoint_}).exit_code == 0; }));
  slow.control({"hang", "metadata"});
  const Reader reader(mountpoint_ + "/greeting");
  EXPECT_TRUE(slow.is_awaited());
  const Finished run = cachefs({"umount", mountpoint_});
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_THAT(run.errors,
              AllOf(HasSubstr("waits for the source"), HasSubstr("kill " + std::to_string(daemon))));
  EXPECT_EQ(::kill(daemon, SIGTERM), 0);
  EXPECT_TRUE(eventually([&] { return !is_mounted(); }));
  EXPECT_TRUE(eventually([&] {
    ::kill(daemon, SIGTERM);
    return ::waitpid(daemon, nullptr, WNOHANG) == daemon;
  }));
}

TEST_F(CliTrouble, StatusTellsThatADaemonEnds) {
  const SlowSource slow(source_, folder_ / "slow");
  const pid_t daemon = start({"mount", "--foreground", slow.path(), mountpoint_});
  ASSERT_TRUE(eventually([&] { return cachefs({"status", mountpoint_}).exit_code == 0; }));
  slow.control({"hang", "data"});
  const Reader reader(mountpoint_ + "/greeting");
  EXPECT_TRUE(slow.is_awaited());
  EXPECT_EQ(::kill(daemon, SIGTERM), 0);
  EXPECT_TRUE(eventually([&] {
    const Finished run = cachefs({"status", "--json", mountpoint_});
    return run.exit_code == 0 && run.json().value("state", "") == "ending";
  }));
  slow.control({"recover"});
  EXPECT_EQ(::waitpid(daemon, nullptr, 0), daemon);
}

/// A shell script that is run as root in a mount namespace of its own where everybody may use /dev/fuse.
Finished run_with_own_dev(const std::string& folder, const std::string& script,
                          const std::vector<std::string>& words) {
  const std::string prepare = R"(set -e
    mkdir "$0/dev" && mount -t tmpfs none "$0/dev"
    mknod -m 666 "$0/dev/fuse" c 10 229 && mknod -m 666 "$0/dev/null" c 1 3
    ln -s "$0/log" "$0/dev/log" && mount --rbind "$0/dev" /dev
    )";
  std::vector<std::string> command{"unshare", "-m", "sh", "-c", prepare + script, folder};
  command.insert(command.end(), words.begin(), words.end());
  return run_command(command);
}

TEST_F(CliTrouble, InterruptedMountLeavesNoMount) {
  const auto directories = server::make_control_directories();
  ASSERT_TRUE(directories);
  auto predecessor =
      server::ControlListener::bind(directories->front(), server::control_socket_name(mountpoint_), 10s);
  ASSERT_TRUE(predecessor);  // the daemon waits for its end
  const pid_t command = start({"mount", source_, mountpoint_});
  pid_t daemon = 0;
  const std::string id = std::to_string(command);
  ASSERT_TRUE(eventually([&] {
    return static_cast<bool>(std::ifstream("/proc/" + id + "/task/" + id + "/children") >> daemon);
  }));
  remember(daemon);
  ASSERT_EQ(::kill(command, SIGKILL), 0);
  ASSERT_EQ(::waitpid(command, nullptr, 0), command);
  predecessor->reset();
  EXPECT_TRUE(eventually([&] { return !is_running(daemon); }));
  EXPECT_FALSE(is_mounted());
}

TEST_F(CliTrouble, SocketIsElsewhereWhereItsDirectoryIsFull) {
  if (::geteuid() != 0 || run_command({"unshare", "-m", "true"}).exit_code != 0)
    GTEST_SKIP() << "needs root, and a mount namespace of its own";
  const std::string script = R"(set -e
    mount -t tmpfs -o nr_inodes=2 none /run && mkdir -m 700 /run/cachefs
    "$0" mount "$1" "$2" && "$0" status "$2" && "$0" umount "$2")";
  const Finished run =
      run_command({"unshare", "-m", "sh", "-c", script, CACHEFS_PROGRAM, source_, mountpoint_});
  EXPECT_EQ(run.exit_code, 0) << run.errors;
}

TEST_F(CliTrouble, RootFindsTheDaemonOfAUserWithAnotherRuntimeDirectory) {
  if (::geteuid() != 0 || run_command({"unshare", "-m", "true"}).exit_code != 0)
    GTEST_SKIP() << "needs root, and a mount namespace of its own";
  const Finished run = run_with_own_dev(folder_, R"(
    chmod 755 "$0" && mkdir "$0/runtime" && chown 65534 "$0/runtime" "$3"
    as_user() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
    as_user env XDG_RUNTIME_DIR="$0/runtime" "$1" mount --json "$2" "$3"
    "$1" status "$3" >&2
    as_user env -u XDG_RUNTIME_DIR "$1" stats "$3" >&2
    "$1" umount "$3" >&2)",
                                        {CACHEFS_PROGRAM, source_, mountpoint_});
  EXPECT_EQ(run.exit_code, 0) << run.errors;
  const pid_t daemon = run.json().value("pid", 0);
  ASSERT_GT(daemon, 0);
  EXPECT_FALSE(is_running(daemon));
  remember(daemon);
}

/// The datagrams that came to a socket, as one text.
std::string received(const UniqueFd& socket) {
  std::string text;
  std::array<char, 4096> datagram;
  for (ssize_t size = 0; size >= 0;) {
    size = ::recv(socket.get(), datagram.data(), datagram.size(), MSG_DONTWAIT);
    if (size > 0) text.append(datagram.data(), static_cast<size_t>(size)) += '\n';
  }
  return text;
}

TEST_F(CliTrouble, DaemonLogsToTheSystem) {
  if (run_command({"unshare", "-m", "true"}).exit_code != 0)
    GTEST_SKIP() << "needs a mount namespace of its own";
  const auto address = server::control_address(folder_ / "log");
  const UniqueFd log(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::bind(log.get(), address->pointer(), sizeof(sockaddr_un)), 0);
  const SlowSource slow(source_, folder_ / "slow");
  const Finished run = run_with_own_dev(folder_, "exec \"$@\"",
                                        {CACHEFS_PROGRAM, "mount", "--json", slow.path(), mountpoint_});
  ASSERT_EQ(run.exit_code, 0) << run.errors;
  const pid_t daemon = run.json().value("pid", 0);
  ASSERT_GT(daemon, 0);
  remember(daemon);
  slow.control({"hang", "data"});
  const Reader reader("/proc/" + std::to_string(daemon) + "/root" + mountpoint_ + "/greeting");
  EXPECT_TRUE(slow.is_awaited());
  EXPECT_TRUE(eventually([&] { return ::kill(daemon, SIGTERM) != 0 || !is_running(daemon); }));
  EXPECT_THAT(received(log), AllOf(HasSubstr("cachefs["), HasSubstr("told twice to end")));
}

}  // namespace
}  // namespace cachefs::test
