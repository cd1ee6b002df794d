// What a program sees otherwise than on the source itself, as docs/SEMANTICS.md lists it.
#include <dirent.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <memory>

#include "mount/mount_test_fixture.h"

namespace cachefs::test {
namespace {

/// 0, or the errno of a call that returned `result`.
int error_of(long result) { return result < 0 ? errno : 0; }

class Differences : public MountTest {
 protected:
  void SetUp() override {
    MountTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    ASSERT_EQ(write_file(at("file"), std::string(16384, 'x')), 0);
    fd_ = open(at("file").c_str(), O_RDWR | O_CLOEXEC);
    ASSERT_GE(fd_, 0);
  }
  void TearDown() override {
    close(fd_);
    MountTest::TearDown();
  }
  [[nodiscard]] struct stat status() const {
    struct stat result{};
    EXPECT_EQ(fstat(fd_, &result), 0);
    return result;
  }

  int fd_ = -1;
};
INSTANTIATE_TEST_SUITE_P(, Differences, testing::Values(SourceKind::cached), source_name);

TEST_P(Differences, ThereAreNoFilesWithoutAName) {
  EXPECT_EQ(error_of(open(at("").c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600)), EOPNOTSUPP);
}

TEST_P(Differences, RangesAreNeitherCutOutNorInserted) {
  EXPECT_EQ(error_of(fallocate(fd_, FALLOC_FL_COLLAPSE_RANGE, 0, 4096)), EOPNOTSUPP);
  EXPECT_EQ(error_of(fallocate(fd_, FALLOC_FL_INSERT_RANGE, 0, 4096)), EOPNOTSUPP);
}

TEST_P(Differences, ThereAreNoFileFlags) {
  long flags = 0;
  EXPECT_EQ(error_of(ioctl(fd_, FS_IOC_GETFLAGS, &flags)), ENOTTY);
}

TEST_P(Differences, ARenameLeavesNoWhiteout) {
  EXPECT_EQ(
      error_of(syscall(SYS_renameat2, AT_FDCWD, at("file").c_str(), AT_FDCWD, at("other").c_str(), 1U << 2)),
      EINVAL);
}

TEST_P(Differences, TimesEndIn2262) {
  constexpr time_t k2300 = 10'413'792'000;
  const timespec times[2] = {{.tv_sec = k2300, .tv_nsec = 0}, {.tv_sec = k2300, .tv_nsec = 0}};
  ASSERT_EQ(futimens(fd_, times), 0);
  EXPECT_EQ(status().st_mtim.tv_sec, INT64_MAX / 1'000'000'000);
}

TEST_P(Differences, AReadFromTheCacheIsNoAccess) {
  const timespec times[2] = {{.tv_sec = 1, .tv_nsec = 0}, {.tv_sec = 2, .tv_nsec = 0}};
  char byte = 0;
  ASSERT_EQ(pread(fd_, &byte, 1, 0), 1);
  ASSERT_EQ(futimens(fd_, times), 0);
  ASSERT_EQ(pread(fd_, &byte, 1, 0), 1);
  EXPECT_EQ(status().st_atim.tv_sec, 1);
}

TEST_P(Differences, ADirectoryThatWasRemovedCannotBeOpened) {
  ASSERT_EQ(mkdir(at("directory").c_str(), 0755), 0);
  const int directory = open(at("directory").c_str(), O_PATH | O_CLOEXEC);
  ASSERT_EQ(rmdir(at("directory").c_str()), 0);
  EXPECT_EQ(error_of(openat(directory, ".", O_RDONLY | O_CLOEXEC)), ENOENT);
  close(directory);
}

TEST_P(Differences, AListingDoesNotTellTheNumbersOfDots) {
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(opendir(at("").c_str()), closedir);
  const dirent* entry = readdir(directory.get());
  ASSERT_NE(entry, nullptr);
  EXPECT_STREQ(entry->d_name, ".");
  EXPECT_EQ(entry->d_ino, 0xFFFFFFFFU);
}

TEST_P(Differences, AnOwnerThatIsNoneDropsNoSetIdBits) {
  ASSERT_EQ(fchmod(fd_, 06777), 0);
  ASSERT_EQ(fchown(fd_, static_cast<uid_t>(-1), static_cast<gid_t>(-1)), 0);
  EXPECT_EQ(status().st_mode & 07777U, 06777U);
}

}  // namespace
}  // namespace cachefs::test
