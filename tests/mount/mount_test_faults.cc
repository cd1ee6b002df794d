// A source that fails or hangs, and the end of a mount.
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "mount/mount_test_fixture.h"

namespace cachefs::test {
namespace {

using MountFaults = MountTest;
INSTANTIATE_TEST_SUITE_P(, MountFaults, testing::Values(SourceKind::memory, SourceKind::posix), source_name);

std::function<bool(Operation)> is(Operation wanted) {
  return [wanted](Operation operation) { return operation == wanted; };
}

auto deadline() { return std::chrono::steady_clock::now() + kDeadline; }

pid_t start_reader(const std::string& path, void (*on_alarm)(int) = SIG_DFL) {
  const pid_t child = fork();
  if (child != 0) return child;
  close_range(3, ~0U, 0);  // a session's device that stays open here would keep the mount alive
  struct sigaction action{};
  action.sa_handler = on_alarm;
  action.sa_flags = SA_RESTART;
  sigaction(SIGALRM, &action, nullptr);
  char text[4];
  const int fd = open(path.c_str(), O_RDONLY);
  _exit(fd >= 0 && read(fd, text, sizeof text) == 4 ? 0 : 1);
}

/// Whether the child ends in time; its status.
bool ends(pid_t child, int* status) {
  return eventually([&] { return waitpid(child, status, WNOHANG) == child; });
}

TEST_P(MountFaults, ErrorsOfTheSourceReachTheCaller) {
  ASSERT_EQ(write_file(at("file"), "text"), 0);
  fault_.fail_if(is(Operation::read), Error(std::errc::io_error));
  EXPECT_EQ(contents_of(at("file")), "?EIO");
  fault_.fail_if(is(Operation::write), Error(std::errc::no_space_on_device));
  EXPECT_EQ(write_file(at("file"), "more"), ENOSPC);
  fault_.recover();
  EXPECT_EQ(contents_of(at("file")), "text");
}

/// The kernel tries the page alone when reading ahead has failed: that would be a second limit.
TEST_P(MountFaults, AReadThatGetsNoAnswerWaitsForOneLimit) {
  ASSERT_EQ(write_file(at("file"), "text"), 0);
  const int fd = open(at("file").c_str(), O_RDONLY);
  fault_.fail_if(is(Operation::read), Error(std::errc::timed_out));
  char text[4];
  for (uint64_t times = 1; times <= 2; ++times) {
    EXPECT_EQ(pread(fd, text, sizeof text, 0), -1);
    EXPECT_EQ(errno, ETIMEDOUT);
    EXPECT_EQ(counter_.count(Operation::read), times);
  }
  fault_.recover();
  EXPECT_EQ(pread(fd, text, sizeof text, 0), 4);
  close(fd);
}

TEST_P(MountFaults, AnErrorThatMeansUnsupportedDoesNotLast) {
  ASSERT_EQ(write_file(at("file"), "text"), 0);
  const int fd = open(at("file").c_str(), O_RDWR);
  fault_.fail_if(is(Operation::sync), Error(std::errc::function_not_supported));
  EXPECT_EQ(fsync(fd), -1);
  fault_.recover();
  counter_.reset();
  EXPECT_EQ(fsync(fd), 0);
  EXPECT_EQ(counter_.count(Operation::sync), 1U);
  close(fd);
}

TEST_P(MountFaults, HungReadsLeaveMetadataAndWritesAlone) {
  constexpr int kReaders = 20;
  ASSERT_EQ(write_file(at("file"), "text"), 0);
  fault_.hang_if(is(Operation::read));
  std::vector<pid_t> readers;
  for (int i = 0; i < kReaders; ++i) readers.push_back(start_reader(at("file")));
  ASSERT_TRUE(fault_.wait_for_hanging(kReaders, deadline()));
  struct stat status{};
  EXPECT_EQ(stat(at("file").c_str(), &status), 0);
  EXPECT_EQ(mkdir(at("directory").c_str(), 0755), 0);
  EXPECT_EQ(write_file(at("other"), "text"), 0);
  fault_.recover();
  for (const pid_t reader : readers) {
    int result = -1;
    EXPECT_TRUE(ends(reader, &result));
    EXPECT_EQ(result, 0);
  }
}

TEST_P(MountFaults, AKilledReaderDiesWhileTheSourceHangs) {
  ASSERT_EQ(write_file(at("file"), "text"), 0);
  fault_.hang_if(is(Operation::read));
  const pid_t reader = start_reader(at("file"));
  ASSERT_TRUE(fault_.wait_for_hanging(1, deadline()));
  kill(reader, SIGKILL);
  int status = 0;
  ASSERT_TRUE(ends(reader, &status));
  EXPECT_EQ(WTERMSIG(status), SIGKILL);
  EXPECT_EQ(fault_.hanging(), 1U);  // the source's call goes on
  fault_.recover();
  EXPECT_EQ(contents_of(at("file")), "text");
}

TEST_P(MountFaults, ASignalThatDoesNotKillFailsNoRead) {
  ASSERT_EQ(write_file(at("file"), "text"), 0);
  fault_.hang_if(is(Operation::read));
  const pid_t reader = start_reader(at("file"), [](int) {});
  ASSERT_TRUE(fault_.wait_for_hanging(1, deadline()));
  kill(reader, SIGALRM);
  fault_.recover();
  int status = -1;
  ASSERT_TRUE(ends(reader, &status));
  EXPECT_EQ(status, 0);
}

TEST_P(MountFaults, AReaderThatWasInterruptedFirstCanStillBeKilled) {
  ASSERT_EQ(write_file(at("file"), "text"), 0);
  fault_.hang_if(is(Operation::read));
  const pid_t reader = start_reader(at("file"), [](int) {});
  ASSERT_TRUE(fault_.wait_for_hanging(1, deadline()));
  kill(reader, SIGALRM);
  kill(reader, SIGTERM);
  int status = 0;
  ASSERT_TRUE(ends(reader, &status));
  EXPECT_EQ(WTERMSIG(status), SIGTERM);
}

TEST_P(MountFaults, UnmountedFromOutsideTheSessionEnds) {
  ASSERT_EQ(write_file(at("file"), "text"), 0);
  ASSERT_EQ(umount2(at("").c_str(), 0), 0) << strerrorname_np(errno);
  mounted_->join();
  EXPECT_EQ(contents_of(at("file")), "?ENOENT");
}

TEST_P(MountFaults, StopEndsTheSessionWhileFilesAreOpen) {
  ASSERT_EQ(write_file(at("file"), "text"), 0);
  const int fd = open(at("file").c_str(), O_RDONLY);
  mounted_->stop();
  mounted_->join();
  mounted_.reset();
  EXPECT_EQ(counter_.count(Operation::close),
            counter_.count(Operation::open) + counter_.count(Operation::create));
  char text[4];
  EXPECT_EQ(read(fd, text, sizeof text), -1);
  EXPECT_EQ(errno, ENOTCONN);
  close(fd);
}

TEST_P(MountFaults, StopEndsTheSessionWhileTheSourceHangs) {
  ASSERT_EQ(write_file(at("file"), "text"), 0);
  fault_.hang_if(is(Operation::read));
  const pid_t reader = start_reader(at("file"));
  ASSERT_TRUE(fault_.wait_for_hanging(1, deadline()));
  mounted_->stop();
  mounted_->join();  // the fixture lets the source recover once the kernel asks no more
  mounted_.reset();
  int status = 0;
  EXPECT_TRUE(ends(reader, &status));
}

}  // namespace
}  // namespace cachefs::test
