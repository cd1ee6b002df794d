// Who may have what is cached, where the source decides.
#include "core/access_verdicts.h"
#include "support/deciding_fs.h"
#include "unit/cache_stack.h"

namespace cachefs {
namespace {

using std::chrono::seconds;
using test::errno_of;

const Caller kRoot{.uid = 0, .gid = 7, .groups = {}};  // not who fills the cache
const Caller kAnna{.uid = 1000, .gid = 1000, .groups = {}};
const Caller kBert{.uid = 1001, .gid = 1000, .groups = {}};

/// A cache for which nothing needs to be asked for 60 s, over a source that decides. /d/f, mode 0644, and /d
/// are cached on behalf of kBert.
class AccessCheckTest : public testing::Test {
 protected:
  explicit AccessCheckTest(AccessCheck check = AccessCheck::source)
      : memory_(make_mem_fs({.clock = &clock_})),
        server_(*memory_),
        counted_(make_hooked_fs(server_, counter_)) {
    CacheOptions options{
        .max_bytes = 8 * kMiB, .coherence = test::for_ttl(seconds(60)), .access_check = check};
    options.clock = &clock_;
    cache_ = CacheFs::create(*counted_, options).value();
  }
  void SetUp() override {
    ASSERT_TRUE(mkdir(*memory_, "/d"));
    ASSERT_TRUE(write_file(*memory_, "/d/f", "hello"));
    clock_.advance(seconds(10));  // it is settled
    directory_ = resolve(*cache_, "/d").value().node;
    file_ = resolve(*cache_, "/d/f").value().node;
    ASSERT_TRUE(read_file(*cache_, "/d/f"));
    use(kBert);
    counter_.reset();
  }
  void TearDown() override {
    cache_->check_invariants();
    EXPECT_LE(cache_->stats().bytes_used, cache_->stats().bytes_limit);
  }

  int look_up(const Caller& caller) { return errno_of(cache_->lookup(*directory_, "f", caller)); }
  int open(const Caller& caller) { return errno_of(cache_->open(*file_, {}, caller)); }
  int list(const Caller& caller) { return errno_of(cache_->open_directory(*directory_, caller)); }
  /// All three are allowed.
  void use(const Caller& caller) {
    EXPECT_EQ(look_up(caller), 0);
    EXPECT_EQ(open(caller), 0);
    EXPECT_EQ(list(caller), 0);
  }

  ManualClock clock_;
  std::unique_ptr<FileSystem> memory_;
  test::DecidingFs server_;
  OperationCounter counter_;
  std::unique_ptr<FileSystem> counted_;
  std::unique_ptr<CacheFs> cache_;
  NodeRef directory_;
  NodeRef file_;
};

class ModeBitsDecide : public AccessCheckTest {
 protected:
  ModeBitsDecide() : AccessCheckTest(AccessCheck::mode_bits) {}
};

/// The control: what the option is for.
TEST_F(ModeBitsDecide, ServesWhatTheSourceRefuses) {
  server_.refuse(kAnna.uid);
  use(kAnna);
  EXPECT_EQ(counter_.total(), 0U);
}

TEST_F(AccessCheckTest, WhomTheSourceRefusesGetsNothingCached) {
  for (const Caller& caller : {kAnna, kRoot}) {
    server_.refuse(caller.uid);
    EXPECT_EQ(look_up(caller), EACCES);
    EXPECT_EQ(open(caller), EACCES);
    EXPECT_EQ(list(caller), EACCES);
  }
}

TEST_F(AccessCheckTest, EachIsAskedForOnce) {
  use(kAnna);
  EXPECT_EQ(counter_.count(Operation::lookup), 1U);
  EXPECT_EQ(counter_.count(Operation::open), 1U);
  EXPECT_EQ(counter_.count(Operation::open_directory), 1U);
  counter_.reset();
  use(kAnna);
  EXPECT_EQ(counter_.total(), 0U);
}

TEST_F(AccessCheckTest, ALookUpOfAMissingNameCountsToo) {
  EXPECT_EQ(errno_of(cache_->lookup(*directory_, "none", kAnna)), ENOENT);
  counter_.reset();
  EXPECT_EQ(look_up(kAnna), 0);
  EXPECT_EQ(counter_.total(), 0U) << "he may search the directory";
}

TEST_F(AccessCheckTest, VerdictsEndWithAttributes) {
  use(kAnna);
  server_.refuse(kAnna.uid);
  clock_.advance(seconds(59));
  EXPECT_EQ(open(kAnna), 0);
  clock_.advance(seconds(1));
  EXPECT_EQ(open(kAnna), EACCES);
  EXPECT_EQ(list(kAnna), EACCES);
  EXPECT_EQ(look_up(kAnna), EACCES);
}

TEST_F(AccessCheckTest, RefusalsAreNotRemembered) {
  server_.refuse(kAnna.uid);
  EXPECT_EQ(open(kAnna), EACCES);
  server_.admit(kAnna.uid);
  EXPECT_EQ(open(kAnna), 0);
}

TEST_F(AccessCheckTest, ACallerIsUserGroupAndGroups) {
  use(kAnna);
  counter_.reset();
  EXPECT_EQ(open({.uid = 1000, .gid = 7, .groups = {}}), 0);
  EXPECT_EQ(counter_.count(Operation::open), 1U);
  EXPECT_EQ(open({.uid = 1000, .gid = 1000, .groups = {7, 8}}), 0);
  EXPECT_EQ(counter_.count(Operation::open), 2U);
  EXPECT_EQ(open({.uid = 1000, .gid = 1000, .groups = {8, 7}}), 0);
  EXPECT_EQ(counter_.count(Operation::open), 2U) << "the same groups";
}

TEST_F(AccessCheckTest, ReadingIsNotWriting) {
  use(kAnna);
  counter_.reset();
  EXPECT_EQ(errno_of(cache_->open(*file_, {.read = true, .write = true}, kAnna)), 0);
  EXPECT_EQ(counter_.count(Operation::open), 1U);
}

TEST_F(AccessCheckTest, AChangeOfModeEndsVerdicts) {
  use(kAnna);
  ASSERT_TRUE(chmod(*cache_, "/d/f", 0600));
  server_.refuse(kAnna.uid);
  EXPECT_EQ(open(kAnna), EACCES);
}

TEST_F(AccessCheckTest, InvalidationEndsVerdicts) {
  use(kAnna);
  server_.refuse(kAnna.uid);
  clock_.advance(std::chrono::nanoseconds(1));
  cache_->invalidate("/d/f");
  EXPECT_EQ(open(kAnna), EACCES);
}

TEST_F(AccessCheckTest, NothingIsAnsweredToUnknownCallers) {
  EXPECT_FALSE(cache_->try_lookup(*directory_, "f"));
  EXPECT_FALSE(cache_->try_open_directory(*directory_));
  EXPECT_FALSE(cache_->try_open(*file_, {}, kBert)) << "his groups are not known there";
  EXPECT_EQ(cache_->name_validity(*directory_, "f", file_.get()).count(), 0);
}

TEST_F(AccessCheckTest, VerdictsCountAndGoWithClear) {
  use(kAnna);
  directory_ = {};
  file_ = {};
  cache_->clear();
  EXPECT_EQ(cache_->stats().bytes_used, 0U);
}

TEST(AccessVerdicts, TakeABoundedPartOfTheBudget) {
  Budget budget(1 * kMiB);
  AccessVerdicts verdicts(budget);
  for (uint64_t file = 1; file < 100'000; ++file)
    verdicts.allow(FileId(file), {}, kAnna, 7, MonotonicTime() + seconds(1));
  const uint64_t used = budget.used();
  EXPECT_GT(used, 0U);
  EXPECT_LE(used, 512 * kKiB);
  EXPECT_EQ(verdicts.asked_at(FileId(99'999), {}, kAnna, 7), MonotonicTime() + seconds(1))
      << "the newest is kept";
  verdicts.clear(MonotonicTime() + seconds(2));
  EXPECT_EQ(budget.used(), 0U);
}

TEST(AccessVerdicts, WithoutRoomNothingIsRemembered) {
  Budget budget(100);
  AccessVerdicts verdicts(budget);
  verdicts.allow(FileId(1), {}, kAnna, 4, MonotonicTime() + seconds(1));
  EXPECT_EQ(verdicts.asked_at(FileId(1), {}, kAnna, 4), MonotonicTime::min());
  EXPECT_EQ(budget.used(), 0U);
}

TEST(AccessVerdicts, AnAnswerToAQuestionOfBeforeIsNotRemembered) {
  Budget budget(1 * kMiB);
  AccessVerdicts verdicts(budget);
  verdicts.clear(MonotonicTime() + seconds(2));
  verdicts.allow(FileId(1), {}, kAnna, 4, MonotonicTime() + seconds(1));
  EXPECT_EQ(verdicts.asked_at(FileId(1), {}, kAnna, 4), MonotonicTime::min());
}

}  // namespace
}  // namespace cachefs
