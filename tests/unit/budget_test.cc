// Budget, Reservation and the striped counters: exact, whatever the number of threads.
#include "base/budget.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "base/striped_counter.h"

namespace cachefs {
namespace {

TEST(Budget, ReservesUpToTheLimitAndNoByteMore) {
  Budget budget(100);
  EXPECT_TRUE(budget.try_reserve(60));
  EXPECT_FALSE(budget.try_reserve(41));
  EXPECT_TRUE(budget.try_reserve(40));
  EXPECT_EQ(budget.used(), 100U);
  budget.release(100);
  EXPECT_EQ(budget.used(), 0U);
}

TEST(Budget, AHugeRequestDoesNotWrapAround) {
  Budget budget(100);
  ASSERT_TRUE(budget.try_reserve(10));
  EXPECT_FALSE(budget.try_reserve(UINT64_MAX));
  EXPECT_FALSE(budget.try_reserve(UINT64_MAX - 9));
  EXPECT_EQ(budget.used(), 10U);
}

TEST(Budget, APartIsBoundByTheWhole) {
  Budget whole(100);
  Budget part(80, &whole);
  ASSERT_TRUE(whole.try_reserve(50));
  EXPECT_FALSE(part.try_reserve(51));
  EXPECT_EQ(part.used(), 0U) << "what the whole refused is not kept";
  EXPECT_TRUE(part.try_reserve(50));
  EXPECT_EQ(whole.used(), 100U);
  part.release(50);
  EXPECT_EQ(whole.used(), 50U);
}

TEST(Budget, IsNeverOverItsLimitUnderManyThreads) {
  Budget whole(1000);
  Budget part(700, &whole);
  std::atomic<bool> over{false};
  {
    std::vector<std::jthread> threads;
    for (uint64_t i = 0; i < 8; ++i) {
      threads.emplace_back([&, i] {
        Budget& mine = i % 2 == 0 ? whole : part;
        for (int step = 0; step < 20'000; ++step) {
          if (!mine.try_reserve(i * 50 + 1)) continue;
          if (whole.used() > whole.limit() || part.used() > part.limit()) over = true;
          mine.release(i * 50 + 1);
        }
      });
    }
  }
  EXPECT_FALSE(over);
  EXPECT_EQ(whole.used(), 0U);
  EXPECT_EQ(part.used(), 0U);
}

TEST(BudgetDeathTest, ReleasingMoreThanWasReservedAborts) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Budget budget(100);
  ASSERT_TRUE(budget.try_reserve(1));
  EXPECT_DEATH(budget.release(2), "more released than reserved");
}

TEST(Reservation, GivesBackAtTheEndOfItsScope) {
  Budget budget(100);
  {
    const Reservation reservation = Reservation::of(budget, 40);
    EXPECT_TRUE(reservation);
    EXPECT_EQ(budget.used(), 40U);
  }
  EXPECT_EQ(budget.used(), 0U);
}

TEST(Reservation, IsEmptyWithoutRoom) {
  Budget budget(100);
  const Reservation reservation = Reservation::of(budget, 101);
  EXPECT_FALSE(reservation);
  EXPECT_EQ(budget.used(), 0U);
}

TEST(Reservation, MovesItsBytesOnce) {
  Budget budget(100);
  Reservation first = Reservation::of(budget, 40);
  Reservation second = Reservation::of(budget, 30);
  second = std::move(first);
  EXPECT_EQ(budget.used(), 40U) << "what the target held was given back";
  EXPECT_EQ(second.bytes(), 40U);
  second.reset();
  EXPECT_EQ(budget.used(), 0U);
}

enum class Counted : uint8_t { apples, pears };

TEST(StripedCounters, LoseNothingUnderManyThreads) {
  StripedCounters<Counted, 2> counters;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 8; ++i) {
      threads.emplace_back([&] {
        for (int step = 0; step < 50'000; ++step) {
          counters.add(Counted::apples);
          counters.add(Counted::pears, 3);
        }
      });
    }
  }
  EXPECT_EQ(counters.sum(Counted::apples), 400'000U);
  EXPECT_EQ(counters.sum(Counted::pears), 1'200'000U);
}

TEST(StripedCounters, ResetSetsTheZeroPoint) {
  StripedCounters<Counted, 2> counters;
  counters.add(Counted::apples, 7);
  counters.reset();
  EXPECT_EQ(counters.sum(Counted::apples), 0U);
  counters.add(Counted::apples, 2);
  EXPECT_EQ(counters.sum(Counted::apples), 2U);
}

}  // namespace
}  // namespace cachefs
