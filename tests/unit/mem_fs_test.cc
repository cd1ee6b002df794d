// What MemFs does beyond the conformance suite: its variants, permissions, capacity.
#include "cachefs/mem_fs.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <thread>

#include "cachefs/path_operations.h"

namespace cachefs {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

const Caller kAlice{.uid = 1000, .gid = 1000, .groups = {}, .umask = 022};
const Caller kBob{.uid = 2000, .gid = 2000, .groups = {3000}, .umask = 022};

template <typename T>
int errno_of(const Result<T>& result) {
  return result ? 0 : result.error().to_errno();
}

Attributes stat_of(FileSystem& fs, std::string_view path) { return stat(fs, path).value_or(Attributes{}); }

TEST(MemFs, ReusedInodeNumberComesWithAnotherGeneration) {
  auto fs = make_mem_fs({.inode_numbers = InodeNumbers::reused});
  ASSERT_TRUE(write_file(*fs, "/a", "1"));
  const FileIdentity first = stat_of(*fs, "/a").identity;
  ASSERT_TRUE(remove(*fs, "/a"));
  ASSERT_TRUE(write_file(*fs, "/b", "2"));
  const FileIdentity second = stat_of(*fs, "/b").identity;
  EXPECT_EQ(second.inode, first.inode);
  EXPECT_NE(second.generation, first.generation);
}

TEST(MemFs, InodeNumberIsNotReusedWhileAHandleIsOpen) {
  auto fs = make_mem_fs({.inode_numbers = InodeNumbers::reused});
  auto handle = create(*fs, "/a");
  ASSERT_TRUE(handle);
  const uint64_t inode = stat_of(*fs, "/a").identity.inode;
  ASSERT_TRUE(remove(*fs, "/a"));
  ASSERT_TRUE(write_file(*fs, "/b", ""));
  EXPECT_NE(stat_of(*fs, "/b").identity.inode, inode);
}

TEST(MemFs, RandomInodeNumbersDifferAtEachAnswer) {
  auto fs = make_mem_fs({.inode_numbers = InodeNumbers::random});
  EXPECT_FALSE(fs->capabilities().stable_identity);
  EXPECT_NE(stat_of(*fs, "/").identity, stat_of(*fs, "/").identity);
  EXPECT_EQ(stat_of(*fs, "/").version, stat_of(*fs, "/").version);
}

TEST(MemFs, CoarseTimestampsHideASecondChange) {
  ManualClock clock;
  auto fs = make_mem_fs(
      {.version_source = VersionSource::timestamps, .timestamp_granule = seconds(2), .clock = &clock});
  ASSERT_TRUE(write_file(*fs, "/a", "1"));
  const Version first = stat_of(*fs, "/a").version;
  clock.advance(milliseconds(1));
  ASSERT_TRUE(write_file(*fs, "/a", "2"));
  EXPECT_EQ(stat_of(*fs, "/a").version, first);
  clock.advance(seconds(2));
  ASSERT_TRUE(write_file(*fs, "/a", "3"));
  EXPECT_NE(stat_of(*fs, "/a").version, first);
}

TEST(MemFs, FineTimestampsShowEachChangeOfAClockThatStands) {
  ManualClock clock;
  auto fs = make_mem_fs({.version_source = VersionSource::timestamps, .clock = &clock});
  ASSERT_TRUE(write_file(*fs, "/a", "1"));
  const Version first = stat_of(*fs, "/a").version;
  ASSERT_TRUE(write_file(*fs, "/a", "2"));
  EXPECT_NE(stat_of(*fs, "/a").version, first);
}

TEST(MemFs, WithoutTimesOnlyTheSizeShows) {
  auto fs = make_mem_fs({.version_source = VersionSource::size_only});
  ASSERT_TRUE(write_file(*fs, "/a", "1"));
  const Attributes first = stat_of(*fs, "/a");
  EXPECT_EQ(first.mtime, Timestamp{});
  ASSERT_TRUE(write_file(*fs, "/a", "2"));
  EXPECT_EQ(stat_of(*fs, "/a").version, first.version);
  ASSERT_TRUE(write_file(*fs, "/a", "22"));
  EXPECT_NE(stat_of(*fs, "/a").version, first.version);
}

TEST(MemFs, FullFileSystemTakesWhatFitsThenRefuses) {
  auto fs = make_mem_fs({.capacity_bytes = 8192});
  auto file = create(*fs, "/a");
  ASSERT_TRUE(file);
  const std::vector<std::byte> data(10'000);
  EXPECT_EQ((*file)->write_at(0, data).value_or(0), 8192U);
  EXPECT_EQ(errno_of((*file)->write_at(8192, data)), ENOSPC);
  EXPECT_EQ(errno_of((*file)->allocate(AllocateMode::extend, 0, 8193)), ENOSPC);
  EXPECT_EQ(statvfs(*fs, "/").value_or(FileSystemStatistics{.blocks_free = 9}).blocks_free, 0U);
}

TEST(MemFs, RemovedAndTruncatedFilesGiveTheirSpaceBack) {
  auto fs = make_mem_fs({.capacity_bytes = 8192});
  ASSERT_TRUE(write_file(*fs, "/a", std::string(8192, 'x')));
  ASSERT_TRUE(truncate(*fs, "/a", 4096));
  ASSERT_TRUE(write_file(*fs, "/b", std::string(4096, 'x')));
  ASSERT_TRUE(remove(*fs, "/a"));
  EXPECT_TRUE(write_file(*fs, "/c", std::string(4096, 'x')));
}

TEST(MemFs, OpenUnlinkedFileKeepsItsSpace) {
  auto fs = make_mem_fs({.capacity_bytes = 4096});
  ASSERT_TRUE(write_file(*fs, "/a", "x"));
  auto handle = open(*fs, "/a");
  ASSERT_TRUE(handle);
  ASSERT_TRUE(remove(*fs, "/a"));
  EXPECT_EQ(errno_of(write_file(*fs, "/b", "x")), ENOSPC);
  handle->reset();
  EXPECT_TRUE(write_file(*fs, "/b", "x"));
}

TEST(MemFs, DeepTreeIsTakenApartWithoutRecursion) {
  auto fs = make_mem_fs();
  NodeRef directory = fs->root();
  for (int depth = 0; depth < 100'000; ++depth) {
    auto made = fs->make({*directory, "d"}, {}, Caller{});
    ASSERT_TRUE(made);
    directory = made->node;
  }
}

class MemFsPermissions : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(chmod(*fs_, "/", 0777));
    ASSERT_TRUE(write_file(alice(), "/alices", "secret"));
    ASSERT_TRUE(chmod(alice(), "/alices", 0640));
  }
  PathContext alice() { return {*fs_, kAlice}; }
  PathContext bob() { return {*fs_, kBob}; }

  std::unique_ptr<FileSystem> fs_ = make_mem_fs({.enforce_permissions = true});
};

TEST_F(MemFsPermissions, OwnerReadsOthersDoNot) {
  EXPECT_EQ(read_file(alice(), "/alices").value_or(""), "secret");
  EXPECT_EQ(errno_of(read_file(bob(), "/alices")), EACCES);
}

TEST_F(MemFsPermissions, SupplementaryGroupCounts) {
  ASSERT_TRUE(chown(*fs_, "/alices", {.uid = {}, .gid = 3000}));
  EXPECT_EQ(read_file(bob(), "/alices").value_or(""), "secret");
}

TEST_F(MemFsPermissions, OnlyTheOwnerChangesModeAndTimes) {
  EXPECT_EQ(errno_of(chmod(bob(), "/alices", 0666)), EPERM);
  EXPECT_EQ(errno_of(utimens(bob(), "/alices", {.atime = {}, .mtime = TimeChange{}})), EPERM);
  EXPECT_EQ(errno_of(chown(alice(), "/alices", {.uid = 2000, .gid = {}})), EPERM);
}

TEST_F(MemFsPermissions, DirectoryWithoutWriteTakesNoNames) {
  ASSERT_TRUE(chmod(*fs_, "/", 0755));
  EXPECT_EQ(errno_of(write_file(bob(), "/bobs", "x")), EACCES);
  EXPECT_EQ(errno_of(remove(bob(), "/alices")), EACCES);
}

TEST_F(MemFsPermissions, DirectoryWithoutSearchHidesWhatIsBelow) {
  ASSERT_TRUE(chmod(*fs_, "/", 0700));
  EXPECT_EQ(errno_of(stat(bob(), "/alices")), EACCES);
}

TEST_F(MemFsPermissions, StickyDirectoryKeepsFilesFromOthers) {
  ASSERT_TRUE(chmod(*fs_, "/", 01777));
  ASSERT_TRUE(write_file(bob(), "/bobs", "x"));
  EXPECT_EQ(errno_of(remove(bob(), "/alices")), EPERM);
  EXPECT_EQ(errno_of(rename(bob(), "/alices", "/x")), EPERM);
  EXPECT_EQ(errno_of(rename(bob(), "/bobs", "/alices")), EPERM);
  EXPECT_EQ(errno_of(remove(alice(), "/alices")), 0);
}

TEST_F(MemFsPermissions, SetgidDirectoryGivesItsGroup) {
  ASSERT_TRUE(mkdir(*fs_, "/shared"));
  ASSERT_TRUE(chown(*fs_, "/shared", {.uid = {}, .gid = 3000}));
  ASSERT_TRUE(chmod(*fs_, "/shared", 02777));
  ASSERT_TRUE(write_file(bob(), "/shared/file", ""));
  ASSERT_TRUE(mkdir(bob(), "/shared/sub"));
  EXPECT_EQ(stat_of(*fs_, "/shared/file").gid, 3000U);
  EXPECT_EQ(stat_of(*fs_, "/shared/sub").gid, 3000U);
  EXPECT_NE(stat_of(*fs_, "/shared/sub").mode & S_ISGID, 0U);
}

TEST_F(MemFsPermissions, WriteDropsSetIdBits) {
  ASSERT_TRUE(chmod(alice(), "/alices", 04755));
  auto file = open(alice(), "/alices", {.write = true});
  ASSERT_TRUE(file);
  const std::byte byte{};
  ASSERT_TRUE((*file)->write_at(0, std::span(&byte, 1)));
  EXPECT_EQ(stat_of(*fs_, "/alices").mode, 0755U);
}

TEST_F(MemFsPermissions, CreatedFileIsOpenForWritingWhateverItsMode) {
  EXPECT_TRUE(open(bob(), "/sealed", {.write = true, .create = true, .mode = 0444}));
  EXPECT_EQ(errno_of(open(bob(), "/sealed", {.write = true})), EACCES);
}

}  // namespace
}  // namespace cachefs
