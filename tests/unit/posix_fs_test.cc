// PosixFs: nodes, descriptors, identities, versions. What every FileSystem does is in tests/conformance.
#include "cachefs/posix_fs.h"

#include <fcntl.h>
#include <sys/resource.h>

#include <atomic>
#include <set>
#include <thread>
#include <vector>

#include "unit/posix_test_support.h"

namespace cachefs {
namespace {

TEST_F(PosixFsTest, AMissingRootIsNamed) {
  auto made = make_posix_fs(root_ / "missing");
  EXPECT_ERRNO(made, ENOENT);
  EXPECT_NE(made.error().message().find("missing"), std::string::npos);
  write_source("file", "");
  EXPECT_ERRNO(make_posix_fs(root_ / "file"), ENOTDIR);
}

TEST_F(PosixFsTest, TheSameFileIsTheSameNodeByWhateverName) {
  write_source("a", "text");
  std::filesystem::create_hard_link(root_ / "a", root_ / "b");
  auto a = look_up("a");
  auto b = look_up("b");
  ASSERT_OK(a);
  ASSERT_OK(b);
  EXPECT_EQ(a->node, b->node);
}

TEST_F(PosixFsTest, WithoutStableIdentityTheNameIsTheIdentity) {
  reopen({.stable_identity = false});
  write_source("a", "text");
  std::filesystem::create_hard_link(root_ / "a", root_ / "b");
  auto a = look_up("a");
  auto b = look_up("b");
  ASSERT_OK(a);
  ASSERT_OK(b);
  EXPECT_NE(a->node, b->node);

  write_source("new", "another");
  std::filesystem::rename(root_ / "new", root_ / "a");
  auto replaced = look_up("a");
  ASSERT_OK(replaced);
  EXPECT_EQ(replaced->node, a->node);
  EXPECT_NE(replaced->attributes.version, a->attributes.version);
  EXPECT_EQ(read(*a->node).value_or(""), "another");
}

TEST_F(PosixFsTest, WithoutStableIdentityARenameThroughUsCarriesTheNode) {
  reopen({.stable_identity = false});
  write_source("a", "text");
  auto a = look_up("a");
  ASSERT_OK(a);
  ASSERT_OK(fs_->rename({*fs_->root(), "a"}, {*fs_->root(), "b"}, RenameMode::replace, caller_));
  auto b = look_up("b");
  ASSERT_OK(b);
  EXPECT_EQ(a->node, b->node);
}

TEST_F(PosixFsTest, WithoutStableIdentityAnotherKindIsAnotherNode) {
  reopen({.stable_identity = false});
  write_source("a", "text");
  auto file = look_up("a");
  std::filesystem::remove(root_ / "a");
  std::filesystem::create_directory(root_ / "a");
  auto directory = look_up("a");
  ASSERT_OK(file);
  ASSERT_OK(directory);
  EXPECT_NE(file->node, directory->node);
}

// ext4 gives the inode number of a removed file to the next one made.
TEST_F(PosixFsTest, AReusedInodeNumberIsAnotherIdentity) {
  std::set<FileIdentity> identities;
  std::set<uint64_t> inodes;
  constexpr int kFiles = 50;
  for (int i = 0; i < kFiles; ++i) {
    write_source("file", "");
    auto entry = look_up("file");
    ASSERT_OK(entry);
    identities.insert(entry->attributes.identity);
    inodes.insert(entry->attributes.identity.inode);
    entry->node = {};
    ASSERT_OK(fs_->remove({*fs_->root(), "file"}, RemoveKind::file, caller_));
  }
  EXPECT_EQ(identities.size(), kFiles) << inodes.size() << " inode numbers";
}

TEST_F(PosixFsTest, TheIdentityIsTheSameThroughEveryDoor) {
  auto created = fs_->create({*fs_->root(), "file"}, {}, caller_);
  ASSERT_OK(created);
  const FileIdentity identity = created->entry.attributes.identity;
  EXPECT_EQ(look_up("file")->attributes.identity, identity);
  EXPECT_EQ(fs_->attributes(*created->entry.node, caller_)->identity, identity);
  EXPECT_EQ(created->file->attributes()->identity, identity);
  created->file.reset();
  created->entry.node = {};
  reopen({});
  EXPECT_EQ(look_up("file")->attributes.identity, identity);
}

TEST_F(PosixFsTest, EveryChangeShowsInTheVersion) {
  auto created = fs_->create({*fs_->root(), "file"}, {}, caller_);
  ASSERT_OK(created);
  if (fs_->capabilities().timestamp_granule.count() != 0) GTEST_SKIP() << "timestamps here are coarse";
  Version last = created->entry.attributes.version;
  const auto expect_change = [&](const char* what) {
    const Version now = created->file->attributes()->version;
    EXPECT_NE(now, last) << what;
    EXPECT_EQ(created->file->attributes()->version, now);
    last = now;
  };
  for (int i = 0; i < 100; ++i) {
    ASSERT_OK(created->file->write_at(0, bytes("x")));
    expect_change("write of the same byte");
  }
  AttributeChange change;
  change.mode = 0600;
  ASSERT_OK(created->file->set_attributes(change, caller_));
  expect_change("chmod");
  ASSERT_OK(fs_->link(*created->entry.node, {*fs_->root(), "link"}, caller_));
  expect_change("link");
  change = {};
  change.mtime = TimeChange{.now = false, .time = Timestamp(std::chrono::seconds(1))};
  ASSERT_OK(created->file->set_attributes(change, caller_));
  expect_change("utimens");
  ASSERT_OK(fs_->rename({*fs_->root(), "file"}, {*fs_->root(), "moved"}, RenameMode::replace, caller_));
  expect_change("rename");
}

TEST_F(PosixFsTest, TimesBeyondNanosecondsIn64BitsAreTheNearestOnes) {
  write_source("file", "");
  const timespec far[2] = {{.tv_sec = 15'000'000'000, .tv_nsec = 0},
                           {.tv_sec = -2'000'000'000, .tv_nsec = 5}};
  utimensat(AT_FDCWD, (root_ / "file").c_str(), far, 0);
  auto entry = look_up("file");
  ASSERT_OK(entry);
  EXPECT_GT(entry->attributes.atime, Timestamp(std::chrono::seconds(9'000'000'000)));
  EXPECT_EQ(entry->attributes.mtime,
            Timestamp(std::chrono::seconds(-2'000'000'000) + std::chrono::nanoseconds(5)));
}

TEST_F(PosixFsTest, ANodeWhoseLastNameWasRemovedHereStillWorks) {
  reopen({.max_cached_descriptors = 8});
  write_source("victim", "still here");
  auto victim = look_up("victim");
  ASSERT_OK(victim);
  for (int i = 0; i < 20; ++i) write_source("other" + std::to_string(i), "");
  ASSERT_OK(fs_->remove({*fs_->root(), "victim"}, RemoveKind::file, caller_));
  std::vector<Entry> others;
  for (int i = 0; i < 20; ++i) others.push_back(*look_up("other" + std::to_string(i)));
  EXPECT_EQ(read(*victim->node).value_or("gone"), "still here");
  EXPECT_EQ(fs_->attributes(*victim->node, caller_)->nlink, 0U);
}

TEST_F(PosixFsTest, ANodeThatARenameReplacedStillWorks) {
  write_source("old", "old");
  write_source("new", "new");
  auto old_entry = look_up("old");
  ASSERT_OK(old_entry);
  ASSERT_OK(fs_->rename({*fs_->root(), "new"}, {*fs_->root(), "old"}, RenameMode::replace, caller_));
  EXPECT_EQ(read(*old_entry->node).value_or("gone"), "old");
  EXPECT_NE(look_up("old")->node, old_entry->node);
}

TEST_F(PosixFsTest, AppendTellsWhereItWent) {
  auto file = create(*fs_->root(), "log");
  ASSERT_OK(file);
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  std::vector<std::unique_ptr<File>> handles;
  for (int i = 0; i < 4; ++i) {
    handles.push_back(std::move(fs_->open(*look_up("log")->node, {.write = true}, caller_)->file));
  }
  for (char name = 'a'; name < 'e'; ++name) {
    threads.emplace_back([&, name] {
      File& mine = *handles[static_cast<size_t>(name - 'a')];
      const std::string record(10, name);
      for (int i = 0; i < 200; ++i) {
        const auto result = mine.append(bytes(record));
        std::string back(10, ' ');
        const bool ok =
            result && mine.read_at(result->offset, std::as_writable_bytes(std::span(back))) && back == record;
        if (!ok) ++wrong;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ((*file)->attributes()->size, 8000U);
}

TEST_F(PosixFsTest, CreateTellsWhoMadeTheFile) {
  std::atomic<int> made = 0;
  std::atomic<int> failures = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 100; ++i) {
        auto created = fs_->create({*fs_->root(), "f" + std::to_string(i)}, {}, caller_);
        if (!created) ++failures;
        if (created && created->created) ++made;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
  EXPECT_EQ(made, 100);
}

TEST_F(PosixFsTest, TheMeasuredGranuleIsSane) {
  const Capabilities& can = fs_->capabilities();
  if (!can.local_clock || !can.stable_identity) GTEST_SKIP() << can.type << " is not measured";
  EXPECT_LE(can.timestamp_granule, std::chrono::seconds(2));
  if (can.timestamp_granule.count() != 0) {
    timespec step{};
    clock_getres(CLOCK_REALTIME_COARSE, &step);
    EXPECT_GE(can.timestamp_granule.count(), 2 * step.tv_nsec);
  }
}

TEST_F(PosixFsTest, OptionsOverrideWhatIsKnown) {
  reopen({.stable_identity = false, .timestamp_granule = std::chrono::seconds(7), .local_clock = false});
  EXPECT_FALSE(fs_->capabilities().stable_identity);
  EXPECT_FALSE(fs_->capabilities().local_clock);
  EXPECT_EQ(fs_->capabilities().timestamp_granule, std::chrono::seconds(7));
}

TEST_F(PosixFsTest, ProbingLeavesNoTrace) {
  struct stat before{};
  ASSERT_EQ(stat(root_.c_str(), &before), 0);
  reopen({});
  struct stat after{};
  ASSERT_EQ(stat(root_.c_str(), &after), 0);
  EXPECT_EQ(before.st_ctim.tv_nsec, after.st_ctim.tv_nsec);
  EXPECT_TRUE(std::filesystem::is_empty(root_));
}

TEST_F(PosixFsTest, XattrsOfASymlinkAreItsOwn) {
  if (geteuid() != 0 || fs_->xattrs() == nullptr) GTEST_SKIP() << "trusted attributes need root";
  write_source("file", "");
  std::filesystem::create_symlink("file", root_ / "link");
  auto link = look_up("link");
  auto file = look_up("file");
  ASSERT_OK(link);
  ASSERT_OK(file);
  ASSERT_OK(fs_->xattrs()->set(*link->node, "trusted.x", "1", XattrMode::create, caller_));
  EXPECT_EQ(fs_->xattrs()->get(*link->node, "trusted.x", caller_).value_or(""), "1");
  EXPECT_ERRNO(fs_->xattrs()->get(*file->node, "trusted.x", caller_), ENODATA);

  const Caller other{.uid = 1000, .gid = 1000, .groups = {}};
  EXPECT_ERRNO(fs_->xattrs()->get(*link->node, "trusted.x", other), ENODATA);
  EXPECT_ERRNO(fs_->xattrs()->set(*link->node, "trusted.y", "1", XattrMode::create, other), EPERM);
  EXPECT_TRUE(fs_->xattrs()->list(*link->node, other)->empty());
}

TEST_F(PosixFsTest, ARootThatWasRemovedIsNotThere) {
  write_outside("root/file", "text");
  const NodeRef root = fs_->root();
  ASSERT_OK(fs_->lookup(*root, "file", caller_));
  std::filesystem::remove_all(root_);
  EXPECT_ERRNO(fs_->lookup(*root, "file", caller_), ENOTCONN);
  EXPECT_ERRNO(fs_->open_directory(*root, caller_), ENOTCONN);
  EXPECT_ERRNO(fs_->create({*root, "new"}, {}, caller_), ENOTCONN);
  const Result<void> looked = fs_->reachability()->check();
  EXPECT_ERRNO(looked, ENOTCONN);
  EXPECT_NE(looked.error().message().find("was removed"), std::string::npos) << looked.error().message();
}

}  // namespace
}  // namespace cachefs
