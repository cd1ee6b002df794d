// Who may change a file beside whom, and who waits for whom.
#include "core/change_queue.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <deque>
#include <random>
#include <thread>
#include <vector>

#include "support/scale.h"

namespace cachefs {
namespace {

using Kind = ChangeTurn::Kind;
using std::chrono::milliseconds;

/// One thread plays all parts: a turn is inside or waits.
class ChangeQueueTest : public ::testing::Test {
 protected:
  ~ChangeQueueTest() override { EXPECT_TRUE(queue_.empty()); }

  bool enter(ChangeTurn& turn) { return queue_.enter(turn, clock_); }
  bool enter_open(ChangeTurn& turn) {
    const bool entered = enter(turn);
    if (entered) queue_.open_group(turn, clock_);
    return entered;
  }
  void leave(ChangeTurn& turn) { queue_.leave(turn, clock_); }
  /// Of one that had to wait.
  bool is_inside(ChangeTurn& turn) {
    MutexLock lock(mutex_);
    return queue_.wait(turn, mutex_, clock_, ChangeQueue::Time::min());
  }

  ManualClock clock_;
  Mutex mutex_;
  ChangeQueue queue_;
};

TEST_F(ChangeQueueTest, WritesOfOtherBytesAreInsideTogether) {
  ChangeTurn one(Kind::write, 0, 10), other(Kind::write, 10, 20);
  ASSERT_TRUE(enter_open(one));
  EXPECT_TRUE(enter(other));
  EXPECT_FALSE(one.joined());
  EXPECT_TRUE(other.joined());
  leave(one);
  leave(other);
}

TEST_F(ChangeQueueTest, TheFirstOfAGroupIsAloneUntilItOpensIt) {
  ChangeTurn one(Kind::write, 0, 10), other(Kind::write, 10, 20);
  ASSERT_TRUE(enter(one));
  EXPECT_FALSE(enter(other));
  queue_.open_group(one, clock_);
  EXPECT_TRUE(is_inside(other));
  EXPECT_TRUE(other.joined());
  leave(one);
  leave(other);
}

TEST_F(ChangeQueueTest, WritesOfTheSameBytesComeOneAfterAnother) {
  ChangeTurn one(Kind::write, 0, 10), same(Kind::write, 9, 20);
  ASSERT_TRUE(enter_open(one));
  EXPECT_FALSE(enter(same));
  leave(one);
  EXPECT_TRUE(is_inside(same));
  EXPECT_FALSE(same.joined()) << "nobody is left whom it could join";
  leave(same);
}

TEST_F(ChangeQueueTest, AChangeOfTheWholeFileIsAlone) {
  ChangeTurn write(Kind::write, 0, 10), whole(Kind::change), reader(Kind::no_change);
  ASSERT_TRUE(enter_open(write));
  EXPECT_FALSE(enter(whole));
  EXPECT_FALSE(enter(reader));
  leave(write);
  ASSERT_TRUE(is_inside(whole));
  leave(whole);
  EXPECT_TRUE(is_inside(reader));
  leave(reader);
}

TEST_F(ChangeQueueTest, ReadersAreTogetherAndKeepWritersOut) {
  ChangeTurn one(Kind::no_change), other(Kind::no_change), write(Kind::write, 0, 1);
  ASSERT_TRUE(enter(one));
  EXPECT_TRUE(enter(other));
  EXPECT_FALSE(enter(write));
  leave(one);
  leave(other);
  EXPECT_TRUE(is_inside(write));
  leave(write);
}

TEST_F(ChangeQueueTest, NobodyOvertakesOneWhomHeIsInConflictWith) {
  ChangeTurn one(Kind::write, 0, 10), whole(Kind::change), later(Kind::write, 50, 60);
  ASSERT_TRUE(enter_open(one));
  ASSERT_FALSE(enter(whole));
  EXPECT_FALSE(enter(later)) << "a stream of writes would keep the other out";
  leave(one);
  ASSERT_TRUE(is_inside(whole));
  leave(whole);
  EXPECT_TRUE(is_inside(later));
  leave(later);
}

TEST_F(ChangeQueueTest, OneWhoWaitsForOtherBytesIsNotWaitedFor) {
  ChangeTurn one(Kind::write, 0, 10), same(Kind::write, 0, 10), apart(Kind::write, 50, 60);
  ASSERT_TRUE(enter_open(one));
  ASSERT_FALSE(enter(same));
  EXPECT_TRUE(enter(apart));
  leave(one);
  EXPECT_TRUE(is_inside(same));
  leave(apart);
  leave(same);
}

TEST_F(ChangeQueueTest, WhoGivesUpStandsInNobodysWay) {
  ChangeTurn one(Kind::write, 0, 10), whole(Kind::change), later(Kind::write, 50, 60);
  ASSERT_TRUE(enter_open(one));
  ASSERT_FALSE(enter(whole));
  ASSERT_FALSE(enter(later));
  EXPECT_FALSE(is_inside(whole));  // that was its deadline
  EXPECT_TRUE(is_inside(later));
  leave(one);
  leave(later);
}

TEST_F(ChangeQueueTest, AGroupTakesSoManyWritesAndThenEnds) {
  std::deque<ChangeTurn> turns;
  for (uint64_t i = 0; i < ChangeQueue::kGroupWrites; ++i) {
    turns.emplace_back(Kind::write, i, i + 1);
    ASSERT_TRUE(enter(turns.back())) << i;
    if (i == 0) queue_.open_group(turns.front(), clock_);
  }
  ChangeTurn next(Kind::write, 1000, 1001), another(Kind::write, 2000, 2001);
  EXPECT_FALSE(enter(next));
  EXPECT_FALSE(enter(another));
  leave(turns.front());
  turns.pop_front();
  ChangeTurn third(Kind::write, 3000, 3001);
  EXPECT_FALSE(enter(third)) << "one has left, but the group has had its share";
  for (ChangeTurn& turn : turns) leave(turn);
  ASSERT_TRUE(is_inside(next));
  EXPECT_FALSE(next.joined()) << "the first of another group";
  queue_.open_group(next, clock_);
  EXPECT_TRUE(is_inside(another));
  EXPECT_TRUE(is_inside(third));
  for (ChangeTurn* turn : {&next, &another, &third}) leave(*turn);
}

TEST_F(ChangeQueueTest, AGroupEndsInTime) {
  ChangeTurn one(Kind::write, 0, 1), two(Kind::write, 1, 2), three(Kind::write, 2, 3),
      four(Kind::write, 3, 4);
  ASSERT_TRUE(enter_open(one));
  clock_.advance(ChangeQueue::kGroupTime);
  ASSERT_TRUE(enter(two)) << "the first may be slow";
  clock_.advance(ChangeQueue::kGroupTime - milliseconds(1));
  ASSERT_TRUE(enter(three));
  clock_.advance(milliseconds(1));
  EXPECT_FALSE(enter(four));
  leave(one);
  leave(two);
  leave(three);
  EXPECT_TRUE(is_inside(four));
  EXPECT_FALSE(four.joined());
  leave(four);
}

TEST_F(ChangeQueueTest, TellsWhichBytesChange) {
  ChangeTurn write(Kind::write, 10, 20), waiting(Kind::write, 15, 30);
  ASSERT_TRUE(enter_open(write));
  ASSERT_FALSE(enter(waiting));
  EXPECT_TRUE(queue_.changes(19, 25));
  EXPECT_FALSE(queue_.changes(20, 30));
  leave(write);
  ASSERT_TRUE(is_inside(waiting));
  leave(waiting);
  ChangeTurn reader(Kind::no_change);
  ASSERT_TRUE(enter(reader));
  EXPECT_FALSE(queue_.changes(0, 100));
  leave(reader);
}

/// What each byte's users, the readers and the whole see of each other.
struct Occupied {
  static constexpr size_t kBytes = 16;
  std::array<std::atomic<int>, kBytes> writers{};
  std::atomic<int> writes{0}, readers{0}, changes{0};

  bool use(Kind kind, size_t begin, size_t end) {
    bool alone = true;
    if (kind == Kind::no_change) {
      ++readers;
      alone = writes == 0 && changes == 0;
      --readers;
    } else if (kind == Kind::change) {
      alone = ++changes == 1 && writes == 0 && readers == 0;
      --changes;
    } else {
      ++writes;
      for (size_t i = begin; i < end; ++i) alone = ++writers[i] == 1 && alone;
      alone = alone && readers == 0 && changes == 0;
      for (size_t i = begin; i < end; ++i) --writers[i];
      --writes;
    }
    return alone;
  }
};

TEST(ChangeQueueThreads, NobodyIsInsideWithOneHeIsInConflictWith) {
  const uint64_t seed = test::seed();
  ManualClock clock;
  Mutex mutex;
  ChangeQueue queue;
  Occupied occupied;
  std::atomic<int> wrong{0}, late{0};
  std::vector<std::jthread> threads;
  for (int t = 0; t < 6; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 rng(seed * 100 + static_cast<uint64_t>(t));
      for (int i = 0; i < test::scaled(50'000); ++i) {
        const auto kind = rng() % 8 == 0 ? Kind::change : rng() % 4 == 0 ? Kind::no_change : Kind::write;
        const size_t begin = rng() % Occupied::kBytes;
        const size_t end = begin + 1 + rng() % (Occupied::kBytes - begin);
        ChangeTurn turn(kind, begin, end);
        {
          MutexLock lock(mutex);
          const auto deadline = rng() % 16 == 0 ? std::chrono::steady_clock::now() : ChangeQueue::Time::max();
          if (!queue.enter(turn, clock) && !queue.wait(turn, mutex, clock, deadline)) {
            ++late;
            continue;
          }
        }
        if (kind == Kind::write && !turn.joined()) {
          MutexLock lock(mutex);
          queue.open_group(turn, clock);
        }
        if (!occupied.use(kind, begin, end)) ++wrong;
        MutexLock lock(mutex);
        queue.leave(turn, clock);
      }
    });
  }
  threads.clear();
  EXPECT_EQ(wrong, 0);
  EXPECT_TRUE(queue.empty());
}

}  // namespace
}  // namespace cachefs
