// Names, directories, attributes and xattrs through the mount.
#include <dirent.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <set>

#include "mount/mount_test_fixture.h"

namespace cachefs::test {
namespace {

struct stat stat_of(const std::string& path) {
  struct stat status{};
  EXPECT_EQ(lstat(path.c_str(), &status), 0) << path << ": " << strerrorname_np(errno);
  return status;
}

std::vector<std::string> names_in(const std::string& path) {
  std::vector<std::string> names;
  DIR* const directory = opendir(path.c_str());
  EXPECT_NE(directory, nullptr);
  if (directory == nullptr) return names;
  while (const dirent* entry = readdir(directory)) names.emplace_back(entry->d_name);
  closedir(directory);
  return names;
}

using MountNames = MountTest;
INSTANTIATE_TEST_SUITE_P(, MountNames,
                         testing::Values(SourceKind::memory, SourceKind::posix, SourceKind::cached),
                         source_name);

class TwiceShownDirectories : public MountTest {
 protected:
  void make_at_source(const char* name) const {
    std::filesystem::create_directory(source_directory() / name);
  }
  /// Shows one directory of the source in another one too.
  [[nodiscard]] int bind(const std::string& from, const std::string& onto) const {
    const std::filesystem::path& source = source_directory();
    return ::mount((source / from).c_str(), (source / onto).c_str(), nullptr, MS_BIND, nullptr);
  }
  void TearDown() override {
    MountTest::TearDown();  // keeps descriptors of what is mounted
    umount2((source_directory() / bound_).c_str(), MNT_DETACH);
  }
  std::string bound_;
};
INSTANTIATE_TEST_SUITE_P(, TwiceShownDirectories, testing::Values(SourceKind::posix, SourceKind::cached),
                         source_name);

TEST_P(TwiceShownDirectories, StayWhereTheyWereEntered) {
  for (const char* name : {"a", "a/sub", "b"}) make_at_source(name);
  bound_ = "b";
  ASSERT_EQ(bind("a", bound_), 0);
  const int entered = open(at("a/sub").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  ASSERT_GE(entered, 0);
  EXPECT_EQ(names_in(at("b/sub")).size(), 2U);
  EXPECT_EQ(std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(entered)), at("a/sub"));
  EXPECT_EQ(write_file(at("b/sub/file"), "text"), 0);
  EXPECT_EQ(contents_of(at("a/sub/file")), "text");
  close(entered);
}

TEST_P(TwiceShownDirectories, MayBeBelowThemselves) {
  for (const char* name : {"a", "a/inner", "a/other"}) make_at_source(name);
  bound_ = "a/inner";
  ASSERT_EQ(bind("a", bound_), 0);
  EXPECT_EQ(names_in(at("a/inner")).size(), 4U);
  EXPECT_EQ(names_in(at("a/inner/other")).size(), 2U);
}

TEST_P(MountNames, WhatIsMadeIsFoundWithItsKind) {
  ASSERT_EQ(mkdir(at("directory").c_str(), 0750), 0);
  ASSERT_EQ(write_file(at("directory/file"), "text"), 0);
  ASSERT_EQ(symlink("directory/file", at("link").c_str()), 0);
  ASSERT_EQ(mknod(at("fifo").c_str(), S_IFIFO | 0600, 0), 0);
  ASSERT_EQ(mknod(at("null").c_str(), S_IFCHR | 0666, makedev(1, 3)), 0);
  EXPECT_EQ(stat_of(at("directory")).st_mode & ~022U, S_IFDIR | 0750U);
  EXPECT_EQ(contents_of(at("link")), "text");
  EXPECT_TRUE(S_ISFIFO(stat_of(at("fifo")).st_mode));
  EXPECT_EQ(stat_of(at("null")).st_rdev, makedev(1, 3));
  char target[64] = {};
  EXPECT_EQ(readlink(at("link").c_str(), target, sizeof target), 14);
  EXPECT_STREQ(target, "directory/file");
}

TEST_P(MountNames, MissingNamesAreEnoent) {
  EXPECT_EQ(contents_of(at("missing")), "?ENOENT");
  EXPECT_EQ(unlink(at("missing").c_str()), -1);
  EXPECT_EQ(errno, ENOENT);
}

TEST_P(MountNames, HardLinksAreOneFile) {
  ASSERT_EQ(write_file(at("a"), "one"), 0);
  ASSERT_EQ(link(at("a").c_str(), at("b").c_str()), 0);
  EXPECT_EQ(stat_of(at("a")).st_ino, stat_of(at("b")).st_ino);
  EXPECT_EQ(stat_of(at("a")).st_nlink, 2U);
  ASSERT_EQ(write_file(at("b"), "two"), 0);
  EXPECT_EQ(contents_of(at("a")), "two");
}

TEST_P(MountNames, RenameReplacesAFileThatIsOpen) {
  ASSERT_EQ(write_file(at("old"), "old"), 0);
  ASSERT_EQ(write_file(at("new"), "new"), 0);
  const int fd = open(at("old").c_str(), O_RDONLY);
  ASSERT_EQ(rename(at("new").c_str(), at("old").c_str()), 0);
  char text[8] = {};
  EXPECT_EQ(read(fd, text, sizeof text), 3);
  EXPECT_STREQ(text, "old");
  close(fd);
  EXPECT_EQ(contents_of(at("old")), "new");
  EXPECT_EQ(contents_of(at("new")), "?ENOENT");
}

TEST_P(MountNames, RenameFlagsWork) {
  ASSERT_EQ(write_file(at("a"), "a"), 0);
  ASSERT_EQ(write_file(at("b"), "b"), 0);
  EXPECT_EQ(renameat2(AT_FDCWD, at("a").c_str(), AT_FDCWD, at("b").c_str(), RENAME_NOREPLACE), -1);
  EXPECT_EQ(errno, EEXIST);
  ASSERT_EQ(renameat2(AT_FDCWD, at("a").c_str(), AT_FDCWD, at("b").c_str(), RENAME_EXCHANGE), 0);
  EXPECT_EQ(contents_of(at("a")) + contents_of(at("b")), "ba");
}

TEST_P(MountNames, AnUnlinkedOpenFileLivesOn) {
  ASSERT_EQ(write_file(at("file"), "text"), 0);
  const int fd = open(at("file").c_str(), O_RDWR);
  ASSERT_EQ(unlink(at("file").c_str()), 0);
  ASSERT_EQ(pwrite(fd, "more", 4, 4), 4);
  ASSERT_EQ(fchmod(fd, 0600), 0);
  ASSERT_EQ(ftruncate(fd, 6), 0);
  struct stat status{};
  ASSERT_EQ(fstat(fd, &status), 0);
  EXPECT_EQ(status.st_size, 6);
  EXPECT_EQ(status.st_nlink, 0U);
  EXPECT_EQ(status.st_mode, S_IFREG | 0600U);
  char text[8] = {};
  EXPECT_EQ(pread(fd, text, sizeof text, 0), 6);
  EXPECT_STREQ(text, "textmo");
  close(fd);
}

TEST_P(MountNames, TenThousandEntriesAreListedOnceEach) {
  ASSERT_EQ(mkdir(at("many").c_str(), 0755), 0);
  std::set<std::string> expected{".", ".."};
  for (int i = 0; i < 10'000; ++i) {
    const std::string name = "entry-" + std::to_string(i);
    ASSERT_EQ(mknod((at("many/") + name).c_str(), S_IFREG | 0644, 0), 0);
    expected.insert(name);
  }
  const std::vector<std::string> names = names_in(at("many"));
  EXPECT_EQ(names.size(), expected.size());
  EXPECT_EQ(std::set<std::string>(names.begin(), names.end()), expected);
}

TEST_P(MountNames, AListingCanBeReadAgainAndFromAnyPlace) {
  for (const char* name : {"a", "b", "c"}) ASSERT_EQ(write_file(at(name), ""), 0);
  DIR* const directory = opendir(at("").c_str());
  ASSERT_NE(directory, nullptr);
  std::vector<std::pair<long, std::string>> places;
  for (long place = telldir(directory); const dirent* entry = readdir(directory);
       place = telldir(directory)) {
    places.emplace_back(place, entry->d_name);
  }
  EXPECT_EQ(places.size(), 5U);
  for (auto it = places.rbegin(); it != places.rend(); ++it) {
    seekdir(directory, it->first);
    const dirent* entry = readdir(directory);
    ASSERT_NE(entry, nullptr);
    EXPECT_EQ(entry->d_name, it->second);
  }
  ASSERT_EQ(write_file(at("d"), ""), 0);
  rewinddir(directory);
  size_t count = 0;
  while (readdir(directory) != nullptr) ++count;
  EXPECT_EQ(count, 6U);
  closedir(directory);
}

TEST_P(MountNames, NamesMayHoldAnyByte) {
  const std::string odd = "\x01 \n\\\xff\xfe,*?'\"";
  ASSERT_EQ(write_file(at(odd), "odd"), 0);
  EXPECT_EQ(contents_of(at(odd)), "odd");
  const std::vector<std::string> names = names_in(at(""));
  EXPECT_NE(std::find(names.begin(), names.end(), odd), names.end());
}

TEST_P(MountNames, AttributesAreSet) {
  ASSERT_EQ(write_file(at("file"), "0123456789"), 0);
  ASSERT_EQ(chmod(at("file").c_str(), 04711), 0);
  ASSERT_EQ(chown(at("file").c_str(), 1234, 5678), 0);
  const timespec times[2] = {{.tv_sec = 1'000'000'000, .tv_nsec = 1}, {.tv_sec = -5, .tv_nsec = 999'999'999}};
  ASSERT_EQ(utimensat(AT_FDCWD, at("file").c_str(), times, 0), 0);
  ASSERT_EQ(truncate(at("file").c_str(), 4), 0);
  const timespec old[2] = {{.tv_sec = 0, .tv_nsec = UTIME_OMIT}, {.tv_sec = -5, .tv_nsec = 999'999'999}};
  ASSERT_EQ(utimensat(AT_FDCWD, at("file").c_str(), old, 0), 0);
  const struct stat status = stat_of(at("file"));
  EXPECT_EQ(status.st_uid, 1234U);
  EXPECT_EQ(status.st_gid, 5678U);
  EXPECT_EQ(status.st_size, 4);
  EXPECT_EQ(status.st_atim.tv_sec, 1'000'000'000);
  EXPECT_EQ(status.st_mtim.tv_sec, -5);
  EXPECT_EQ(status.st_mtim.tv_nsec, 999'999'999);
}

TEST_P(MountNames, XattrsAreKept) {
  ASSERT_EQ(write_file(at("file"), ""), 0);
  const std::string path = at("file");
  ASSERT_EQ(setxattr(path.c_str(), "user.a", "value", 5, XATTR_CREATE), 0) << strerrorname_np(errno);
  EXPECT_EQ(setxattr(path.c_str(), "user.a", "value", 5, XATTR_CREATE), -1);
  EXPECT_EQ(errno, EEXIST);
  char value[16] = {};
  EXPECT_EQ(getxattr(path.c_str(), "user.a", nullptr, 0), 5);
  EXPECT_EQ(getxattr(path.c_str(), "user.a", value, 2), -1);
  EXPECT_EQ(errno, ERANGE);
  EXPECT_EQ(getxattr(path.c_str(), "user.a", value, sizeof value), 5);
  EXPECT_STREQ(value, "value");
  char list[64] = {};
  EXPECT_EQ(listxattr(path.c_str(), list, sizeof list), 7);
  ASSERT_EQ(removexattr(path.c_str(), "user.a"), 0);
  EXPECT_EQ(getxattr(path.c_str(), "user.a", value, sizeof value), -1);
  EXPECT_EQ(errno, ENODATA);
}

TEST_P(MountNames, DirectoriesAreRemovedOnlyWhenEmpty) {
  ASSERT_EQ(mkdir(at("directory").c_str(), 0755), 0);
  ASSERT_EQ(write_file(at("directory/file"), ""), 0);
  EXPECT_EQ(rmdir(at("directory").c_str()), -1);
  EXPECT_EQ(errno, ENOTEMPTY);
  ASSERT_EQ(unlink(at("directory/file").c_str()), 0);
  const int fd = open(at("directory").c_str(), O_RDONLY | O_DIRECTORY);
  EXPECT_EQ(fsync(fd), 0);
  close(fd);
  EXPECT_EQ(rmdir(at("directory").c_str()), 0);
}

TEST_P(MountNames, TheFileSystemTellsItsSize) {
  struct statvfs status{};
  ASSERT_EQ(statvfs(at("").c_str(), &status), 0);
  EXPECT_GT(status.f_bsize, 0U);
  EXPECT_EQ(status.f_namemax, 255U);
}

/// Two file systems mounted below the source, in this process's mount namespace alone.
class MountNamesBelow : public MountTest {
 protected:
  void SetUp() override {
    MountTest::SetUp();
    for (const char* name : {"one", "two"}) {
      const std::string path = (source_directory() / name).string();
      if (mkdir(path.c_str(), 0755) == 0 && ::mount("none", path.c_str(), "tmpfs", 0, nullptr) == 0)
        mounted_below_.push_back(path);
    }
  }
  void TearDown() override {
    MountTest::TearDown();
    for (const std::string& path : mounted_below_) umount2(path.c_str(), MNT_DETACH);
  }

  std::vector<std::string> mounted_below_;
};
INSTANTIATE_TEST_SUITE_P(, MountNamesBelow, testing::Values(SourceKind::posix, SourceKind::cached),
                         source_name);

uint64_t inode_of(const std::string& path) {
  struct stat status{};
  return stat(path.c_str(), &status) == 0 ? status.st_ino : 0;
}

uint64_t inode_in_listing(const std::string& directory, std::string_view name) {
  uint64_t inode = 0;
  DIR* const stream = opendir(directory.c_str());
  while (const dirent* entry = readdir(stream)) {
    if (name == entry->d_name) inode = entry->d_ino;
  }
  closedir(stream);
  return inode;
}

TEST_P(MountNamesBelow, FilesOfDifferentFileSystemsAreNotTakenForOne) {
  ASSERT_EQ(mounted_below_.size(), 2U);
  for (const char* path : {"one/file", "two/file", "file"}) {
    ASSERT_EQ(write_file((source_directory() / path).string(), path), 0);
  }
  ASSERT_EQ(inode_of(mounted_below_[0] + "/file"), inode_of(mounted_below_[1] + "/file"));
  EXPECT_NE(inode_of(at("one/file")), inode_of(at("two/file")));
  EXPECT_NE(inode_of(at("one")), inode_of(at("two")));
  EXPECT_EQ(inode_of(at("file")), inode_of((source_directory() / "file").string()));
  EXPECT_EQ(inode_in_listing(at("one"), "file"), inode_of(at("one/file")));
  EXPECT_EQ(contents_of(at("two/file")), "two/file");
}

}  // namespace
}  // namespace cachefs::test
