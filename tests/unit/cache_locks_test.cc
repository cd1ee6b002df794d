// What a lock at the source makes of what is cached.
#include "cachefs/lock_store.h"
#include "unit/cache_stack.h"

namespace cachefs {
namespace {

using std::chrono::seconds;
using test::errno_of;
using test::read_text;
using test::write_text;

constexpr LockOwner kOne{.family = LockFamily::record, .number = 1};
constexpr LockOwner kElsewhere{.family = LockFamily::record, .number = 1};

class CacheLocksTest : public test::CacheStackTest {
 protected:
  explicit CacheLocksTest(const MemFsOptions& memory_options = {}, const Coherence& coherence = {})
      : CacheStackTest({.max_bytes = 8 * kMiB, .coherence = coherence}, memory_options) {}
  void SetUp() override {
    given("/f", "old");
    file_ = open_cached("/f", test::kReadWrite);
    node_ = resolve(cache(), "/f").value().node;
    ASSERT_EQ(read_text(*file_, 0, 10), "old");
  }
  void TearDown() override {
    EXPECT_TRUE(cache().locks()->release(*node_, kOne));
    file_.reset();
    node_ = {};
    CacheStackTest::TearDown();
  }
  int set(LockMode mode) {
    return errno_of(cache().locks()->set(*node_, {.owner = kOne, .mode = mode}, Caller::self()));
  }
  int set_elsewhere(LockMode mode) {
    const NodeRef node = resolve(source(), "/f").value().node;
    return errno_of(source().locks()->set(*node, {.owner = kElsewhere, .mode = mode}, Caller::self()));
  }

  std::unique_ptr<File> file_;
  NodeRef node_;
};

TEST_F(CacheLocksTest, LocksAreTheSources) {
  ASSERT_EQ(set(LockMode::exclusive), 0);
  const NodeRef node = resolve(source(), "/f").value().node;
  const LockOwner other{.family = LockFamily::record, .number = 2};
  EXPECT_EQ(errno_of(source().locks()->set(*node, {.owner = other, .mode = LockMode::shared}, {})), EAGAIN);
}

TEST_F(CacheLocksTest, LockSeesWhatWasWrittenBeforeIt) {
  ASSERT_EQ(set_elsewhere(LockMode::exclusive), 0);
  given("/f", "new!");
  EXPECT_EQ(read_text(*file_, 0, 3), "old") << "not locked, not opened anew";
  ASSERT_EQ(set_elsewhere(LockMode::none), 0);
  ASSERT_EQ(set(LockMode::shared), 0);
  EXPECT_EQ(read_text(*file_, 0, 10), "new!");
}

TEST_F(CacheLocksTest, LockOfAnUnchangedFileKeepsItsContent) {
  requests().reset();
  ASSERT_EQ(set(LockMode::shared), 0);
  EXPECT_EQ(read_text(*file_, 0, 3), "old");
  EXPECT_EQ(requests().reads(), 0U);
  EXPECT_EQ(requests().count(Operation::attributes), 1U);
}

TEST_F(CacheLocksTest, UnlockingAsksNothing) {
  ASSERT_EQ(set(LockMode::exclusive), 0);
  requests().reset();
  ASSERT_EQ(set(LockMode::none), 0);
  EXPECT_EQ(requests().total(), 1U);
}

TEST_F(CacheLocksTest, ALockThatIsNotGivenChecksNothing) {
  ASSERT_EQ(set_elsewhere(LockMode::exclusive), 0);
  requests().reset();
  const LockOwner other{.family = LockFamily::record, .number = 2};
  EXPECT_EQ(errno_of(cache().locks()->set(*node_, {.owner = other, .mode = LockMode::shared}, {})), EAGAIN);
  EXPECT_EQ(requests().total(), 1U);
}

TEST_F(CacheLocksTest, WhatCannotBeCheckedIsReadAnew) {
  given("/f", "new!");
  faults().fail_if([](Operation operation) { return operation == Operation::attributes; },
                   Error(std::errc::io_error));
  ASSERT_EQ(set(LockMode::shared), 0);
  faults().recover();
  EXPECT_EQ(read_text(*file_, 0, 10), "new!");
}

/// Two changes within 2 s look like one.
class CoarseCacheLocksTest : public CacheLocksTest {
 protected:
  CoarseCacheLocksTest()
      : CacheLocksTest({.version_source = VersionSource::timestamps, .timestamp_granule = seconds(2)}) {}
};

TEST_F(CoarseCacheLocksTest, LockSeesWhatTheVersionDoesNotShow) {
  given("/f", "new");  // of the same size, within the granule
  ASSERT_EQ(set(LockMode::shared), 0);
  EXPECT_EQ(read_text(*file_, 0, 10), "new");
}

TEST_F(CoarseCacheLocksTest, LockSeesAWriteThatCameRightAfterOneOfOurs) {
  ASSERT_TRUE(write_text(*file_, 0, "own"));
  const auto elsewhere = open(source(), "/f", test::kReadWrite);
  ASSERT_TRUE(elsewhere);
  ASSERT_TRUE(write_text(**elsewhere, 0, "new"));
  ASSERT_EQ(set(LockMode::shared), 0);
  EXPECT_EQ(read_text(*file_, 0, 10), "new");
}

class TtlCacheLocksTest : public CacheLocksTest {
 protected:
  TtlCacheLocksTest() : CacheLocksTest({}, test::for_ttl(seconds(60))) {}
};

TEST_F(TtlCacheLocksTest, LockChecksInThisModeToo) {
  given("/f", "new");
  ASSERT_EQ(set(LockMode::shared), 0);
  EXPECT_EQ(read_text(*file_, 0, 10), "new");
}

class ImmutableCacheLocksTest : public CacheLocksTest {
 protected:
  ImmutableCacheLocksTest() : CacheLocksTest({}, {.mode = CoherenceMode::immutable}) {}
};

TEST_F(ImmutableCacheLocksTest, LockChecksNothingHere) {
  given("/f", "new");
  ASSERT_EQ(set(LockMode::shared), 0);
  EXPECT_EQ(read_text(*file_, 0, 3), "old");
}

}  // namespace
}  // namespace cachefs
