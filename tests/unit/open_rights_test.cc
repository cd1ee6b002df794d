// An open file stays readable, with parts that were never cached, whoever may open it by then.
#include "support/deciding_fs.h"
#include "unit/cache_stack.h"
#include "unit/path_only_fs.h"

namespace cachefs {
namespace {

using std::chrono::seconds;
using test::errno_of;
using test::read_text;

const Caller kAnna{.uid = 1000, .gid = 1000, .groups = {}};

/// /f, of 40,000 bytes, was opened from the cache, for which the source's file was not opened.
class OpenRights : public test::CacheStackTest {
 protected:
  OpenRights()
      : CacheStackTest(
            {.max_bytes = 8 * kMiB, .block_size = 16 * kKiB, .coherence = test::for_ttl(seconds(60))},
            {.enforce_permissions = true}) {}
  void SetUp() override {
    given("/f", std::string(40'000, 'a'));
    ASSERT_TRUE(chown(source(), "/f", {.uid = kAnna.uid, .gid = kAnna.gid}));
    node_ = resolve(cache(), "/f").value().node;
    ASSERT_EQ(read_text(*open_it(), 0, 1), "a");
    handle_ = open_it();
  }
  void TearDown() override {
    handle_.reset();
    node_ = {};
    test::CacheStackTest::TearDown();
  }
  std::unique_ptr<File> open_it() { return cache().open(*node_, {}, kAnna).value().file; }
  /// Without an open at the source, which may be refused now.
  void expect_readable() {
    requests().reset();
    EXPECT_EQ(read_text(*handle_, 30'000, 1), "a");
    EXPECT_EQ(requests().count(Operation::open), 0U);
  }

  NodeRef node_;
  std::unique_ptr<File> handle_;
};

TEST_F(OpenRights, AChangeOfModeThroughTheHandle) {
  ASSERT_TRUE(handle_->set_attributes({.mode = 0}, kAnna));
  EXPECT_EQ(errno_of(cache().open(*node_, {}, kAnna)), EACCES);
  expect_readable();
}

TEST_F(OpenRights, AChangeOfOwner) {
  ASSERT_TRUE(cache().set_attributes(*node_, {.mode = 0600}, kAnna));
  ASSERT_TRUE(cache().set_attributes(*node_, {.uid = 1}, Caller{.uid = 0, .gid = 0, .groups = {}}));
  expect_readable();
}

TEST_F(OpenRights, AnAccessControlListToo) {
  requests().reset();
  ignore(
      cache().xattrs()->set(*node_, "system.posix_acl_access", "a list", XattrMode::create_or_replace, kAnna),
      "the source may not take it");
  EXPECT_EQ(requests().count(Operation::open), 1U) << "for the handle, before";
}

TEST_F(OpenRights, NothingIsOpenedForWhatHasAFileOfItsOwn) {
  handle_.reset();
  const auto writer = cache().open(*node_, {.read = true, .write = true}, kAnna).value().file;
  requests().reset();
  ASSERT_TRUE(cache().set_attributes(*node_, {.mode = 0}, kAnna));
  EXPECT_EQ(requests().count(Operation::open), 0U);
}

/// The same, where somebody else changes the rights on the source.
class RightsChangedElsewhere : public ::testing::Test {
 protected:
  void make(FileSystem& source, AccessCheck check) {
    cache_ = CacheFs::create(source, {.max_bytes = 8 * kMiB,
                                      .block_size = 16 * kKiB,
                                      .coherence = test::for_ttl(seconds(60)),
                                      .access_check = check})
                 .value();
    ASSERT_TRUE(write_file(*memory_, "/f", std::string(40'000, 'a')));
    node_ = resolve(*cache_, "/f").value().node;
    for (int i = 0; i < 2; ++i) {
      handle_ = cache_->open(*node_, {}, kAnna).value().file;
      EXPECT_EQ(read_text(*handle_, 0, 1), "a");
      if (i == 0) handle_.reset();
    }
    server_.refuse(kAnna.uid);
  }

  std::unique_ptr<FileSystem> memory_ = make_mem_fs();
  test::DecidingFs server_{*memory_};
  test::PathOnlyFs paths_{server_};
  std::unique_ptr<CacheFs> cache_;
  NodeRef node_;
  std::unique_ptr<File> handle_;
};

TEST_F(RightsChangedElsewhere, WhoWasLetInReadsOn) {
  make(server_, AccessCheck::mode_bits);
  EXPECT_EQ(read_text(*handle_, 30'000, 1), "a");
}

TEST_F(RightsChangedElsewhere, NotWhereTheSourceDecides) {
  make(server_, AccessCheck::source);
  EXPECT_EQ(errno_of(handle_->seek(SeekKind::hole, 0)), EACCES);
}

TEST_F(RightsChangedElsewhere, NotWhereThePathMayLeadToAnotherFile) {
  make(paths_, AccessCheck::mode_bits);
  EXPECT_EQ(errno_of(handle_->seek(SeekKind::hole, 0)), EACCES);
}

}  // namespace
}  // namespace cachefs
