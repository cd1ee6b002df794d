// Locks of a PosixFs among other programs' own, made past it by child processes.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "cachefs/lock_store.h"
#include "cachefs/path_operations.h"
#include "cachefs/posix_fs.h"
#include "support/temporary_directory.h"

namespace cachefs {
namespace {

constexpr LockOwner kOne{.family = LockFamily::record, .number = 1};
constexpr LockOwner kWhole{.family = LockFamily::whole, .number = 1};

/// In a child: 0, or the errno of trying to lock the file at `path` by fcntl(2) as any program does.
int lock_as_another(const std::string& path, short type) {
  const pid_t child = fork();
  if (child == 0) {
    const int fd = ::open(path.c_str(), O_RDWR);
    struct flock lock{};
    lock.l_type = type;
    _exit(fcntl(fd, F_SETLK, &lock) == 0 ? 0 : errno);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WEXITSTATUS(status);
}

/// Likewise by flock(2).
int flock_as_another(const std::string& path, int operation) {
  const pid_t child = fork();
  if (child == 0) {
    const int fd = ::open(path.c_str(), O_RDONLY);
    _exit(flock(fd, operation | LOCK_NB) == 0 ? 0 : errno);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WEXITSTATUS(status);
}

class PosixLocksTest : public testing::Test {
 protected:
  void SetUp() override {
    auto fs = make_posix_fs(directory_.path().string());
    ASSERT_TRUE(fs);
    fs_ = std::move(*fs);
    ASSERT_TRUE(write_file(*fs_, "/file", "content"));
    node_ = resolve(*fs_, "/file").value().node;
  }
  void TearDown() override { node_ = {}; }
  int set(LockOwner owner, LockMode mode, LockAccess access = {}) {
    const auto result = fs_->locks()->set(*node_, {.owner = owner, .mode = mode, .access = access}, caller_);
    return result ? 0 : result.error().to_errno();
  }
  [[nodiscard]] std::string path() const { return (directory_.path() / "file").string(); }
  static size_t open_descriptors() {
    size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
      std::error_code ignored;
      count += std::filesystem::read_symlink(entry, ignored).filename() == "file" ? 1U : 0U;
    }
    return count;
  }

  const Caller caller_ = Caller::self();
  test::TemporaryDirectory directory_;
  std::unique_ptr<FileSystem> fs_;
  NodeRef node_;
};

TEST_F(PosixLocksTest, RecordLocksKeepOtherProgramsOut) {
  ASSERT_EQ(set(kOne, LockMode::shared), 0);
  EXPECT_EQ(lock_as_another(path(), F_RDLCK), 0);
  EXPECT_EQ(lock_as_another(path(), F_WRLCK), EAGAIN);
  ASSERT_EQ(set(kOne, LockMode::none), 0);
  EXPECT_EQ(lock_as_another(path(), F_WRLCK), 0);
}

TEST_F(PosixLocksTest, WholeFileLocksKeepOtherProgramsOut) {
  ASSERT_EQ(set(kWhole, LockMode::exclusive, {.read = true, .write = false}), 0);
  EXPECT_EQ(flock_as_another(path(), LOCK_SH), EWOULDBLOCK);
  EXPECT_EQ(lock_as_another(path(), F_WRLCK), 0) << "of another family";
  ASSERT_TRUE(fs_->locks()->release(*node_, kWhole));
  EXPECT_EQ(flock_as_another(path(), LOCK_SH), 0);
}

TEST_F(PosixLocksTest, ClosingAnotherDescriptorOfTheFileDropsNothing) {
  ASSERT_EQ(set(kOne, LockMode::exclusive), 0);
  ASSERT_TRUE(write_file(*fs_, "/file", "other"));  // opens and closes it in this process
  EXPECT_EQ(lock_as_another(path(), F_WRLCK), EAGAIN);
}

TEST_F(PosixLocksTest, AFileWithoutANameIsLockedThroughWhoHasItOpen) {
  auto opened = fs_->open(*node_, {.read = true, .write = false}, caller_);
  ASSERT_TRUE(opened);
  ASSERT_EQ(::unlink(path().c_str()), 0);
  EXPECT_FALSE(fs_->lookup(*fs_->root(), "file", caller_));  // which closes what was kept of it
  const LockOwner other{.family = LockFamily::record, .number = 2};
  EXPECT_EQ(set(kOne, LockMode::exclusive), 0);
  EXPECT_EQ(set(other, LockMode::shared), EAGAIN);
  ASSERT_TRUE(fs_->locks()->release(*node_, kOne));
  ASSERT_TRUE(opened->file->close());
  const LockOwner third{.family = LockFamily::record, .number = 3};
  EXPECT_EQ(set(third, LockMode::shared), ESTALE) << "nobody has it open";
}

TEST_F(PosixLocksTest, SomebodyElsesLockIsTold) {
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    const int fd = ::open(path().c_str(), O_RDWR);
    struct flock lock{};
    lock.l_type = F_WRLCK;
    lock.l_start = 2;
    lock.l_len = 3;
    if (fcntl(fd, F_SETLK, &lock) == 0 && write(ready[1], "x", 1) == 1) pause();
    _exit(1);
  }
  char byte = 0;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  EXPECT_EQ(set(kOne, LockMode::shared), EAGAIN);
  const auto held = fs_->locks()->test(*node_, {.owner = kOne, .mode = LockMode::shared}, caller_);
  ASSERT_TRUE(held && *held);
  EXPECT_EQ((*held)->mode, LockMode::exclusive);
  EXPECT_EQ((*held)->range, (LockRange{.begin = 2, .end = 5}));
  EXPECT_EQ((*held)->process, child);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_EQ(set(kOne, LockMode::shared), 0);
}

TEST_F(PosixLocksTest, OwnersTakeDescriptorsOnlyWhileTheyUseTheFile) {
  const size_t before = open_descriptors();
  ASSERT_EQ(set(kOne, LockMode::exclusive), 0);
  ASSERT_EQ(set(kWhole, LockMode::exclusive), 0);
  EXPECT_EQ(open_descriptors(), before + 2);
  ASSERT_EQ(set(kOne, LockMode::none), 0);
  ASSERT_TRUE(fs_->locks()->release(*node_, kWhole));
  EXPECT_EQ(open_descriptors(), before);
}

TEST_F(PosixLocksTest, ALockOfAFileForReadingMayBecomeExclusiveByOneForWriting) {
  ASSERT_EQ(set(kOne, LockMode::shared, {.read = true, .write = false}), 0);
  EXPECT_EQ(set(kOne, LockMode::exclusive, {.read = true, .write = true}), 0);
}

TEST_F(PosixLocksTest, AnUnlinkedFileIsLockedThroughWhoHasItOpen) {
  const auto file = open(*fs_, "/file", {.read = true, .write = true});
  ASSERT_TRUE(file);
  ASSERT_TRUE(remove(*fs_, "/file"));
  EXPECT_EQ(set(kOne, LockMode::exclusive), 0);
}

TEST_F(PosixLocksTest, TheRightToOpenAFileMayBeGoneWhenItIsLocked) {
  if (geteuid() != 0) return;  // what one user may, he may always
  ASSERT_TRUE(chmod(*fs_, "/file", 0600));
  Caller other;
  other.uid = other.gid = 1234;
  EXPECT_TRUE(fs_->locks()->set(*node_, {.owner = kOne, .mode = LockMode::exclusive}, other));
}

}  // namespace
}  // namespace cachefs
