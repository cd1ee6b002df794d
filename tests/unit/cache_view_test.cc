// Answers that need nobody to wait, what may be kept above the cache, and what is told when that is no longer
// true.
#include <vector>

#include "unit/cache_stack.h"

namespace cachefs {
namespace {

using std::chrono::nanoseconds;
using std::chrono::seconds;
using test::errno_of;
using test::kReadWrite;
using test::read_text;
using test::write_text;

class CacheViewTest : public test::CacheStackTest {
 protected:
  CacheViewTest() : CacheStackTest({.max_bytes = kMiB, .coherence = test::for_ttl(seconds(60))}) {}
  void SetUp() override {
    given("/f", "hello");
    ASSERT_TRUE(symlink(source(), "f", "/s"));
    root_ = cache().root();
  }
  void TearDown() override {
    root_ = file_ = {};
    test::CacheStackTest::TearDown();
  }
  /// Makes everything known.
  void warm() {
    EXPECT_EQ(cached("/f"), "hello");
    EXPECT_TRUE(read_link(cache(), "/s"));
    EXPECT_EQ(errno_of(stat(cache(), "/none")), ENOENT);
    EXPECT_TRUE(read_directory(cache(), "/"));
    file_ = resolve(cache(), "/f").value().node;
    requests().reset();
  }
  NodeRef root_;
  NodeRef file_;
  Caller caller_;
};

TEST_F(CacheViewTest, NothingIsAnsweredBeforeItIsKnownAndNothingAsked) {
  EXPECT_FALSE(cache().try_lookup(*root_, "f"));
  EXPECT_FALSE(cache().try_attributes(*root_));
  EXPECT_FALSE(cache().try_open_directory(*root_));
  EXPECT_EQ(cache().name_validity(*root_, "f", file_.get()), nanoseconds(0));
  EXPECT_EQ(requests().total(), 0U);
}

TEST_F(CacheViewTest, WhatIsKnownIsAnsweredWithoutTheSource) {
  warm();
  const auto found = cache().try_lookup(*root_, "f");
  ASSERT_TRUE(found && *found);
  EXPECT_EQ((*found)->attributes.size, 5U);
  const auto absent = cache().try_lookup(*root_, "none");
  ASSERT_TRUE(absent);
  EXPECT_EQ(errno_of(*absent), ENOENT);
  EXPECT_TRUE(cache().try_attributes(*file_));
  EXPECT_EQ(cache().try_read_link(*resolve(cache(), "/s", FollowLast::no).value().node).value_or(""), "f");
  EXPECT_TRUE(cache().try_open_directory(*root_));
  EXPECT_TRUE(cache().try_open(*file_, {}, caller_));
  EXPECT_EQ(requests().total(), 0U);
}

TEST_F(CacheViewTest, OldAnswersAreNotGiven) {
  warm();
  pass(seconds(60));
  EXPECT_FALSE(cache().try_lookup(*root_, "f"));
  EXPECT_FALSE(cache().try_attributes(*file_));
  EXPECT_FALSE(cache().try_open(*file_, {}, caller_));
  EXPECT_FALSE(cache().try_open_directory(*root_));
  EXPECT_EQ(requests().total(), 0U);
}

TEST_F(CacheViewTest, AReadIsAllOrNothing) {
  given("/big", std::string(300'000, 'b'));
  auto file = open_cached("/big");
  EXPECT_EQ(read_text(*file, 0, 4096), std::string(4096, 'b'));
  requests().reset();
  std::string out(8192, '?');
  EXPECT_EQ(cache().try_read_at(*file, 0, std::as_writable_bytes(std::span(out).first(4096))), 4096U);
  EXPECT_FALSE(cache().try_read_at(*file, 0, std::as_writable_bytes(std::span(out))));
  EXPECT_EQ(requests().total(), 0U);
}

TEST_F(CacheViewTest, AReadAtTheEndIsShort) {
  warm();
  auto file = open_cached("/f");
  std::string out(100, '?');
  EXPECT_EQ(cache().try_read_at(*file, 2, std::as_writable_bytes(std::span(out))), 3U);
  EXPECT_EQ(out.substr(0, 3), "llo");
  EXPECT_EQ(cache().try_read_at(*file, 5, std::as_writable_bytes(std::span(out))), 0U);
}

TEST_F(CacheViewTest, AHandleThatOnlyWritesReadsNothing) {
  warm();
  auto file = open_cached("/f", {.read = false, .write = true});
  std::string out(5, '?');
  EXPECT_FALSE(cache().try_read_at(*file, 0, std::as_writable_bytes(std::span(out))));
}

TEST_F(CacheViewTest, AForbiddenFileIsNotOpenedFromTheCache) {
  ASSERT_TRUE(chmod(source(), "/f", 0600));
  warm();
  const Caller other{.uid = 1000, .gid = 1000, .groups = {}, .umask = 022};
  EXPECT_FALSE(cache().try_open(*file_, {}, other));
  EXPECT_TRUE(cache().try_open(*file_, {}, caller_));
}

TEST_F(CacheViewTest, WritingAndCloseToOpenAskTheSource) {
  warm();
  EXPECT_FALSE(cache().try_open(*file_, {.read = true, .write = true}, caller_));
  test::CacheStack strict({.max_bytes = kMiB, .coherence = {}});
  ASSERT_TRUE(write_file(*strict.cache, "/f", "x"));
  const NodeRef node = resolve(*strict.cache, "/f").value().node;
  EXPECT_FALSE(strict.cache->try_open(*node, {}, caller_));
}

TEST_F(CacheViewTest, AnAnswerThatAnotherOneReplacedIsNotReliedUpon) {
  warm();
  EXPECT_GT(cache().name_validity(*root_, "f", file_.get()), nanoseconds(0));
  EXPECT_EQ(cache().name_validity(*root_, "f", nullptr), nanoseconds(0));
  EXPECT_EQ(cache().name_validity(*root_, "f", root_.get()), nanoseconds(0));
  EXPECT_EQ(cache().name_validity(*root_, "none", file_.get()), nanoseconds(0));
}

TEST_F(CacheViewTest, ValidityCountsDownFromTheAnswer) {
  warm();
  pass(seconds(20));
  EXPECT_EQ(cache().validity(*file_).attributes, seconds(40));
  EXPECT_EQ(cache().name_validity(*root_, "f", file_.get()), seconds(40));
  EXPECT_EQ(cache().name_validity(*root_, "none", nullptr), seconds(40));
  pass(seconds(41));
  EXPECT_EQ(cache().validity(*file_).attributes, nanoseconds(0));
  EXPECT_EQ(cache().name_validity(*root_, "f", file_.get()), nanoseconds(0));
}

TEST_F(CacheViewTest, TheDataGenerationIsAnotherAfterAForeignChangeAlone) {
  warm();
  const uint64_t before = cache().validity(*file_).data_generation;
  ASSERT_TRUE(write_text(*open_cached("/f", kReadWrite), 0, "HELLO"));
  ASSERT_TRUE(chmod(cache(), "/f", 0600));
  EXPECT_EQ(cached("/f"), "HELLO");
  EXPECT_EQ(cache().validity(*file_).data_generation, before);
  given("/f", "foreign");
  pass(seconds(60));
  EXPECT_EQ(cached("/f"), "foreign");
  EXPECT_NE(cache().validity(*file_).data_generation, before);
}

TEST_F(CacheViewTest, RemembersThatAFileHasNoCapability) {
  constexpr std::string_view kCapability = "security.capability";
  const NodeRef file = resolve(cache(), "/f").value().node;
  const auto ask = [&] { return test::errno_of(cache().xattrs()->get(*file, kCapability, Caller{})); };
  EXPECT_FALSE(cache().lacks_xattr(*file, kCapability)) << "it was never asked for";
  EXPECT_EQ(ask(), ENODATA);
  EXPECT_TRUE(cache().lacks_xattr(*file, kCapability));
  requests().reset();
  EXPECT_EQ(ask(), ENODATA);
  EXPECT_EQ(requests().total(), 0U);
  EXPECT_FALSE(cache().lacks_xattr(*file, "user.other"));

  auto writer = open_cached("/f", test::kReadWrite);
  ASSERT_TRUE(test::write_text(*writer, 0, "x"));  // nothing of it is cached: the source is not asked first
  EXPECT_FALSE(cache().lacks_xattr(*file, kCapability)) << "a foreign one could hide behind our change";
  EXPECT_EQ(ask(), ENODATA);
  ASSERT_TRUE(test::write_text(*writer, 0, "y"));
  EXPECT_TRUE(cache().lacks_xattr(*file, kCapability)) << "the version before the write was the known one";

  ASSERT_TRUE(cache().xattrs()->set(*file, kCapability, "c", XattrMode::create_or_replace, Caller{}));
  EXPECT_FALSE(cache().lacks_xattr(*file, kCapability));
  EXPECT_EQ(ask(), 0);
}

TEST_F(CacheViewTest, AForeignCapabilityShowsWhenAttributesWould) {
  const NodeRef file = resolve(cache(), "/f").value().node;
  EXPECT_EQ(test::errno_of(cache().xattrs()->get(*file, "security.capability", Caller{})), ENODATA);
  const NodeRef there = resolve(source(), "/f").value().node;
  ASSERT_TRUE(
      source().xattrs()->set(*there, "security.capability", "c", XattrMode::create_or_replace, Caller{}));
  pass(seconds(60));
  EXPECT_FALSE(cache().lacks_xattr(*file, "security.capability"));
  EXPECT_EQ(test::errno_of(cache().xattrs()->get(*file, "security.capability", Caller{})), 0);
}

class Recorder final : public CacheListener {
 public:
  void on_data_changed(const NodeRef& /*node*/) override { ++data; }
  void on_attributes_changed(const NodeRef& /*node*/) override { ++attributes; }
  void on_name_changed(const NodeRef& /*directory*/, std::string_view name) override {
    names.emplace_back(name);
  }
  void on_everything_changed() override { ++everything; }
  int data = 0;
  int attributes = 0;
  int everything = 0;
  std::vector<std::string> names;
};

TEST_F(CacheViewTest, TheListenerIsToldThatAnythingMayBeMeant) {
  warm();
  Recorder recorder;
  cache().set_listener(&recorder);
  cache().invalidate("/f");
  EXPECT_EQ(recorder.everything, 0);
  cache().invalidate("/not/known");
  EXPECT_EQ(recorder.everything, 1);
  cache().clear();
  EXPECT_EQ(recorder.everything, 2);
  cache().set_listener(nullptr);
}

TEST_F(CacheViewTest, TheListenerIsToldOfForeignChangesAndInvalidations) {
  warm();
  Recorder recorder;
  cache().set_listener(&recorder);
  given("/f", "foreign");
  pass(seconds(60));
  EXPECT_EQ(cached("/f"), "foreign");
  EXPECT_GE(recorder.data, 1);
  recorder.data = 0;
  EXPECT_EQ(cache().invalidate("/f"), 1U);
  EXPECT_GE(recorder.data, 1);
  EXPECT_EQ(recorder.names, std::vector<std::string>{"f"});
  cache().set_listener(nullptr);
  recorder.data = 0;
  cache().clear();
  EXPECT_EQ(recorder.data, 0);
}

TEST_F(CacheViewTest, StatisticsCountBlocksAndRequests) {
  EXPECT_EQ(cached("/f"), "hello");
  EXPECT_EQ(cached("/f"), "hello");
  CacheStats stats = cache().stats();
  EXPECT_EQ(stats.misses, 1U);
  EXPECT_EQ(stats.hits, 1U);
  EXPECT_DOUBLE_EQ(stats.hit_ratio(), 0.5);
  EXPECT_EQ(stats.source_reads, requests().reads());
  EXPECT_EQ(stats.source_read_bytes, 5U);
  EXPECT_EQ(stats.source_metadata_ops, requests().metadata());
  ASSERT_TRUE(write_file(cache(), "/g", "four"));
  EXPECT_EQ(cache().stats().source_writes, 1U);
  EXPECT_EQ(cache().stats().source_write_bytes, 4U);
  cache().reset_stats();
  stats = cache().stats();
  EXPECT_EQ(stats.hits + stats.misses + stats.source_reads + stats.source_writes + stats.source_metadata_ops,
            0U);
  EXPECT_GT(stats.bytes_used, 0U) << "a gauge stays";
}

}  // namespace
}  // namespace cachefs
