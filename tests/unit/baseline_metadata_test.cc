// Invalidation and metadata that a cache gets wrong easily: one behaviour each.
#include <algorithm>

#include "unit/cache_stack.h"

namespace cachefs {
namespace {

using std::chrono::hours;
using test::errno_of;
using test::read_text;
using test::write_text;

/// In a mode that asks nothing by itself, so that only what the cache does of itself keeps the metadata
/// right.
class MetadataBehaviour : public test::CacheStackTest {
 protected:
  MetadataBehaviour() : CacheStackTest({.max_bytes = 8 * kMiB, .coherence = test::for_ttl(hours(1))}) {}
  void SetUp() override {
    ASSERT_TRUE(mkdir(source(), "/d"));
    given("/d/f", "hello");
    expect_all_same();  // and now everything is cached
  }
  void expect_all_same() {
    for (const char* path : {"/", "/d", "/d/f", "/d/g", "/e", "/e/f", "/f"}) expect_same(path);
  }
};

TEST_F(MetadataBehaviour, ChmodShows) {
  ASSERT_TRUE(chmod(cache(), "/d/f", 0600));
  EXPECT_EQ(attributes_of("/d/f").mode, 0600U);
  expect_all_same();
}

TEST_F(MetadataBehaviour, ChownShows) {
  ASSERT_TRUE(chown(cache(), "/d/f", {.uid = 7, .gid = 8}));
  EXPECT_EQ(attributes_of("/d/f").uid, 7U);
  expect_all_same();
}

TEST_F(MetadataBehaviour, UtimensShows) {
  const Timestamp then{std::chrono::seconds(1234)};
  ASSERT_TRUE(utimens(cache(), "/d/f", {.atime = {}, .mtime = TimeChange{.now = false, .time = then}}));
  EXPECT_EQ(attributes_of("/d/f").mtime, then);
  expect_all_same();
}

TEST_F(MetadataBehaviour, AWriteShowsInSizeAndTimes) {
  pass(std::chrono::seconds(5));
  ASSERT_TRUE(write_text(*open_cached("/d/f", test::kReadWrite), 3, "longer than before"));
  EXPECT_EQ(attributes_of("/d/f").size, 21U);
  expect_all_same();
}

TEST_F(MetadataBehaviour, ATruncationShows) {
  ASSERT_TRUE(truncate(cache(), "/d/f", 2));
  EXPECT_EQ(attributes_of("/d/f").size, 2U);
  EXPECT_EQ(cached("/d/f"), "he");
  expect_all_same();
}

TEST_F(MetadataBehaviour, OpeningWithTruncationShows) {
  cached("/d/f");
  open_cached("/d/f", {.read = true, .write = true, .truncate = true});
  EXPECT_EQ(attributes_of("/d/f").size, 0U);
  EXPECT_EQ(cached("/d/f"), "");
  expect_all_same();
}

TEST_F(MetadataBehaviour, ARemovalShows) {
  ASSERT_TRUE(remove(cache(), "/d/f"));
  EXPECT_EQ(errno_of(stat(cache(), "/d/f")), ENOENT);
  expect_all_same();
}

TEST_F(MetadataBehaviour, ARenameShows) {
  ASSERT_TRUE(rename(cache(), "/d/f", "/d/g"));
  EXPECT_EQ(errno_of(stat(cache(), "/d/f")), ENOENT);
  EXPECT_EQ(cached("/d/g"), "hello");
  expect_all_same();
}

TEST_F(MetadataBehaviour, ARenameOverAFileShowsTheNewOneAlone) {
  given("/d/g", "victim");
  cache().clear();
  pass(std::chrono::nanoseconds(1));
  EXPECT_EQ(cached("/d/g"), "victim");
  ASSERT_TRUE(rename(cache(), "/d/f", "/d/g"));
  EXPECT_EQ(cached("/d/g"), "hello");
  expect_all_same();
}

TEST_F(MetadataBehaviour, AnExchangeShowsBoth) {
  ASSERT_TRUE(write_file(cache(), "/d/g", "other"));
  EXPECT_EQ(cached("/d/f") + cached("/d/g"), "helloother");
  ASSERT_TRUE(rename(cache(), "/d/f", "/d/g", RenameMode::exchange));
  EXPECT_EQ(cached("/d/f") + cached("/d/g"), "otherhello");
  expect_all_same();
}

TEST_F(MetadataBehaviour, ARenamedDirectoryTakesItsChildrenWithIt) {
  EXPECT_EQ(cached("/d/f"), "hello");
  ASSERT_TRUE(rename(cache(), "/d", "/e"));
  EXPECT_EQ(errno_of(read_file(cache(), "/d/f")), ENOENT);
  requests().reset();
  EXPECT_EQ(cached("/e/f"), "hello");
  EXPECT_EQ(requests().reads(), 0U) << "a rename moves no data";
  expect_all_same();
}

TEST_F(MetadataBehaviour, ADirectoryMadeInPlaceOfARenamedOneIsEmpty) {
  ASSERT_TRUE(rename(cache(), "/d", "/e"));
  ASSERT_TRUE(mkdir(cache(), "/d"));
  EXPECT_EQ(errno_of(stat(cache(), "/d/f")), ENOENT);
  EXPECT_TRUE(read_directory(cache(), "/d").value().empty());
  expect_all_same();
}

TEST_F(MetadataBehaviour, ALinkShowsInTheCount) {
  ASSERT_TRUE(link(cache(), "/d/f", "/d/g"));
  EXPECT_EQ(attributes_of("/d/f").nlink, 2U);
  EXPECT_EQ(attributes_of("/d/g").nlink, 2U);
  ASSERT_TRUE(remove(cache(), "/d/f"));
  EXPECT_EQ(attributes_of("/d/g").nlink, 1U);
  expect_all_same();
}

TEST_F(MetadataBehaviour, ANameKnownNotToExistExistsOnceCreated) {
  EXPECT_EQ(errno_of(stat(cache(), "/d/g")), ENOENT);
  ASSERT_TRUE(write_file(cache(), "/d/g", "now"));
  EXPECT_EQ(cached("/d/g"), "now");
  expect_all_same();
}

TEST_F(MetadataBehaviour, ListingsFollowEveryChangeOfNames) {
  const auto names = [&] {
    std::string all;
    const auto entries = read_directory(cache(), "/d");
    for (const DirectoryEntry& entry : entries.value()) all += entry.name + ' ';
    return all;
  };
  EXPECT_EQ(names(), "f ");
  ASSERT_TRUE(write_file(cache(), "/d/g", ""));
  EXPECT_EQ(names(), "f g ");
  ASSERT_TRUE(rename(cache(), "/d/f", "/d/z"));
  EXPECT_EQ(names(), "g z ");
  ASSERT_TRUE(symlink(cache(), "z", "/d/s"));
  ASSERT_TRUE(mkdir(cache(), "/d/a"));
  EXPECT_EQ(names(), "a g s z ");
  ASSERT_TRUE(remove(cache(), "/d/a"));
  ASSERT_TRUE(remove(cache(), "/d/g"));
  EXPECT_EQ(names(), "s z ");
}

TEST_F(MetadataBehaviour, XattrsAreThoseOfTheSource) {
  ASSERT_TRUE(set_xattr(cache(), "/d/f", "user.color", "blue"));
  EXPECT_EQ(get_xattr(source(), "/d/f", "user.color").value_or(""), "blue");
  ASSERT_TRUE(set_xattr(cache(), "/d/f", "user.color", "red"));
  EXPECT_EQ(get_xattr(cache(), "/d/f", "user.color").value_or(""), "red");
  expect_all_same();
}

// --- Invalidation on request

class InvalidationBehaviour : public MetadataBehaviour {
 protected:
  void SetUp() override {
    for (const char* directory : {"/a", "/ab", "/a/sub"}) ASSERT_TRUE(mkdir(source(), directory));
    for (const char* file : {"/a/f", "/ab/f", "/a/sub/f"}) given(file, "old");
    for (const char* file : {"/a/f", "/ab/f", "/a/sub/f"}) EXPECT_EQ(cached(file), "old");
    for (const char* file : {"/a/f", "/ab/f", "/a/sub/f"}) given(file, "newer");
    pass(std::chrono::seconds(1));
  }
};

TEST_F(InvalidationBehaviour, WithinTheTtlNothingIsSeenWithoutIt) {
  for (const char* file : {"/a/f", "/ab/f", "/a/sub/f"}) EXPECT_EQ(cached(file), "old");
}

TEST_F(InvalidationBehaviour, OfAPathTakesThatFileAlone) {
  EXPECT_EQ(cache().invalidate("/a/f"), 1U);
  EXPECT_EQ(cached("/a/f"), "newer");
  EXPECT_EQ(cached("/a/sub/f"), "old");
  EXPECT_EQ(cached("/ab/f"), "old");
}

TEST_F(InvalidationBehaviour, OfAPrefixNeverTouchesALongerName) {
  EXPECT_EQ(cache().invalidate_prefix("/a"), 4U);
  EXPECT_EQ(cached("/a/f"), "newer");
  EXPECT_EQ(cached("/a/sub/f"), "newer");
  EXPECT_EQ(cached("/ab/f"), "old");
}

TEST_F(InvalidationBehaviour, PathsAreNormalised) {
  EXPECT_EQ(cache().invalidate("a//./sub/../f"), 1U);
  EXPECT_EQ(cached("/a/f"), "newer");
}

TEST_F(InvalidationBehaviour, AsksTheSourceNothing) {
  requests().reset();
  cache().invalidate("/a/f");
  cache().invalidate_prefix("/a");
  cache().invalidate("/nowhere");
  cache().clear();
  EXPECT_EQ(requests().total(), 0U);
}

TEST_F(InvalidationBehaviour, OfAnUnknownPathMakesEverythingBeAskedAgain) {
  EXPECT_EQ(cache().invalidate("/nowhere/known"), 0U);
  pass(std::chrono::nanoseconds(1));
  EXPECT_EQ(cached("/a/f"), "newer");
}

TEST_F(InvalidationBehaviour, ClearForgetsEverything) {
  cache().clear();
  pass(std::chrono::nanoseconds(1));
  EXPECT_EQ(cache().stats().bytes_used, 0U);
  EXPECT_EQ(cache().stats().entries, 0U);
  EXPECT_EQ(cache().stats().names, 0U);
  for (const char* file : {"/a/f", "/ab/f", "/a/sub/f"}) EXPECT_EQ(cached(file), "newer");
}

TEST_F(InvalidationBehaviour, AnOpenHandleSurvivesIt) {
  auto file = open_cached("/a/f");
  EXPECT_EQ(read_text(*file, 0, 9), "old");
  cache().invalidate_prefix("/");
  EXPECT_EQ(read_text(*file, 0, 9), "newer");
  cache().clear();
  pass(std::chrono::nanoseconds(1));
  EXPECT_EQ(read_text(*file, 0, 9), "newer");
}

}  // namespace
}  // namespace cachefs
