// Advisory locks.
#include "cachefs/lock_store.h"
#include "conformance/fixture.h"

namespace cachefs::conformance {
namespace {

constexpr LockOwner kOne{.family = LockFamily::record, .number = 1};
constexpr LockOwner kOther{.family = LockFamily::record, .number = 2};
constexpr LockOwner kWholeOne{.family = LockFamily::whole, .number = 1};
constexpr LockOwner kWholeOther{.family = LockFamily::whole, .number = 2};

class Locks : public FileSystemTest {
 protected:
  void SetUp() override {
    FileSystemTest::SetUp();
    ASSERT_NE(can().locks, LockReach::none);
    ASSERT_NE(fs().locks(), nullptr);
    file_ = make_file("file", "content");
  }
  void TearDown() override {
    for (const LockOwner& owner : {kOne, kOther, kWholeOne, kWholeOther}) EXPECT_EQ(release(owner), 0);
  }
  static LockRequest request(LockOwner owner, LockMode mode, LockRange range) {
    return {.owner = owner, .mode = mode, .range = range};
  }
  int set(LockOwner owner, LockMode mode, LockRange range = {}) {
    return errno_of(fs().locks()->set(*file_.node, request(owner, mode, range), caller()));
  }
  std::optional<HeldLock> test(LockOwner owner, LockMode mode, LockRange range = {}) {
    auto held = fs().locks()->test(*file_.node, request(owner, mode, range), caller());
    EXPECT_EQ(errno_of(held), 0);
    return held.value_or(std::nullopt);
  }
  int release(LockOwner owner) { return errno_of(fs().locks()->release(*file_.node, owner)); }

  Entry file_;
};
RUN_OVER_ALL_FILE_SYSTEMS(Locks);

TEST_P(Locks, ExclusiveLockKeepsOthersOut) {
  EXPECT_EQ(set(kOne, LockMode::exclusive), 0);
  EXPECT_EQ(set(kOther, LockMode::exclusive), EAGAIN);
  EXPECT_EQ(set(kOther, LockMode::shared), EAGAIN);
  EXPECT_EQ(set(kOne, LockMode::none), 0);
  EXPECT_EQ(set(kOther, LockMode::exclusive), 0);
}

TEST_P(Locks, SharedLocksAreHeldTogether) {
  EXPECT_EQ(set(kOne, LockMode::shared), 0);
  EXPECT_EQ(set(kOther, LockMode::shared), 0);
  EXPECT_EQ(set(kOther, LockMode::exclusive), EAGAIN);
  EXPECT_EQ(set(kOne, LockMode::none), 0);
  EXPECT_EQ(set(kOther, LockMode::exclusive), 0) << "one's own shared lock is changed";
}

TEST_P(Locks, RangesConflictWhereTheyOverlap) {
  EXPECT_EQ(set(kOne, LockMode::exclusive, {.begin = 10, .end = 20}), 0);
  EXPECT_EQ(set(kOther, LockMode::exclusive, {.begin = 0, .end = 10}), 0);
  EXPECT_EQ(set(kOther, LockMode::exclusive, {.begin = 20, .end = LockRange::kEnd}), 0);
  EXPECT_EQ(set(kOther, LockMode::shared, {.begin = 19, .end = 21}), EAGAIN);
}

TEST_P(Locks, RangesAreSplitAndMerged) {
  EXPECT_EQ(set(kOne, LockMode::exclusive, {.begin = 0, .end = 10}), 0);
  EXPECT_EQ(set(kOne, LockMode::exclusive, {.begin = 10, .end = 30}), 0);
  EXPECT_EQ(set(kOne, LockMode::none, {.begin = 5, .end = 15}), 0);
  EXPECT_EQ(set(kOne, LockMode::shared, {.begin = 20, .end = 25}), 0);
  EXPECT_EQ(set(kOther, LockMode::exclusive, {.begin = 5, .end = 15}), 0);
  EXPECT_EQ(set(kOther, LockMode::shared, {.begin = 20, .end = 25}), 0);
  EXPECT_EQ(set(kOther, LockMode::shared, {.begin = 4, .end = 5}), EAGAIN);
  EXPECT_EQ(set(kOther, LockMode::shared, {.begin = 15, .end = 16}), EAGAIN);
  EXPECT_EQ(set(kOther, LockMode::shared, {.begin = 25, .end = 26}), EAGAIN);
}

TEST_P(Locks, TestTellsTheLockInTheWay) {
  EXPECT_EQ(set(kOne, LockMode::shared, {.begin = 10, .end = 20}), 0);
  EXPECT_FALSE(test(kOther, LockMode::shared));
  EXPECT_FALSE(test(kOne, LockMode::exclusive)) << "one's own";
  const auto held = test(kOther, LockMode::exclusive);
  ASSERT_TRUE(held);
  EXPECT_EQ(held->mode, LockMode::shared);
  EXPECT_EQ(held->range, (LockRange{.begin = 10, .end = 20}));
}

TEST_P(Locks, TestTellsARangeToTheEnd) {
  EXPECT_EQ(set(kOne, LockMode::exclusive, {.begin = 3}), 0);
  const auto held = test(kOther, LockMode::shared);
  ASSERT_TRUE(held);
  EXPECT_EQ(held->mode, LockMode::exclusive);
  EXPECT_EQ(held->range, (LockRange{.begin = 3, .end = LockRange::kEnd}));
}

TEST_P(Locks, ReleaseUnlocksAllOfAnOwnerAndNobodyElses) {
  EXPECT_EQ(set(kOne, LockMode::exclusive, {.begin = 0, .end = 5}), 0);
  EXPECT_EQ(set(kOne, LockMode::exclusive, {.begin = 7, .end = 9}), 0);
  EXPECT_EQ(set(kOther, LockMode::exclusive, {.begin = 20, .end = 30}), 0);
  EXPECT_EQ(release(kOne), 0);
  EXPECT_EQ(set(kOther, LockMode::exclusive, {.begin = 0, .end = 20}), 0);
  EXPECT_EQ(set(kOne, LockMode::shared, {.begin = 20, .end = 21}), EAGAIN);
}

TEST_P(Locks, GivingBackWhatOneHasNotIsNoError) {
  EXPECT_EQ(set(kOne, LockMode::none), 0);
  EXPECT_EQ(release(kOne), 0);
}

TEST_P(Locks, WholeFileLocksKeepOthersOut) {
  EXPECT_EQ(set(kWholeOne, LockMode::shared), 0);
  EXPECT_EQ(set(kWholeOther, LockMode::shared), 0);
  EXPECT_EQ(set(kWholeOther, LockMode::exclusive), EAGAIN);
  EXPECT_EQ(release(kWholeOne), 0);
  EXPECT_EQ(set(kWholeOther, LockMode::exclusive), 0);
  EXPECT_EQ(set(kWholeOne, LockMode::shared), EAGAIN);
}

TEST_P(Locks, AWholeFileLockThatCannotBeChangedIsLost) {
  EXPECT_EQ(set(kWholeOne, LockMode::shared), 0);
  EXPECT_EQ(set(kWholeOther, LockMode::shared), 0);
  EXPECT_EQ(set(kWholeOne, LockMode::exclusive), EAGAIN);
  EXPECT_EQ(set(kWholeOther, LockMode::exclusive), 0) << "else the two would wait for each other";
}

TEST_P(Locks, TheTwoFamiliesDoNotKnowOfEachOther) {
  EXPECT_EQ(set(kOne, LockMode::exclusive), 0);
  EXPECT_EQ(set(kWholeOther, LockMode::exclusive), 0);
}

TEST_P(Locks, LocksAreOfTheFileNotOfItsName) {
  EXPECT_EQ(set(kOne, LockMode::exclusive), 0);
  ASSERT_EQ(rename("file", "other"), 0);
  EXPECT_EQ(set(kOther, LockMode::exclusive), EAGAIN);
  const Entry another = make_file("file", "content");
  EXPECT_EQ(errno_of(fs().locks()->set(*another.node, request(kOther, LockMode::exclusive, {}), caller())),
            0);
  EXPECT_EQ(errno_of(fs().locks()->release(*another.node, kOther)), 0);
}

TEST_P(Locks, EmptyRangeIsRefused) {
  EXPECT_EQ(set(kOne, LockMode::exclusive, {.begin = 5, .end = 5}), EINVAL);
}

TEST_P(Locks, DirectoriesAreNotLocked) {
  const Entry directory = make_directory("directory");
  EXPECT_EQ(errno_of(fs().locks()->set(*directory.node, request(kOne, LockMode::exclusive, {}), caller())),
            EINVAL);
}

}  // namespace
}  // namespace cachefs::conformance
