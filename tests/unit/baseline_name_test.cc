// Files that are written to while their names come and go: one behaviour each.
#include "unit/cache_stack.h"

namespace cachefs {
namespace {

using test::errno_of;
using test::kReadWrite;
using test::read_text;
using test::write_text;

class NameBehaviour : public test::CacheStackTest {
 protected:
  NameBehaviour() : CacheStackTest({.max_bytes = 8 * kMiB, .coherence = {}}) {}
  void SetUp() override {
    given("/f", "0123456789");
    EXPECT_EQ(cached("/f"), "0123456789");
    file_ = open_cached("/f", kReadWrite);
  }
  void TearDown() override {
    file_.reset();
    test::CacheStackTest::TearDown();
  }
  /// What the cache holds, the source holds.
  void expect_content(std::string_view path, std::string_view content) {
    EXPECT_EQ(cached(path), content);
    EXPECT_EQ(on_source(path), content);
    expect_same(path);
  }
  std::unique_ptr<File> file_;
};

TEST_F(NameBehaviour, ARenameLosesNothing) {
  ASSERT_TRUE(write_text(*file_, 0, "AB"));
  ASSERT_TRUE(rename(cache(), "/f", "/g"));
  ASSERT_TRUE(write_text(*file_, 2, "CD"));
  expect_content("/g", "ABCD456789");
  EXPECT_EQ(errno_of(stat(cache(), "/f")), ENOENT);
}

TEST_F(NameBehaviour, AFailedRemovalLosesNothing) {
  ASSERT_TRUE(write_text(*file_, 0, "AB"));
  faults().fail_if([](Operation operation) { return operation == Operation::remove; },
                   std::errc::permission_denied);
  EXPECT_EQ(errno_of(remove(cache(), "/f")), EACCES);
  faults().recover();
  expect_content("/f", "AB23456789");
}

TEST_F(NameBehaviour, AWriteAfterUnlinkDoesNotBringTheFileBack) {
  ASSERT_TRUE(remove(cache(), "/f"));
  EXPECT_EQ(write_text(*file_, 0, "ghost").value_or(0), 5U);
  EXPECT_EQ(read_text(*file_, 0, 10), "ghost56789") << "the handle still works";
  EXPECT_EQ(errno_of(stat(cache(), "/f")), ENOENT);
  EXPECT_EQ(errno_of(stat(source(), "/f")), ENOENT);
}

TEST_F(NameBehaviour, AnUnlinkedFilesAttributesComeThroughItsHandle) {
  ASSERT_TRUE(remove(cache(), "/f"));
  ASSERT_TRUE(write_text(*file_, 0, "a longer text than before"));
  EXPECT_EQ(file_->attributes().value().size, 25U);
  EXPECT_EQ(file_->attributes().value().nlink, 0U);
}

TEST_F(NameBehaviour, AFileOpenedFromTheCacheIsReadableAfterItsUnlink) {
  auto reader = open_cached("/f");
  ASSERT_TRUE(remove(cache(), "/f"));
  EXPECT_EQ(read_text(*reader, 0, 10), "0123456789");
  cache().clear();
  EXPECT_EQ(read_text(*reader, 0, 10), "0123456789");
}

TEST_F(NameBehaviour, AFileOpenedFromTheCacheIsReadableAfterARenameOverIt) {
  auto reader = open_cached("/f");
  given("/g", "other");
  ASSERT_TRUE(rename(cache(), "/g", "/f"));
  cache().clear();
  EXPECT_EQ(read_text(*reader, 0, 10), "0123456789");
  EXPECT_EQ(cached("/f"), "other");
}

TEST_F(NameBehaviour, ANewFileUnderTheNameOfARemovedOneIsAnotherFile) {
  ASSERT_TRUE(remove(cache(), "/f"));
  ASSERT_TRUE(write_file(cache(), "/f", "second"));
  ASSERT_TRUE(write_text(*file_, 0, "FIRST"));
  expect_content("/f", "second");
}

TEST_F(NameBehaviour, ASubFileSystemSharesTheCacheAndItsCoherence) {
  ASSERT_TRUE(mkdir(cache(), "/d"));
  ASSERT_TRUE(write_file(cache(), "/d/f", "one"));
  auto below = sub(cache(), "/d");
  ASSERT_TRUE(below);
  EXPECT_EQ(read_file(**below, "/f").value_or(""), "one");
  ASSERT_TRUE(write_file(**below, "/f", "two"));
  EXPECT_EQ(cached("/d/f"), "two");
  ASSERT_TRUE(write_file(cache(), "/d/f", "three"));
  EXPECT_EQ(read_file(**below, "/f").value_or(""), "three");
  requests().reset();
  cached("/d/f");
  EXPECT_EQ(requests().reads(), 0U);
}

TEST_F(NameBehaviour, HardLinksSeeEachOthersWrites) {
  ASSERT_TRUE(link(cache(), "/f", "/g"));
  EXPECT_EQ(cached("/g"), "0123456789");
  ASSERT_TRUE(write_text(*file_, 0, "AB"));
  EXPECT_EQ(cached("/g"), "AB23456789");
  ASSERT_TRUE(remove(cache(), "/f"));
  expect_content("/g", "AB23456789");
}

}  // namespace
}  // namespace cachefs
