// Who owns what is made, and who may do what.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "mount/mount_test_fixture.h"
#include "support/deciding_fs.h"

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

TEST_P(MountAccess, AnOpenFileIsReadOnAfterItsOwnerHasTakenAllRightsAway) {
  const std::string content(400'000, 'x');
  ASSERT_EQ(write_file(at("file"), content), 0);
  ASSERT_EQ(chown(at("file").c_str(), kUser, kGroup), 0);
  const int result = run_as({.uid = kUser, .gid = kGroup}, [&] {
    char byte = 0;
    const int warm = open(at("file").c_str(), O_RDONLY);
    if (pread(warm, &byte, 1, 0) != 1 || close(warm) != 0) return 1;
    const int fd = open(at("file").c_str(), O_RDONLY);
    if (fd < 0 || fchmod(fd, 0) != 0) return 2;
    if (posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM) != 0) return 3;
    return pread(fd, &byte, 1, 390'000) == 1 ? 0 : errno;
  });
  EXPECT_EQ(result, 0);
}

TEST_P(MountAccess, AnOpenDirectoryIsRewoundAfterItsOwnerHasTakenAllRightsAway) {
  ASSERT_EQ(mkdir(at("d").c_str(), 0755), 0);
  ASSERT_EQ(write_file(at("d/file"), "x"), 0);
  ASSERT_EQ(chown(at("d").c_str(), kUser, kGroup), 0);
  const int result = run_as({.uid = kUser, .gid = kGroup}, [&] {
    DIR* directory = opendir(at("d").c_str());
    if (directory == nullptr || readdir(directory) == nullptr) return 1;
    if (chmod(at("d").c_str(), 0) != 0) return 2;
    rewinddir(directory);
    int entries = 0;
    errno = 0;
    while (readdir(directory) != nullptr) ++entries;
    return entries == 3 ? 0 : errno;
  });
  EXPECT_EQ(result, 0);
}

TEST_P(MountAccess, ProgramsRunForThoseWhoMayNotReadThem) {
  ASSERT_EQ(write_file(at("true"), contents_of("/bin/true")), 0);
  ASSERT_EQ(chmod(at("true").c_str(), 0711), 0);
  const Identity stranger{.uid = kUser, .gid = kGroup};
  const auto run = [&] {
    return run_as(stranger, [&] {
      execl(at("true").c_str(), "true", nullptr);
      return errno;
    });
  };
  EXPECT_EQ(run(), 0);
  EXPECT_EQ(run_as(stranger, [&] { return open(at("true").c_str(), O_RDONLY) < 0 ? errno : 0; }), EACCES);
  ASSERT_EQ(chmod(at("true").c_str(), 0744), 0);
  EXPECT_EQ(run(), EACCES);
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

/// The source decides, not the mode bits. /d/file is cached, and known to the kernel.
class MountAccessCheck : public MountTest {
 protected:
  void SetUp() override {
    MountTest::SetUp();
    if (IsSkipped()) return;
    ASSERT_EQ(mkdir(at("d").c_str(), 0755), 0);
    ASSERT_EQ(write_file(at("d/file"), "x"), 0);
    ASSERT_EQ(use(), 0);
    ASSERT_EQ(run_as({.uid = kOtherUser, .gid = kGroup}, [&] { return use(); }), 0);
  }
  [[nodiscard]] CacheOptions cache_options() const override {
    return {.coherence = {.mode = CoherenceMode::ttl, .ttl = std::chrono::hours(1)},
            .access_check = AccessCheck::source};
  }
  FileSystem& decorate(FileSystem& source) override {
    server_ = std::make_unique<DecidingFs>(source);
    return *server_;
  }
  /// Looks up, reads, lists; the errno of what failed, or 0.
  [[nodiscard]] int use() const {
    struct stat status{};
    if (stat(at("d/file").c_str(), &status) != 0) return errno;
    if (contents_of(at("d/file")) != "x") return EBADMSG;
    std::error_code failed;
    const std::filesystem::directory_iterator listing(at("d"), failed);
    return failed.value();
  }
  /// What each of the three gives to kUser.
  [[nodiscard]] std::vector<int> errors_of_user() const {
    const auto as_user = [](const std::function<int()>& work) {
      return run_as({.uid = kUser, .gid = kGroup}, work);
    };
    return {as_user([&] {
              struct stat status{};
              return stat(at("d/file").c_str(), &status) == 0 ? 0 : errno;
            }),
            as_user([&] { return open(at("d/file").c_str(), O_RDONLY) >= 0 ? 0 : errno; }),
            as_user([&] { return open(at("d").c_str(), O_RDONLY | O_DIRECTORY) >= 0 ? 0 : errno; })};
  }

  static constexpr unsigned kOtherUser = 54321;
  std::unique_ptr<DecidingFs> server_;
};
INSTANTIATE_TEST_SUITE_P(, MountAccessCheck, testing::Values(SourceKind::cached), source_name);

TEST_P(MountAccessCheck, WhomTheSourceRefusesSeesNothingOfIt) {
  server_->refuse(kUser);
  EXPECT_EQ(errors_of_user(), (std::vector<int>{EACCES, EACCES, EACCES}));
  EXPECT_EQ(run_as({.uid = kOtherUser, .gid = kGroup}, [&] { return use(); }), 0);
  server_->admit(kUser);
  EXPECT_EQ(errors_of_user(), (std::vector<int>{0, 0, 0}));
}

/// As with root_squash.
TEST_P(MountAccessCheck, RootIsRefusedToo) {
  server_->refuse(0);
  cache()->clear();
  EXPECT_EQ(use(), EACCES);
  EXPECT_EQ(run_as({.uid = kOtherUser, .gid = kGroup}, [&] { return use(); }), 0);
}

TEST_P(MountAccessCheck, WhatWasAllowedIsServedFromTheCache) {
  counter_.reset();
  EXPECT_EQ(run_as({.uid = kOtherUser, .gid = kGroup}, [&] { return use(); }), 0);
  EXPECT_EQ(counter_.total(), 0U);
}

/// The kernel's own check of mode bits stays on.
TEST_P(MountAccessCheck, ModeBitsRefuseAsWell) {
  ASSERT_EQ(chmod(at("d/file").c_str(), 0600), 0);
  EXPECT_EQ(run_as({.uid = kOtherUser, .gid = kGroup}, [&] { return use(); }), EBADMSG);
}

}  // namespace
}  // namespace cachefs::test
