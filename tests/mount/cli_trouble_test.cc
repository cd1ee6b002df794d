// Mounts, signals and unmounts in circumstances that are less than friendly.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <thread>

#include "mount/cli_fixture.h"
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

}  // namespace
}  // namespace cachefs::test
