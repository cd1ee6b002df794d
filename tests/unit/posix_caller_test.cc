// Operations run with the rights of their caller.
#include <sys/fsuid.h>

#include <thread>

#include "unit/posix_test_support.h"

namespace cachefs {
namespace {

class PosixCaller : public PosixFsTest {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "only root can act as another user";
    chmod(root_.c_str(), 0755);
  }
  void make_directory(const std::string& name, uid_t uid, gid_t gid, mode_t mode) {
    std::filesystem::create_directory(root_ / name);
    ASSERT_EQ(chown((root_ / name).c_str(), uid, gid), 0);
    ASSERT_EQ(chmod((root_ / name).c_str(), mode), 0);
  }
  const Caller user_{.uid = 1000, .gid = 1000, .groups = {2000}, .umask = 022};
  const Caller stranger_{.uid = 1001, .gid = 1001, .groups = {}, .umask = 022};
};

TEST_F(PosixCaller, OwnsWhatItCreates) {
  make_directory("open", 0, 0, 0777);
  auto dir = look_up("open");
  auto created = fs_->create({*dir->node, "file"}, {.mode = 0666}, user_);
  ASSERT_OK(created);
  EXPECT_EQ(created->entry.attributes.uid, 1000U);
  EXPECT_EQ(created->entry.attributes.gid, 1000U);
  EXPECT_EQ(created->entry.attributes.mode, 0644U);
  auto made = fs_->make({*dir->node, "dir"}, {.kind = FileKind::directory}, user_);
  ASSERT_OK(made);
  EXPECT_EQ(made->attributes.uid, 1000U);
  EXPECT_EQ(made->attributes.mode, 0755U);
}

TEST_F(PosixCaller, WritesWhereASupplementaryGroupMay) {
  make_directory("shared", 0, 2000, 02775);
  auto dir = look_up("shared");
  auto created = fs_->create({*dir->node, "file"}, {}, user_);
  ASSERT_OK(created);
  EXPECT_EQ(created->entry.attributes.gid, 2000U) << "of the directory, which is setgid";
  EXPECT_ERRNO(fs_->create({*dir->node, "other"}, {}, stranger_), EACCES);
  EXPECT_ERRNO(fs_->remove({*dir->node, "file"}, RemoveKind::file, stranger_), EACCES);
}

TEST_F(PosixCaller, IsRefusedWhatTheSourceRefuses) {
  make_directory("private", 1000, 1000, 0700);
  auto dir = look_up("private");
  auto created = fs_->create({*dir->node, "file"}, {.mode = 0600}, user_);
  ASSERT_OK(created);
  Node& file = *created->entry.node;
  EXPECT_ERRNO(fs_->lookup(*dir->node, "file", stranger_), EACCES);
  EXPECT_ERRNO(fs_->open_directory(*dir->node, stranger_), EACCES);
  EXPECT_ERRNO(fs_->open(file, {}, stranger_), EACCES);
  AttributeChange mode;
  mode.mode = 0666;
  EXPECT_ERRNO(fs_->set_attributes(file, mode, stranger_), EPERM);
  AttributeChange owner;
  owner.uid = 1001;
  EXPECT_ERRNO(fs_->set_attributes(file, owner, user_), EPERM);
  AttributeChange size;
  size.size = 0;
  EXPECT_ERRNO(fs_->set_attributes(file, size, stranger_), EACCES);
  EXPECT_OK(fs_->set_attributes(file, mode, user_));
  EXPECT_ERRNO(fs_->make({*dir->node, "device"}, {.kind = FileKind::char_device, .rdev = 0x103}, user_),
               EPERM);
}

TEST_F(PosixCaller, ReachesANodeWhoseParentItMayNotSearch) {
  reopen({.max_cached_descriptors = 1});
  make_directory("private", 0, 0, 0700);
  write_source("private/file", "text");
  chmod((root_ / "private/file").c_str(), 0644);
  auto file = look_up("private/file");
  write_source("other", "");
  auto other = look_up("other");  // no descriptor of the file is kept now
  auto opened = fs_->open(*file->node, {}, user_);
  EXPECT_OK(opened);
}

TEST_F(PosixCaller, WritingDropsSetIdBits) {
  make_directory("open", 0, 0, 0777);
  auto dir = look_up("open");
  auto created = fs_->create({*dir->node, "file"}, {.mode = 06777},
                             {.uid = 1000, .gid = 1000, .groups = {}, .umask = 0});
  ASSERT_OK(created);
  EXPECT_EQ(created->entry.attributes.mode, 06777U);
  ASSERT_OK(created->file->write_at(0, bytes("x")));
  EXPECT_EQ(created->file->attributes()->mode, 0777U);
}

TEST_F(PosixCaller, LeavesTheThreadAsItWas) {
  make_directory("private", 0, 0, 0700);
  auto dir = look_up("private");
  EXPECT_FALSE(fs_->create({*dir->node, "file"}, {}, user_).has_value());
  EXPECT_EQ(setfsuid(static_cast<uid_t>(-1)), 0);
  EXPECT_EQ(setfsgid(static_cast<gid_t>(-1)), 0);
  EXPECT_EQ(Caller::self().groups, caller_.groups);
}

TEST_F(PosixCaller, OtherThreadsStayThemselves) {
  make_directory("open", 0, 0, 0777);
  make_directory("private", 0, 0, 0700);
  auto open_dir = look_up("open");
  auto private_dir = look_up("private");
  std::thread other([&] {
    for (int i = 0; i < 300; ++i) {
      auto created = fs_->create({*open_dir->node, "u" + std::to_string(i)}, {}, user_);
      EXPECT_EQ(created->entry.attributes.uid, 1000U);
    }
  });
  for (int i = 0; i < 300; ++i) {
    auto created = fs_->create({*private_dir->node, "r" + std::to_string(i)}, {}, caller_);
    ASSERT_OK(created);
    EXPECT_EQ(created->entry.attributes.uid, 0U);
  }
  other.join();
}

TEST_F(PosixCaller, IsIgnoredWhereSwitchingIsOff) {
  reopen({.switch_caller = false});
  make_directory("private", 0, 0, 0700);
  auto dir = look_up("private");
  auto created = fs_->create({*dir->node, "file"}, {}, user_);
  ASSERT_OK(created);
  EXPECT_EQ(created->entry.attributes.uid, 0U);
}

}  // namespace
}  // namespace cachefs
