// The end of a mount while programs use it.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

#include "mount/mount_test_fixture.h"

namespace cachefs::test {
namespace {

auto deadline() { return std::chrono::steady_clock::now() + kDeadline; }

constexpr size_t kMappedSize = 4 * 1024 * 1024;

/// A child that has changed a whole file through a mapping, and keeps that. Ended with this object.
class MappingWriter {
 public:
  explicit MappingWriter(const std::string& path) {
    int ready[2];
    if (pipe2(ready, O_CLOEXEC) != 0) return;
    child_ = fork();
    if (child_ == 0) write_and_wait(path, ready[1]);
    close(ready[1]);
    char byte = 0;
    wrote_ = read(ready[0], &byte, 1) == 1;
    close(ready[0]);
  }
  ~MappingWriter() {
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
  }
  MappingWriter(const MappingWriter&) = delete;
  MappingWriter& operator=(const MappingWriter&) = delete;

  [[nodiscard]] bool wrote() const { return wrote_; }

 private:
  [[noreturn]] static void write_and_wait(const std::string& path, int ready) {
    dup2(ready, STDOUT_FILENO);
    close_range(3, ~0U, 0);  // a session's device that stays open here would keep the mount alive
    const int fd = open(path.c_str(), O_RDWR);
    void* const mapped = mmap(nullptr, kMappedSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED) _exit(1);
    close(fd);
    std::fill_n(static_cast<char*>(mapped), kMappedSize, 'm');
    if (write(STDOUT_FILENO, "x", 1) == 1) pause();
    _exit(0);
  }

  pid_t child_ = -1;
  bool wrote_ = false;
};

using MountStop = MountTest;
INSTANTIATE_TEST_SUITE_P(, MountStop, testing::Values(SourceKind::cached), source_name);

TEST_P(MountStop, WhatIsWrittenThroughAMappingReachesASlowSourceFirst) {
  const std::string path = (source_directory() / "file").string();
  ASSERT_EQ(write_file(path, std::string(kMappedSize, '.')), 0);
  const MappingWriter writer(at("file"));
  ASSERT_TRUE(writer.wrote());
  fault_.hang_if([](Operation operation) { return operation == Operation::write; });
  mounted_->stop();
  EXPECT_TRUE(fault_.wait_for_hanging(1, deadline())) << "the kernel is made to write";
  fault_.recover();
  mounted_.reset();  // now also pages that nobody wrote back keep no one waiting
  EXPECT_TRUE(contents_of(path) == std::string(kMappedSize, 'm'));
}

TEST_P(MountStop, WhatIsWrittenThroughAMappingReachesTheSourceThoughSomebodyTookTheMountAway) {
  const std::string path = (source_directory() / "file").string();
  ASSERT_EQ(write_file(path, std::string(kMappedSize, '.')), 0);
  const MappingWriter writer(at("file"));
  ASSERT_TRUE(writer.wrote());
  ASSERT_EQ(umount2(at("").c_str(), MNT_DETACH), 0);
  mounted_.reset();
  EXPECT_TRUE(contents_of(path) == std::string(kMappedSize, 'm'));
}

TEST_P(MountStop, WhatIsWrittenThroughAMappingThatIsMadeMeanwhileReachesTheSource) {
  const std::string path = (source_directory() / "file").string();
  ASSERT_EQ(write_file(path, std::string(kMappedSize, '.')), 0);
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(at(""));
  mounted_->stop();
  EXPECT_TRUE(eventually([&] { return access(at("file").c_str(), F_OK) != 0; }));
  const MappingWriter writer("file");
  std::filesystem::current_path(before);
  ASSERT_TRUE(writer.wrote());
  mounted_.reset();
  EXPECT_TRUE(contents_of(path) == std::string(kMappedSize, 'm'));
}

TEST_P(MountStop, WhatElseIsMountedInItsPlaceStays) {
  ASSERT_EQ(write_file(at("file"), "text"), 0);
  const int fd = open(at("file").c_str(), O_RDONLY);
  ASSERT_EQ(umount2(at("").c_str(), MNT_DETACH), 0);
  ASSERT_EQ(::mount("none", at("").c_str(), "tmpfs", 0, nullptr), 0);
  ASSERT_EQ(write_file(at("other"), "precious"), 0);
  mounted_.reset();
  EXPECT_EQ(contents_of(at("other")), "precious");
  EXPECT_EQ(umount2(at("").c_str(), MNT_DETACH), 0);
  close(fd);
}

/// When the loop has been left, a program that waits for the source is killed.
class MountStopWhileHung : public MountTest {
 protected:
  void on_unmounted() override {
    if (reader_ < 0) return;
    kill(reader_, SIGKILL);
    died_ = eventually([this] { return waitpid(reader_, nullptr, WNOHANG) == reader_; });
  }

  pid_t reader_ = -1;
  bool died_ = false;
};
INSTANTIATE_TEST_SUITE_P(, MountStopWhileHung, testing::Values(SourceKind::cached), source_name);

TEST_P(MountStopWhileHung, AProgramThatWaitsCanBeKilled) {
  std::ofstream(source_directory() / "file") << "text";
  fault_.hang_if([](Operation operation) { return operation == Operation::read; });
  reader_ = fork();
  if (reader_ == 0) {
    close_range(3, ~0U, 0);  // a session's device that stays open here would keep the mount alive
    const int fd = open(at("file").c_str(), O_RDONLY);
    char byte = 0;
    _exit(read(fd, &byte, 1) == 1 ? 0 : 1);
  }
  ASSERT_TRUE(fault_.wait_for_hanging(1, deadline()));
  mounted_.reset();
  EXPECT_TRUE(died_);
  if (!died_) waitpid(reader_, nullptr, 0);
}

/// Makes the kernel answer all that waits on a connection, in this process's mount namespace alone.
void abort_connection(unsigned number) {
  const TemporaryDirectory control;
  if (::mount("none", control.path().c_str(), "fusectl", 0, nullptr) != 0) return;
  std::ofstream(control.path() / std::to_string(number) / "abort") << "1";
  umount2(control.path().c_str(), MNT_DETACH);
}

/// When the loop has been left, a program reads on, and the cache tells of a change of that file.
class MountStopWhileReading : public MountTest {
 protected:
  void on_unmounted() override {
    if (fd_ < 0) return;
    reader_ = std::make_unique<WatchedThread>([this] {
      char byte = 0;
      read_ = pread(fd_, &byte, 1, 0);
      errno_ = errno;
    });
    // Unanswered, it keeps the page locked, and whoever tells the kernel of a change waiting.
    EXPECT_TRUE(reader_->ends_or_is_in_state('S'));
    cache()->invalidate("/file");
  }
  void TearDown() override {
    MountTest::TearDown();
    reader_.reset();
    if (fd_ >= 0) close(fd_);
  }

  int fd_ = -1;
  ssize_t read_ = 0;
  int errno_ = 0;
  std::unique_ptr<WatchedThread> reader_;
};
INSTANTIATE_TEST_SUITE_P(, MountStopWhileReading, testing::Values(SourceKind::cached), source_name);

TEST_P(MountStopWhileReading, TheReadIsRefusedAndTheSessionEnds) {
  std::ofstream(source_directory() / "file") << "text";
  fd_ = open(at("file").c_str(), O_RDONLY);
  ASSERT_GE(fd_, 0);
  struct stat status{};
  ASSERT_EQ(fstat(fd_, &status), 0);
  mounted_->stop();
  WatchedThread session([this] { mounted_->join(); });
  if (!session.ends()) {
    abort_connection(minor(status.st_dev));  // or this process could not even be killed
    FAIL() << "the session waits for a page that a request holds which nobody answers";
  }
  reader_->join();
  EXPECT_EQ(read_, -1);
  EXPECT_EQ(errno_, ENOTCONN);
}

}  // namespace
}  // namespace cachefs::test
