// Nothing leads out of a PosixFs.
#include <fcntl.h>

#include <atomic>
#include <thread>

#include "unit/posix_test_support.h"

namespace cachefs {
namespace {

using PosixContainment = PosixFsTest;

TEST_F(PosixContainment, NamesThatAreNoSingleComponentAreRefused) {
  for (const std::string_view name : {"", ".", "..", "a/b", "/", "/etc", "../outside"}) {
    EXPECT_ERRNO(fs_->lookup(*fs_->root(), name, caller_), EINVAL);
    EXPECT_ERRNO(fs_->make({*fs_->root(), name}, {}, caller_), EINVAL);
    EXPECT_ERRNO(fs_->remove({*fs_->root(), name}, RemoveKind::directory, caller_), EINVAL);
  }
  EXPECT_ERRNO(fs_->lookup(*fs_->root(), std::string_view("a\0b", 3), caller_), EINVAL);
  EXPECT_ERRNO(fs_->lookup(*fs_->root(), std::string(4096, 'n'), caller_), ENAMETOOLONG);
}

TEST_F(PosixContainment, SymlinksAreNeverFollowed) {
  std::filesystem::create_symlink("../outside", root_ / "relative");
  std::filesystem::create_symlink(base_ / "outside", root_ / "absolute");
  std::filesystem::create_symlink("/proc/self/root", root_ / "magic");
  for (const char* name : {"relative", "absolute", "magic"}) {
    auto link = look_up(name);
    ASSERT_OK(link);
    EXPECT_EQ(link->attributes.kind, FileKind::symlink);
    EXPECT_ERRNO(fs_->lookup(*link->node, "secret", caller_), ENOTDIR);
    EXPECT_ERRNO(fs_->open_directory(*link->node, caller_), ENOTDIR);
    EXPECT_ERRNO(fs_->open(*link->node, {}, caller_), ELOOP);
    EXPECT_ERRNO(fs_->create({*link->node, "made"}, {}, caller_), ENOTDIR);
  }
}

TEST_F(PosixContainment, CreateOnASymlinkToTheOutsideMakesNothingThere) {
  std::filesystem::create_symlink("../outside/made", root_ / "link");
  EXPECT_ERRNO(fs_->create({*fs_->root(), "link"}, {}, caller_), ELOOP);
  EXPECT_ERRNO(fs_->create({*fs_->root(), "link"}, {.exclusive = true}, caller_), EEXIST);
  EXPECT_FALSE(std::filesystem::exists(base_ / "outside/made"));
}

TEST_F(PosixContainment, ChangingASymlinkChangesTheLinkAlone) {
  std::filesystem::create_symlink("../outside/secret", root_ / "link");
  auto link = look_up("link");
  ASSERT_OK(link);
  AttributeChange times;
  times.mtime = TimeChange{.now = false, .time = Timestamp(std::chrono::seconds(1000))};
  auto changed = fs_->set_attributes(*link->node, times, caller_);
  ASSERT_OK(changed);
  EXPECT_EQ(changed->mtime, Timestamp(std::chrono::seconds(1000)));
  struct stat secret{};
  ASSERT_EQ(stat((base_ / "outside/secret").c_str(), &secret), 0);
  EXPECT_GT(secret.st_mtime, 1000);

  AttributeChange mode;
  mode.mode = 0;
  EXPECT_ERRNO(fs_->set_attributes(*link->node, mode, caller_), EOPNOTSUPP);
  AttributeChange size;
  size.size = 0;
  EXPECT_ERRNO(fs_->set_attributes(*link->node, size, caller_), EINVAL);
}

TEST_F(PosixContainment, FifosAndDevicesAreNotOpened) {
  ASSERT_EQ(mkfifo((root_ / "fifo").c_str(), 0666), 0);
  auto fifo = look_up("fifo");
  ASSERT_OK(fifo);
  EXPECT_ERRNO(fs_->open(*fifo->node, {}, caller_), ENXIO);
  EXPECT_ERRNO(fs_->create({*fs_->root(), "fifo"}, {}, caller_), ENXIO);
}

// A thread exchanges a directory and a symlink to the outside, as fast as it can; a reader never sees what is
// there.
TEST_F(PosixContainment, ADirectorySwappedForASymlinkLeadsNowhere) {
  std::filesystem::create_directory(root_ / "dir");
  std::filesystem::create_symlink("../outside", root_ / "swap");
  reopen({.max_cached_descriptors = 1});
  std::atomic<bool> stop = false;
  std::thread swapper([&] {
    while (!stop) {
      renameat2(AT_FDCWD, (root_ / "dir").c_str(), AT_FDCWD, (root_ / "swap").c_str(), RENAME_EXCHANGE);
    }
  });
  for (int i = 0; i < 3000; ++i) {
    EXPECT_FALSE(look_up("dir/secret").has_value());
    auto dir = look_up("dir");
    if (!dir) continue;
    ignore(fs_->create({*dir->node, "made"}, {}, caller_), "where it was made is what counts");
  }
  stop = true;
  swapper.join();
  EXPECT_FALSE(std::filesystem::exists(base_ / "outside/made"));
}

}  // namespace
}  // namespace cachefs
