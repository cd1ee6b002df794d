// Mounts, signals and unmounts in circumstances that are less than friendly.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <thread>

#include "mount/cli_fixture.h"
#include "server/control_client.h"
#include "server/unique_fd.h"

namespace cachefs::test {
namespace {

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

/// Reads a file to its end in a thread, whatever comes of it.
std::thread reader_of(const std::string& path) {
  return std::thread([path] {
    const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    std::array<char, 16> chunk;
    while (::read(file.get(), chunk.data(), chunk.size()) > 0) {
    }
  });
}

bool ends_in_time(const UniqueFd& pipe) {
  pollfd waiting{.fd = pipe.get(), .events = POLLIN, .revents = 0};
  return ::poll(&waiting, 1, 10'000) == 1 && (waiting.revents & POLLHUP) != 0;
}

TEST_F(CliTrouble, SameEndToldTwiceIsAwaited) {
  const SlowSource slow(source_, folder_ / "slow");
  const pid_t daemon = start({"mount", "--foreground", slow.path(), mountpoint_});
  ASSERT_TRUE(eventually([&] { return cachefs({"status", mountpoint_}).exit_code == 0; }));
  slow.control({"hang", "data"});
  std::thread reader = reader_of(mountpoint_ + "/greeting");
  EXPECT_TRUE(slow.is_awaited());
  for (const int signal : {SIGTERM, SIGHUP, SIGINT}) {
    EXPECT_EQ(::kill(daemon, signal), 0);
    EXPECT_TRUE(eventually([&] { return !is_mounted(); }));
  }
  slow.control({"recover"});
  reader.join();
  int status = -1;
  ASSERT_EQ(::waitpid(daemon, &status, 0), daemon);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
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

TEST_F(CliTrouble, CallerMayHaveClosedItsStandardStreams) {
  const std::string script = "exec \"$@\" <&- >&- 2>&-";
  const Finished run =
      run_command({"sh", "-c", script, "sh", CACHEFS_PROGRAM, "mount", source_, mountpoint_});
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_EQ(cachefs({"status", mountpoint_}).exit_code, 0);
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
  // A /dev of its own, whose log ($0) is ours; in it, the rest of the words is run.
  const std::string script = R"(set -e
    mkdir "$0.dev" && mount -t tmpfs none "$0.dev"
    for device in fuse null; do touch "$0.dev/$device"; mount --bind /dev/$device "$0.dev/$device"; done
    ln -s "$0" "$0.dev/log" && mount --rbind "$0.dev" /dev
    exec "$@")";
  const Finished run = run_command({"unshare", "-m", "sh", "-c", script, folder_ / "log", CACHEFS_PROGRAM,
                                    "mount", "--json", slow.path(), mountpoint_});
  ASSERT_EQ(run.exit_code, 0) << run.errors;
  const pid_t daemon = run.json().value("pid", 0);
  ASSERT_GT(daemon, 0);
  remember(daemon);
  slow.control({"hang", "data"});
  std::thread reader = reader_of("/proc/" + std::to_string(daemon) + "/root" + mountpoint_ + "/greeting");
  EXPECT_TRUE(slow.is_awaited());
  EXPECT_TRUE(eventually([&] { return ::kill(daemon, SIGTERM) != 0 || !is_running(daemon); }));
  reader.join();
  EXPECT_THAT(received(log), AllOf(HasSubstr("cachefs["), HasSubstr("told twice to end")));
}

}  // namespace
}  // namespace cachefs::test
