// What a program wants durable with each write, and who waits for whom.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "mount/mount_test_fixture.h"

namespace cachefs::test {
namespace {

auto deadline() { return std::chrono::steady_clock::now() + kDeadline; }

std::function<bool(Operation)> is(Operation wanted) {
  return [wanted](Operation operation) { return operation == wanted; };
}

constexpr size_t kPage = 4096;

/// Memory from which O_DIRECT may write.
class AlignedPage {
 public:
  AlignedPage() : bytes_(std::aligned_alloc(kPage, kPage)) {
    std::fill_n(static_cast<char*>(bytes_), kPage, 'a');
  }
  ~AlignedPage() { std::free(bytes_); }
  AlignedPage(const AlignedPage&) = delete;
  AlignedPage& operator=(const AlignedPage&) = delete;
  [[nodiscard]] const void* bytes() const { return bytes_; }

 private:
  void* const bytes_;
};

class SyncedWrites : public MountTest {
 protected:
  [[nodiscard]] int open_file(int flags) const {
    return open(at("file").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0644);
  }
  const AlignedPage page_;
};
INSTANTIATE_TEST_SUITE_P(, SyncedWrites,
                         testing::Values(SourceKind::memory, SourceKind::posix, SourceKind::cached),
                         source_name);

TEST_P(SyncedWrites, AreSyncedOnceEachWhateverElseTheFileIsOpenedFor) {
  for (const int how : {O_DSYNC, O_SYNC}) {
    for (const int flags : {0, O_APPEND, O_DIRECT, O_APPEND | O_DIRECT}) {
      const int fd = open_file(how | flags);
      ASSERT_GE(fd, 0);
      counter_.reset();
      for (int i = 0; i < 3; ++i) EXPECT_EQ(write(fd, page_.bytes(), kPage), ssize_t{kPage});
      EXPECT_EQ(counter_.count(Operation::sync), 3U) << std::oct << (how | flags);
      close(fd);
    }
  }
}

TEST_P(SyncedWrites, WithoutTheFlagNothingIsSynced) {
  for (const int flags : {0, O_APPEND, O_DIRECT}) {
    const int fd = open_file(flags);
    counter_.reset();
    EXPECT_EQ(write(fd, page_.bytes(), kPage), ssize_t{kPage});
    EXPECT_EQ(counter_.count(Operation::sync), 0U) << std::oct << flags;
    close(fd);
  }
}

TEST_P(SyncedWrites, TellTheErrorOfTheSync) {
  for (const int flags : {0, O_APPEND, O_DIRECT}) {
    const int fd = open_file(O_DSYNC | flags);
    fault_.fail_if(is(Operation::sync), Error(std::errc::io_error));
    EXPECT_EQ(write(fd, page_.bytes(), kPage), -1) << std::oct << flags;
    EXPECT_EQ(errno, EIO);
    fault_.recover();
    close(fd);
  }
}

TEST_P(SyncedWrites, MayBeSingleOnes) {
  const iovec page{.iov_base = const_cast<void*>(page_.bytes()), .iov_len = kPage};
  for (const int flags : {0, O_APPEND, O_DIRECT}) {
    const int fd = open_file(flags);
    for (const int how : {0, RWF_DSYNC, RWF_SYNC}) {
      counter_.reset();
      EXPECT_EQ(pwritev2(fd, &page, 1, 0, how), ssize_t{kPage});
      EXPECT_EQ(counter_.count(Operation::sync), how != 0 ? 1U : 0U) << std::oct << flags << ' ' << how;
    }
    close(fd);
  }
}

TEST_P(SyncedWrites, CopiesAndAllocationsAreLikeThem) {
  ASSERT_EQ(write_file(at("from"), std::string(2 * kPage, 'x')), 0);
  const int from = open(at("from").c_str(), O_RDONLY | O_CLOEXEC);
  const int to = open_file(O_DSYNC);
  counter_.reset();
  EXPECT_GT(copy_file_range(from, nullptr, to, nullptr, 2 * kPage, 0), 0);
  EXPECT_EQ(counter_.count(Operation::sync), 1U);
  EXPECT_EQ(fallocate(to, 0, 0, 16 * kPage), 0);
  EXPECT_EQ(counter_.count(Operation::sync), 2U);
  close(from);
  close(to);
}

TEST_P(SyncedWrites, AFileIsTruncatedByAnOpenForReading) {
  ASSERT_EQ(write_file(at("file"), "text"), 0);
  const int fd = open(at("file").c_str(), O_RDONLY | O_TRUNC | O_CLOEXEC);
  ASSERT_GE(fd, 0) << strerrorname_np(errno);
  struct stat status{};
  EXPECT_EQ(fstat(fd, &status), 0);
  EXPECT_EQ(status.st_size, 0);
  close(fd);
  EXPECT_EQ(contents_of(at("file")), "");
}

/// A request of one file hangs, so that the kernel waits with dropping its page; others are told of and
/// answered.
class HangingPage : public MountTest {
 protected:
  void SetUp() override {
    MountTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    write_at_source("hanging", std::string(kPage, 'h'));
    write_at_source("healthy", std::string(kPage, '1'));
  }
  void TearDown() override {
    fault_.recover();
    reader_.reset();
    MountTest::TearDown();
  }
  void write_at_source(const std::string& name, const std::string& text) const {
    std::ofstream(source_directory() / name) << text;
  }
  /// A read of "hanging" that hangs, and a change of that file that was found.
  void hang() {
    fault_.hang_if(is(Operation::read));
    reader_ = std::make_unique<WatchedThread>([this] { (void)contents_of(at("hanging")); });
    ASSERT_TRUE(fault_.wait_for_hanging(1, deadline()));
    cache()->invalidate("/hanging");
  }

  std::unique_ptr<WatchedThread> reader_;
};
INSTANTIATE_TEST_SUITE_P(, HangingPage, testing::Values(SourceKind::cached), source_name);

TEST_P(HangingPage, HoldsUpNoDirectWriteOfAnotherFile) {
  hang();
  const AlignedPage page;
  const int fd = open(at("healthy").c_str(), O_WRONLY | O_DIRECT | O_CLOEXEC);
  ASSERT_GE(fd, 0);
  WatchedThread writer([&] { EXPECT_EQ(pwrite(fd, page.bytes(), kPage, 0), ssize_t{kPage}); });
  EXPECT_TRUE(writer.ends());
  fault_.recover();
  writer.join();
  close(fd);
}

TEST_P(HangingPage, HoldsUpNoChangeOfAnotherFile) {
  const int fd = open(at("healthy").c_str(), O_RDONLY | O_CLOEXEC);
  char byte = 0;
  ASSERT_EQ(pread(fd, &byte, 1, 0), 1);
  hang();
  write_at_source("healthy", std::string(kPage, '2'));
  cache()->invalidate("/healthy");
  struct stat status{};
  EXPECT_TRUE(eventually([&] {  // the page is gone when the read asks the source, which hangs
    WatchedThread reader([&] { (void)pread(fd, &byte, 1, 0); });
    if (fault_.wait_for_hanging(2, std::chrono::steady_clock::now() + std::chrono::milliseconds(100))) {
      fault_.recover();
      return true;
    }
    return false;
  }));
  EXPECT_EQ(fstat(fd, &status), 0);
  EXPECT_EQ(pread(fd, &byte, 1, 0), 1);
  EXPECT_EQ(byte, '2');
  close(fd);
}

}  // namespace
}  // namespace cachefs::test
