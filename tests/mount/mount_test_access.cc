// Who owns what is made, and who may do what.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mount/mount_test_fixture.h"

namespace cachefs::test {
namespace {

constexpr unsigned kUser = 12345;
constexpr unsigned kGroup = 23456;
constexpr unsigned kOtherGroup = 34567;

using MountAccess = MountTest;
INSTANTIATE_TEST_SUITE_P(, MountAccess,
                         testing::Values(SourceKind::memory, SourceKind::posix, SourceKind::cached),
                         source_name);

TEST_P(MountAccess, FilesBelongToWhoMadeThem) {
  const int result = run_as({.uid = kUser, .gid = kGroup}, [&] {
    const bool made = write_file(at("file"), "x") == 0 && mkdir(at("directory").c_str(), 0755) == 0 &&
                      symlink("file", at("link").c_str()) == 0 && mkfifo(at("fifo").c_str(), 0600) == 0;
    return made ? 0 : 1;
  });
  ASSERT_EQ(result, 0);
  for (const char* name : {"file", "directory", "link", "fifo"}) {
    struct stat status{};
    ASSERT_EQ(lstat(at(name).c_str(), &status), 0);
    EXPECT_EQ(status.st_uid, kUser) << name;
    EXPECT_EQ(status.st_gid, kGroup) << name;
  }
}

TEST_P(MountAccess, TheCallersUmaskCounts) {
  const int result = run_as({.uid = kUser, .gid = kGroup}, [&] {
    umask(027);
    const int fd = open(at("file").c_str(), O_CREAT | O_WRONLY, 0666);
    return fd >= 0 && mkdir(at("directory").c_str(), 0777) == 0 ? 0 : 1;
  });
  ASSERT_EQ(result, 0);
  struct stat status{};
  ASSERT_EQ(stat(at("file").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode, S_IFREG | 0640U);
  ASSERT_EQ(stat(at("directory").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode, S_IFDIR | 0750U);
}

TEST_P(MountAccess, StrangersAreRefused) {
  ASSERT_EQ(write_file(at("secret"), "x"), 0);
  ASSERT_EQ(chmod(at("secret").c_str(), 0600), 0);
  const int result = run_as({.uid = kUser, .gid = kGroup}, [&] {
    const bool refused = open(at("secret").c_str(), O_RDONLY) < 0 && errno == EACCES &&
                         chmod(at("secret").c_str(), 0666) < 0 && errno == EPERM;
    return refused ? 0 : 1;
  });
  EXPECT_EQ(result, 0);
}

/// A directory that only a supplementary group of the caller may write to, and that hands its group on.
TEST_P(MountAccess, SupplementaryGroupsCount) {
  ASSERT_EQ(mkdir(at("shared").c_str(), 0755), 0);
  ASSERT_EQ(chown(at("shared").c_str(), 0, kOtherGroup), 0);
  ASSERT_EQ(chmod(at("shared").c_str(), 02775), 0);
  const int result = run_as({.uid = kUser, .gid = kGroup, .groups = {kOtherGroup}},
                            [&] { return write_file(at("shared/file"), "x"); });
  ASSERT_EQ(result, 0);
  struct stat status{};
  ASSERT_EQ(stat(at("shared/file").c_str(), &status), 0);
  EXPECT_EQ(status.st_uid, kUser);
  EXPECT_EQ(status.st_gid, kOtherGroup);
}

/// The kernel drops the bits in the name of the writer, who may not change the mode himself.
TEST_P(MountAccess, WritesOfOthersDropSetIdBits) {
  ASSERT_EQ(write_file(at("file"), "x"), 0);
  ASSERT_EQ(chmod(at("file").c_str(), 06777), 0);
  EXPECT_EQ(run_as({.uid = kUser, .gid = kGroup}, [&] { return write_file(at("file"), "y"); }), 0);
  struct stat status{};
  ASSERT_EQ(stat(at("file").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode, S_IFREG | 0777U);
}

}  // namespace
}  // namespace cachefs::test
