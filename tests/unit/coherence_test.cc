// Which requests reach the source, in each mode, with exact counts.
#include "unit/cache_stack.h"

namespace cachefs {
namespace {

using std::chrono::hours;
using std::chrono::nanoseconds;
using std::chrono::seconds;
using test::errno_of;
using test::read_text;

class CoherenceTest : public test::CacheStackTest {
 protected:
  explicit CoherenceTest(const CacheOptions& options) : CacheStackTest(options) {}
  void SetUp() override {
    ASSERT_TRUE(mkdir(source(), "/d"));
    given("/d/f", "hello");
    ASSERT_TRUE(symlink(source(), "f", "/d/s"));
    root_ = cache().root();
    directory_ = cache().lookup(*root_, "d", caller_).value().node;
    file_ = cache().lookup(*directory_, "f", caller_).value().node;
    requests().reset();
  }
  void TearDown() override {
    root_ = directory_ = file_ = {};
    test::CacheStackTest::TearDown();
  }
  /// Checks what reached the source since the last call.
  struct Expected {
    uint64_t lookups = 0;
    uint64_t attributes = 0;
    uint64_t opens = 0;
    uint64_t reads = 0;
    uint64_t others = 0;
  };
  void expect_requests(const Expected& expected, const char* what) {
    const uint64_t counted = requests().count(Operation::lookup) + requests().count(Operation::attributes) +
                             requests().count(Operation::open) + requests().reads();
    EXPECT_EQ(requests().count(Operation::lookup), expected.lookups) << what;
    EXPECT_EQ(requests().count(Operation::attributes), expected.attributes) << what;
    EXPECT_EQ(requests().count(Operation::open), expected.opens) << what;
    EXPECT_EQ(requests().reads(), expected.reads) << what;
    EXPECT_EQ(requests().total() - counted, expected.others) << what;
    requests().reset();
  }
  void look_up() { ASSERT_TRUE(cache().lookup(*directory_, "f", caller_)); }
  void look_up_nothing() { ASSERT_EQ(errno_of(cache().lookup(*directory_, "nothing", caller_)), ENOENT); }
  void ask_attributes() { ASSERT_TRUE(cache().attributes(*file_, caller_)); }
  void open_and_read() {
    auto opened = cache().open(*file_, {}, caller_);
    ASSERT_TRUE(opened);
    ASSERT_EQ(read_text(*opened->file, 0, 100), "hello");
  }
  void list() { ASSERT_EQ(read_directory(PathContext(cache()), "/d").value().size(), 2U); }
  void follow() { ASSERT_EQ(read_link(PathContext(cache()), "/d/s").value_or(""), "f"); }

  Caller caller_;
  NodeRef root_;
  NodeRef directory_;
  NodeRef file_;
};

class CloseToOpen : public CoherenceTest {
 protected:
  CloseToOpen() : CoherenceTest({.max_bytes = 8 * kMiB, .coherence = {}}) {}
};

class Ttl : public CoherenceTest {
 protected:
  Ttl() : CoherenceTest({.max_bytes = 8 * kMiB, .coherence = test::for_ttl(seconds(60))}) {}
};

TEST_F(CloseToOpen, ALookUpAsksOnceASecond) {
  look_up();
  expect_requests({}, "at once");
  pass(nanoseconds(999'999'999));
  look_up();
  expect_requests({}, "just within");
  pass(nanoseconds(1));
  look_up();
  expect_requests({.lookups = 1}, "after a second");
}

TEST_F(CloseToOpen, ANameThatDoesNotExistAsksOnceASecond) {
  look_up_nothing();
  expect_requests({.lookups = 1}, "first");
  look_up_nothing();
  expect_requests({}, "at once");
  pass(seconds(1));
  look_up_nothing();
  expect_requests({.lookups = 1}, "after a second");
}

TEST_F(CloseToOpen, AttributesAskOnceASecond) {
  ask_attributes();
  expect_requests({}, "at once");
  pass(seconds(1));
  ask_attributes();
  expect_requests({.attributes = 1}, "after a second");
}

TEST_F(CloseToOpen, EveryOpenAsksOnceAndACachedFileIsNotOpened) {
  open_and_read();
  expect_requests({.attributes = 1, .opens = 1, .reads = 1}, "first");
  open_and_read();
  expect_requests({.attributes = 1}, "second");
  pass(seconds(1));
  open_and_read();
  expect_requests({.attributes = 1}, "after a second");
}

TEST_F(CloseToOpen, TheSecondPassOverFilesAsksAtMostALookUpAndACheckEach) {
  for (int i = 0; i < 100; ++i) given("/d/file" + std::to_string(i), "content");
  for (int i = 0; i < 100; ++i) cached("/d/file" + std::to_string(i));
  requests().reset();
  for (int i = 0; i < 100; ++i) EXPECT_EQ(cached("/d/file" + std::to_string(i)), "content");
  expect_requests({.attributes = 100}, "at once");
  pass(seconds(10));
  for (int i = 0; i < 100; ++i) EXPECT_EQ(cached("/d/file" + std::to_string(i)), "content");
  EXPECT_LE(requests().count(Operation::lookup), 101U) << "the directory's own name too";
  EXPECT_LE(requests().count(Operation::attributes), 100U);
  EXPECT_LE(requests().total(), 201U);
}

TEST_F(CloseToOpen, ReadsOfAnOpenFileAskNothing) {
  open_and_read();
  auto file = open_cached("/d/f");
  pass(hours(1));
  requests().reset();
  EXPECT_EQ(read_text(*file, 0, 5), "hello");
  expect_requests({}, "an hour after its open");
}

TEST_F(CloseToOpen, AReadAtTheEndFollowsAGrowingFile) {
  auto file = open_cached("/d/f");
  EXPECT_EQ(read_text(*file, 0, 100), "hello");
  given("/d/f", "hello, more");
  pass(seconds(1));
  EXPECT_EQ(read_text(*file, 0, 100), "hello, more");
}

TEST_F(CloseToOpen, EveryOpenOfADirectoryAsksOnce) {
  list();
  requests().reset();
  list();
  expect_requests({.attributes = 1}, "second");
  given("/d/new", "");
  EXPECT_EQ(read_directory(PathContext(cache()), "/d").value().size(), 3U);
}

TEST_F(CloseToOpen, ASymlinkIsReadOnce) {
  follow();
  requests().reset();
  follow();
  expect_requests({}, "at once");
}

TEST_F(CloseToOpen, AnOpenForWritingReachesTheSource) {
  open_and_read();
  requests().reset();
  ASSERT_TRUE(cache().open(*file_, {.read = true, .write = true}, caller_));
  expect_requests({.opens = 1}, "for writing");
}

TEST_F(CloseToOpen, WhatThisProcessWroteIsNotReadAgain) {
  ASSERT_TRUE(write_file(cache(), "/d/mine", std::string(10'000, 'x')));
  requests().reset();
  EXPECT_EQ(cached("/d/mine"), std::string(10'000, 'x'));
  EXPECT_EQ(requests().reads(), 0U);
  EXPECT_EQ(requests().count(Operation::open), 0U);
}

TEST_F(Ttl, WithinItNothingIsAskedASecondTime) {
  const auto all = [&] {
    look_up();
    look_up_nothing();
    ask_attributes();
    open_and_read();
    list();
    follow();
  };
  all();
  EXPECT_GT(requests().total(), 0U);
  requests().reset();
  all();
  pass(seconds(59));
  all();
  expect_requests({}, "within the ttl");
}

TEST_F(Ttl, AfterItTheAnswerIsAskedOnceMore) {
  open_and_read();
  requests().reset();
  pass(seconds(60));
  look_up();
  expect_requests({.lookups = 1}, "look-up");
  open_and_read();
  expect_requests({}, "the look-up brought the attributes too");
  pass(seconds(60));
  open_and_read();
  EXPECT_EQ(requests().reads(), 0U);
  EXPECT_EQ(requests().total(), 1U);
}

TEST_F(Ttl, AnOpenFileIsCheckedOnceTheTtlIsOver) {
  auto file = open_cached("/d/f");
  EXPECT_EQ(read_text(*file, 0, 5), "hello");
  given("/d/f", "HELLO");
  EXPECT_EQ(read_text(*file, 0, 5), "hello") << "within the ttl";
  pass(seconds(60));
  EXPECT_EQ(read_text(*file, 0, 5), "HELLO");
}

TEST_F(Ttl, AChangeShowsAfterItAtTheLatest) {
  open_and_read();
  given("/d/f", "changed");
  EXPECT_EQ(cached("/d/f"), "hello");
  pass(seconds(60));
  EXPECT_EQ(cached("/d/f"), "changed");
}

TEST_F(Ttl, ZeroAsksEveryTime) {
  test::CacheStack stack({.max_bytes = kMiB, .coherence = test::for_ttl(seconds(0))});
  ASSERT_TRUE(write_file(*stack.memory, "/f", "one"));
  EXPECT_EQ(read_file(*stack.cache, "/f").value_or(""), "one");
  ASSERT_TRUE(write_file(*stack.memory, "/f", "two"));
  EXPECT_EQ(read_file(*stack.cache, "/f").value_or(""), "two");
}

}  // namespace
}  // namespace cachefs
