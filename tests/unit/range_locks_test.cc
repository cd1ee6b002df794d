#include "base/range_locks.h"

#include <gtest/gtest.h>

#include <array>
#include <random>

#include "support/scale.h"

namespace cachefs {
namespace {

constexpr LockOwner kOne{.family = LockFamily::record, .number = 1};
constexpr LockOwner kOther{.family = LockFamily::record, .number = 2};
constexpr LockOwner kWhole{.family = LockFamily::whole, .number = 3};

HeldLock lock(LockOwner owner, LockMode mode, uint64_t begin, uint64_t end) {
  return {.owner = owner, .mode = mode, .range = {.begin = begin, .end = end}};
}

class RangeLocksTest : public testing::Test {
 protected:
  void TearDown() override { locks_.check_invariants(); }
  void set(LockOwner owner, LockMode mode, uint64_t begin, uint64_t end) {
    locks_.set(lock(owner, mode, begin, end));
  }
  RangeLocks locks_;
};

TEST_F(RangeLocksTest, RangesThatTouchAreOne) {
  set(kOne, LockMode::shared, 0, 10);
  set(kOne, LockMode::shared, 20, 30);
  set(kOne, LockMode::shared, 10, 20);
  EXPECT_EQ(locks_.all(), std::vector{lock(kOne, LockMode::shared, 0, 30)});
}

TEST_F(RangeLocksTest, UnlockingTheMiddleLeavesTwo) {
  set(kOne, LockMode::exclusive, 0, LockRange::kEnd);
  set(kOne, LockMode::none, 10, 20);
  EXPECT_EQ(locks_.all(), (std::vector{lock(kOne, LockMode::exclusive, 0, 10),
                                       lock(kOne, LockMode::exclusive, 20, LockRange::kEnd)}));
}

TEST_F(RangeLocksTest, AnotherModeInTheMiddleLeavesThree) {
  set(kOne, LockMode::exclusive, 0, 30);
  set(kOne, LockMode::shared, 10, 20);
  EXPECT_EQ(locks_.all(),
            (std::vector{lock(kOne, LockMode::exclusive, 0, 10), lock(kOne, LockMode::shared, 10, 20),
                         lock(kOne, LockMode::exclusive, 20, 30)}));
}

TEST_F(RangeLocksTest, OwnersOfOneFamilyConflictUnlessBothShare) {
  set(kOne, LockMode::shared, 5, 10);
  EXPECT_FALSE(locks_.conflict(lock(kOther, LockMode::shared, 0, 20)));
  EXPECT_EQ(locks_.conflict(lock(kOther, LockMode::exclusive, 9, 20)), lock(kOne, LockMode::shared, 5, 10));
  EXPECT_FALSE(locks_.conflict(lock(kOther, LockMode::exclusive, 10, 20))) << "the end is not of it";
  EXPECT_FALSE(locks_.conflict(lock(kOne, LockMode::exclusive, 0, 20))) << "one's own";
  EXPECT_FALSE(locks_.conflict(lock(kWhole, LockMode::exclusive, 0, 20))) << "another family";
}

TEST_F(RangeLocksTest, PartsCoverTheRange) {
  set(kOne, LockMode::exclusive, 10, 20);
  set(kOther, LockMode::exclusive, 20, 30);
  EXPECT_EQ(locks_.parts(kOne, {.begin = 15, .end = 40}),
            (std::vector{lock(kOne, LockMode::exclusive, 15, 20), lock(kOne, LockMode::none, 20, 40)}));
  EXPECT_EQ(locks_.parts(kWhole, {}), std::vector{lock(kWhole, LockMode::none, 0, LockRange::kEnd)});
}

TEST_F(RangeLocksTest, ReleaseTakesAllOfAnOwner) {
  set(kOne, LockMode::shared, 0, 1);
  set(kOne, LockMode::exclusive, 5, 6);
  set(kOther, LockMode::shared, 0, 1);
  locks_.release(kOne);
  EXPECT_FALSE(locks_.holds_any(kOne));
  EXPECT_TRUE(locks_.holds_any(kOther));
}

/// What each owner holds of each byte.
class Reference {
 public:
  static constexpr uint64_t kBytes = 24;
  static constexpr uint64_t kOwners = 4;

  void set(const HeldLock& changed) {
    for (uint64_t i = changed.range.begin; i < changed.range.end; ++i)
      modes_[index(changed)][i] = changed.mode;
  }
  [[nodiscard]] bool conflicts(const HeldLock& wanted) const {
    for (uint64_t owner = 0; owner < kOwners; ++owner) {
      if (owner == index(wanted) || owner % 2 != index(wanted) % 2) continue;
      for (uint64_t i = wanted.range.begin; i < wanted.range.end; ++i) {
        const LockMode held = modes_[owner][i];
        if (held == LockMode::exclusive || (held == LockMode::shared && wanted.mode == LockMode::exclusive))
          return true;
      }
    }
    return false;
  }
  [[nodiscard]] LockMode at(uint64_t owner, uint64_t byte) const { return modes_[owner][byte]; }
  /// Of odd and even numbers each is a family.
  static LockOwner owner(uint64_t number) {
    return {.family = number % 2 == 0 ? LockFamily::record : LockFamily::whole, .number = number};
  }

 private:
  static size_t index(const HeldLock& of) { return of.owner.number; }
  std::array<std::array<LockMode, kBytes>, kOwners> modes_{};
};

TEST(RangeLocksModel, AgreesWithATableOfBytes) {
  const uint64_t seed = test::seed();
  std::mt19937_64 rng(seed);
  RangeLocks locks;
  Reference reference;
  const int steps = test::scaled(20'000);
  for (int step = 0; step < steps; ++step) {
    const uint64_t begin = rng() % Reference::kBytes;
    const HeldLock wanted = lock(Reference::owner(rng() % Reference::kOwners), LockMode(rng() % 3), begin,
                                 begin + 1 + rng() % (Reference::kBytes - begin));
    const bool conflicts = wanted.mode != LockMode::none && reference.conflicts(wanted);
    ASSERT_EQ(wanted.mode != LockMode::none && locks.conflict(wanted).has_value(), conflicts)
        << "step " << step << ", seed " << seed;
    if (conflicts) continue;
    locks.set(wanted);
    reference.set(wanted);
    locks.check_invariants();
    for (uint64_t owner = 0; owner < Reference::kOwners; ++owner) {
      for (const HeldLock& part :
           locks.parts(Reference::owner(owner), {.begin = 0, .end = Reference::kBytes})) {
        for (uint64_t i = part.range.begin; i < part.range.end; ++i)
          ASSERT_EQ(part.mode, reference.at(owner, i)) << "step " << step << ", seed " << seed;
      }
    }
  }
}

}  // namespace
}  // namespace cachefs
