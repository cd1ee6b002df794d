// What is served while the source cannot be reached (CacheOptions::stale_if_error).
#include <thread>

#include "cachefs/guarded_fs.h"
#include "unit/cache_stack.h"

namespace cachefs {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;
using test::errno_of;
using test::read_text;

constexpr auto kStale = minutes(10);

class Stale : public test::CacheStackTest {
 protected:
  explicit Stale(const Coherence& coherence = {})
      : CacheStackTest({.coherence = coherence, .stale_if_error = kStale}) {}
  void SetUp() override {
    ASSERT_TRUE(mkdir(source(), "/d"));
    given("/d/f", "hello");
    given("/d/unread", "later");
    ASSERT_TRUE(symlink(source(), "f", "/d/s"));
    ASSERT_EQ(cached("/d/f"), "hello");
    ASSERT_EQ(list(), 3U);
    ASSERT_EQ(read_link(PathContext(cache()), "/d/s").value_or(""), "f");
    ASSERT_TRUE(stat(cache(), "/d/unread"));
    ASSERT_EQ(errno_of(stat(cache(), "/d/none")), ENOENT);
  }
  size_t list() {
    const auto entries = read_directory(PathContext(cache()), "/d");
    return entries ? entries->size() : 0;
  }
  void lose_source(int error = EIO) {
    faults().fail_if([](Operation) { return true; }, Error::from_errno(error));
  }
};

TEST_F(Stale, WhatIsKnownIsServedWhileTheSourceCannotBeReached) {
  outlive_attributes();
  for (const int error : {EIO, ETIMEDOUT, ENOTCONN, EHOSTDOWN}) {
    lose_source(error);
    EXPECT_EQ(cached("/d/f"), "hello") << error;
    EXPECT_EQ(attributes_of("/d/f").size, 5U);
    EXPECT_EQ(list(), 3U);
    EXPECT_EQ(read_link(PathContext(cache()), "/d/s").value_or(""), "f");
    EXPECT_EQ(cached("/d/s"), "hello");
  }
  EXPECT_GT(cache().stats().stale_answers, 0U);
}

TEST_F(Stale, WhatIsNotKnownIsAnErrorAndNeverAbsent) {
  outlive_attributes();
  lose_source();
  EXPECT_EQ(errno_of(stat(cache(), "/d/other")), EIO);
  EXPECT_EQ(errno_of(stat(cache(), "/d/none")), EIO) << "that it was absent is known from before";
  EXPECT_EQ(errno_of(read_file(cache(), "/d/unread")), EIO);
}

TEST_F(Stale, OtherErrorsAreAnswers) {
  outlive_attributes();
  lose_source(EACCES);
  EXPECT_EQ(errno_of(stat(cache(), "/d/f")), EACCES);
  EXPECT_EQ(cache().stats().stale_answers, 0U);
}

TEST_F(Stale, NothingIsServedBeyondThatTime) {
  lose_source();
  pass(kStale + seconds(1) - std::chrono::nanoseconds(1));  // names and attributes have a second anyway
  EXPECT_EQ(cached("/d/f"), "hello");
  pass(std::chrono::nanoseconds(1));
  EXPECT_EQ(errno_of(stat(cache(), "/d/f")), EIO);
}

TEST_F(Stale, WhatIsServedDoesNotGrowYounger) {
  lose_source();
  for (int i = 0; i < 20; ++i) {
    pass(minutes(1));
    ignore(stat(cache(), "/d/f"), "asked for what it may renew");
  }
  EXPECT_EQ(errno_of(stat(cache(), "/d/f")), EIO);
}

TEST_F(Stale, AChangeElsewhereShowsAsSoonAsTheSourceIsBack) {
  outlive_attributes();
  lose_source();
  given("/d/f", "other");
  EXPECT_EQ(cached("/d/f"), "hello");
  faults().recover();
  EXPECT_EQ(cached("/d/f"), "other");
}

TEST_F(Stale, WhatWasInvalidatedIsNotServed) {
  cache().invalidate("/d/f");
  lose_source();
  EXPECT_EQ(errno_of(read_file(cache(), "/d/f")), EIO);
  faults().recover();
  ASSERT_EQ(cached("/d/f"), "hello");
  cache().clear();
  lose_source();
  EXPECT_EQ(errno_of(read_file(cache(), "/d/f")), EIO);
}

TEST_F(Stale, WhatIsToBeAskedOnceMoreIsServedMeanwhile) {
  cache().revalidate();
  lose_source();
  EXPECT_EQ(cached("/d/f"), "hello");
  faults().recover();
  requests().reset();
  EXPECT_EQ(cached("/d/f"), "hello");
  EXPECT_EQ(requests().reads(), 0U);
  EXPECT_GT(requests().metadata(), 0U);
}

TEST_F(Stale, AfterAChangeOfOursTheDirectoryIsServedToo) {
  ASSERT_TRUE(write_file(cache(), "/d/new", "new"));
  ASSERT_TRUE(remove(cache(), "/d/unread"));
  lose_source();
  EXPECT_EQ(cached("/d/f"), "hello");
  EXPECT_EQ(cached("/d/new"), "new");
}

TEST_F(Stale, AnOpenHandleReadsOn) {
  auto file = open_cached("/d/f");
  outlive_attributes();
  lose_source();
  EXPECT_EQ(read_text(*file, 0, 100), "hello");
  EXPECT_EQ(file->attributes().value_or(Attributes{}).size, 5U);
}

/// Behind a guard, which knows of an outage before anything is tried.
TEST_F(Stale, ChangesAreRefusedBeforeAnythingIsForgotten) {
  const auto faulty = test::make_faulty_source(stack_);
  const auto guarded = GuardedFs::create(faulty, {.probe_interval = std::chrono::milliseconds(1)});
  auto made = CacheFs::create(*guarded, {.stale_if_error = kStale, .clock = &stack_->clock});
  ASSERT_TRUE(made);
  CacheFs& fs = **made;
  ASSERT_EQ(read_file(fs, "/d/f").value_or(""), "hello");
  ASSERT_EQ(read_directory(PathContext(fs), "/d")->size(), 3U);
  auto writer = open(fs, "/d/f", test::kReadWrite);
  ASSERT_TRUE(writer);
  lose_source(ENOTCONN);
  outlive_attributes();
  EXPECT_TRUE(stat(fs, "/d/f"));
  while (!guarded->reachability()->outage()) std::this_thread::yield();
  EXPECT_EQ(errno_of(write_file(fs, "/d/new", "new")), EIO);
  EXPECT_EQ(errno_of(test::write_text(**writer, 0, "H")), EIO);
  EXPECT_EQ(errno_of(remove(fs, "/d/f")), EIO);
  EXPECT_EQ(errno_of(rename(fs, "/d/f", "/d/g")), EIO);
  EXPECT_EQ(errno_of(mkdir(fs, "/d/e")), EIO);
  EXPECT_EQ(errno_of(link(fs, "/d/f", "/d/g")), EIO);
  EXPECT_EQ(errno_of(chmod(fs, "/d/f", 0600)), EIO);
  EXPECT_EQ(read_file(fs, "/d/f").value_or(""), "hello");
  EXPECT_EQ(read_directory(PathContext(fs), "/d")->size(), 3U);
  faults().recover();
  while (guarded->reachability()->outage()) std::this_thread::yield();
  EXPECT_TRUE(test::write_text(**writer, 0, "H"));
  EXPECT_EQ(read_file(fs, "/d/f").value_or(""), "Hello");
}

TEST_F(Stale, WhatIsRefusedUnaskedIsNoRequestToTheSource) {
  constexpr auto kLimit = std::chrono::milliseconds(50);
  const auto guarded = GuardedFs::create(
      test::make_faulty_source(stack_),
      {.limits = {kLimit, kLimit, kLimit, kLimit, kLimit}, .probe_interval = std::chrono::milliseconds(1)});
  const auto fs = CacheFs::create(*guarded, {.clock = &stack_->clock}).value();
  ASSERT_TRUE(stat(*fs, "/d/f"));
  lose_source(ENOTCONN);
  while (guarded->health().reachable) EXPECT_EQ(errno_of(stat(*fs, "/d/unread")), EIO);
  const CacheStats before = fs->stats();
  EXPECT_EQ(errno_of(stat(*fs, "/d/unread")), EIO);
  EXPECT_EQ(fs->stats().source_metadata_ops, before.source_metadata_ops);
  EXPECT_EQ(fs->stats().source_refused, before.source_refused + 1);
  fs->reset_stats();
  EXPECT_EQ(fs->stats().source_refused, 0U);
  faults().recover();
}

TEST_F(Stale, HandlesThatOnlyReadTakeNothingAwayInAnOutage) {
  const auto guarded =
      GuardedFs::create(test::make_faulty_source(stack_), {.probe_interval = std::chrono::milliseconds(1)});
  auto made = CacheFs::create(*guarded, {.stale_if_error = kStale, .clock = &stack_->clock});
  ASSERT_TRUE(made);
  auto reader = open(**made, "/d/f");
  ASSERT_TRUE(reader);
  ASSERT_EQ(read_text(**reader, 0, 100), "hello");
  lose_source(ENOTCONN);
  outlive_attributes();
  EXPECT_TRUE(stat(**made, "/d/f"));
  while (!guarded->reachability()->outage()) std::this_thread::yield();
  EXPECT_EQ(errno_of((*reader)->sync(SyncKind::all)), EIO);
  EXPECT_EQ(read_file(**made, "/d/f").value_or(""), "hello");
  EXPECT_EQ(errno_of((*reader)->close()), 0);
  EXPECT_EQ(read_file(**made, "/d/f").value_or(""), "hello");
  faults().recover();
}

/// Fails after a while, by the cache's clock.
class FailsLate final : public OperationHook {
 public:
  explicit FailsLate(ManualClock& clock) : clock_(clock) {}
  Result<void> before(Operation, uint64_t) override {
    if (!fails) return {};
    clock_.advance(seconds(10));
    return fail(std::errc::timed_out);
  }
  bool fails = false;

 private:
  ManualClock& clock_;
};

TEST_F(Stale, ACheckThatWasPutOffIsMadeOnceTheSourceIsBack) {
  FailsLate late(stack_->clock);
  const auto failing = make_hooked_fs(source(), late);
  const auto made = CacheFs::create(*failing, {.stale_if_error = kStale, .clock = &stack_->clock}).value();
  ASSERT_EQ(read_file(*made, "/d/f").value_or(""), "hello");
  pass(seconds(2));
  late.fails = true;
  EXPECT_EQ(read_file(*made, "/d/f").value_or(""), "hello");
  late.fails = false;
  given("/d/f", "other");
  EXPECT_EQ(read_file(*made, "/d/f").value_or(""), "hello") << "not asked for as long as the failure took";
  made->revalidate();
  EXPECT_EQ(read_file(*made, "/d/f").value_or(""), "other");
}

class StaleInTtl : public Stale {
 protected:
  StaleInTtl() : Stale(test::for_ttl(minutes(1))) {}
};

TEST_F(StaleInTtl, WhatIsKnownIsServed) {
  pass(minutes(2));
  lose_source();
  EXPECT_EQ(cached("/d/f"), "hello");
  EXPECT_EQ(list(), 3U);
  pass(kStale);
  EXPECT_EQ(errno_of(stat(cache(), "/d/f")), EIO);
}

class StaleInStrict : public Stale {
 protected:
  StaleInStrict() : Stale({.mode = CoherenceMode::strict}) {}
};

TEST_F(StaleInStrict, NothingIsServedUnasked) {
  lose_source();
  EXPECT_EQ(errno_of(stat(cache(), "/d/f")), EIO);
}

class NotStale : public test::CacheStackTest {};

TEST_F(NotStale, UnlessWantedNothingIsServed) {
  given("/f", "hello");
  ASSERT_EQ(cached("/f"), "hello");
  outlive_attributes();
  faults().fail_if([](Operation) { return true; }, Error::from_errno(EIO));
  EXPECT_EQ(errno_of(stat(cache(), "/f")), EIO);
}

}  // namespace
}  // namespace cachefs
