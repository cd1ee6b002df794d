#include "base/executor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <latch>
#include <memory>
#include <semaphore>
#include <thread>
#include <vector>

namespace cachefs {
namespace {

using enum OperationClass;
using namespace std::chrono_literals;

TEST(Executor, RunsWhatIsSubmitted) {
  std::atomic<int> ran = 0;
  Executor executor(8);
  for (int i = 0; i < 1000; ++i) executor.submit(metadata, [&ran] { ++ran; });
  executor.drain();
  EXPECT_EQ(ran, 1000);
}

TEST(Executor, DestructionWaitsForAllTasks) {
  std::atomic<int> ran = 0;
  {
    Executor executor(4);
    for (int i = 0; i < 100; ++i) executor.submit(write, [&ran] { ++ran; });
  }
  EXPECT_EQ(ran, 100);
}

TEST(Executor, TasksMayHoldWhatCannotBeCopied) {
  Executor executor(4);
  std::atomic<int> value = 0;
  executor.submit(read, [&value, held = std::make_unique<int>(7)] { value = *held; });
  executor.drain();
  EXPECT_EQ(value, 7);
}

TEST(Executor, TasksMaySubmitTasks) {
  Executor executor(4);
  std::atomic<int> ran = 0;
  executor.submit(read, [&] { executor.submit(write, [&ran] { ++ran; }); });
  executor.drain();
  EXPECT_EQ(ran, 1);
}

TEST(Executor, OneClassThatHangsLeavesTheOthersTheirShare) {
  std::counting_semaphore<> released(0);
  std::latch hanging(10);
  std::latch both_run[3]{std::latch(2), std::latch(2), std::latch(2)};
  Executor executor(16);  // shares of two; destroyed first, so that no task outlives what it waits for
  for (int i = 0; i < 10; ++i) {
    executor.submit(read, [&] {
      hanging.count_down();
      released.acquire();
    });
  }
  for (int i = 0; i < 90; ++i) executor.submit(read, [&released] { released.acquire(); });
  hanging.wait();
  std::latch* both = both_run;
  for (const OperationClass other : {metadata, write, name_change}) {
    // Passes only if both threads of the share are there.
    for (int i = 0; i < 2; ++i) executor.submit(other, [both] { both->arrive_and_wait(); });
    both->wait();
    ++both;
  }
  EXPECT_EQ(executor.load(read).working, 10U);  // all but the others' shares
  released.release(100);
  executor.drain();
}

TEST(Executor, AnIdleMachineGivesOneClassAllButTheOthersShares) {
  std::latch all_run(10);
  Executor executor(16);
  for (int i = 0; i < 10; ++i) executor.submit(read, [&all_run] { all_run.arrive_and_wait(); });
  all_run.wait();
}

TEST(Executor, ABurstIsNotKeptWaitingByOneThatHangs) {
  std::binary_semaphore released(0);
  std::latch second_ran(1);
  Executor executor(8);
  executor.submit(metadata, [] {});
  executor.drain();  // one idle thread
  executor.submit(metadata, [&released] { released.acquire(); });
  executor.submit(write, [&second_ran] { second_ran.count_down(); });
  second_ran.wait();
  released.release();
}

TEST(Executor, TasksOfOneClassStartInOrder) {
  Executor executor(4);  // one thread for each class
  std::vector<int> order;
  for (int i = 0; i < 100; ++i) executor.submit(name_change, [&order, i] { order.push_back(i); });
  executor.drain();
  ASSERT_EQ(order.size(), 100U);
  EXPECT_TRUE(std::ranges::is_sorted(order));
}

TEST(Executor, LoadTellsWhatWaits) {
  Executor executor(4);
  std::counting_semaphore<> released(0);
  std::latch running(1);
  executor.submit(read, [&] {
    running.count_down();
    released.acquire();
  });
  running.wait();
  executor.submit(read, [&released] { released.acquire(); });
  EXPECT_EQ(executor.load(read).working, 1U);
  EXPECT_EQ(executor.load(read).queued, 1U);
  released.release(2);
  executor.drain();
  EXPECT_EQ(executor.load(read).working + executor.load(read).queued, 0U);
}

TEST(Executor, TasksThatHangForLongLeaveTheirPlacesToOthers) {
  constexpr int kHanging = 200;
  std::counting_semaphore<> released(0);
  std::latch hanging(kHanging);
  std::latch others_ran(50);
  Executor executor({.working = 8, .waiting = 256});
  for (int i = 0; i < kHanging; ++i) {
    executor.submit(read, [&] {
      hanging.count_down();
      released.acquire();
    });
  }
  for (int i = 0; i < 50; ++i) executor.submit(read, [&others_ran] { others_ran.count_down(); });
  hanging.wait();
  others_ran.wait();  // passes only if all those that hang have given up their places
  EXPECT_GE(executor.load(read).waiting, kHanging - 8U);
  EXPECT_LE(executor.threads(), kHanging + 8U);
  released.release(kHanging);
  executor.drain();
  EXPECT_EQ(executor.load(read).waiting + executor.load(read).working, 0U);
}

TEST(Executor, IdleThreadsOfOtherSharesDoNotHideThatAClassIsStuck) {
  std::counting_semaphore<> released(0);
  std::latch other_ran(1);
  Executor executor({.working = 16, .waiting = 64});  // shares of two: ten places for reads
  std::latch all_at_once(10);
  for (int i = 0; i < 10; ++i) executor.submit(metadata, [&all_at_once] { all_at_once.arrive_and_wait(); });
  executor.drain();  // ten idle threads and more
  std::latch hanging(10);
  for (int i = 0; i < 10; ++i) {
    executor.submit(read, [&] {
      hanging.count_down();
      released.acquire();
    });
  }
  hanging.wait();
  for (int i = 0; i < 6; ++i) executor.submit(metadata, [] {});  // makes the other threads there are
  executor.submit(read, [&other_ran] { other_ran.count_down(); });
  other_ran.wait();
  released.release(10);
}

TEST(Executor, NoMoreTasksWaitThanAreAllowed) {
  std::counting_semaphore<> released(0);
  std::atomic<int> hanging = 0;
  std::latch other_ran(1);
  {
    Executor executor({.working = 8, .waiting = 3});
    for (int i = 0; i < 20; ++i) {
      executor.submit(read, [&] {
        ++hanging;
        released.acquire();
      });
    }
    executor.submit(write, [&other_ran] { other_ran.count_down(); });
    other_ran.wait();
    while (hanging < 5 + 3) std::this_thread::yield();  // all but the others' shares, and those that wait
    EXPECT_EQ(executor.load(read).waiting, 3U);
    EXPECT_EQ(executor.load(read).queued, 12U);
    EXPECT_LE(executor.threads(), 11U);
    released.release(20);
  }
  EXPECT_EQ(hanging, 20);
}

TEST(Executor, ASubjectThatHangsLeavesPlacesToOthers) {
  constexpr Executor::Subject kHangs = 1;
  constexpr Executor::Subject kWorks = 2;
  constexpr int kTasks = 200;  // more than there are places for
  std::counting_semaphore<> released(0);
  std::latch others_ran(50);
  std::atomic<int> ended = 0;
  Executor executor({.working = 16, .waiting = 64});
  const auto hang = [&] {
    released.acquire();
    ++ended;
  };
  for (int i = 0; i < kTasks; ++i) executor.submit(read, hang, kHangs);
  for (int i = 0; i < 50; ++i) executor.submit(read, [&others_ran] { others_ran.count_down(); }, kWorks);
  others_ran.wait();
  EXPECT_LE(executor.load(read).waiting + executor.load(read).working, 32U + 16U);
  released.release(kTasks);
  while (ended != kTasks) std::this_thread::yield();
  executor.drain();
  EXPECT_EQ(executor.load(read).queued, 0U);
}

TEST(Executor, WhatIsHeldBackGoesOnOneByOneThoughOthersHang) {
  constexpr Executor::Subject kSlow = 1;
  constexpr int kHanging = 60;  // places are and stay scarce
  constexpr int kTasks = 30;
  std::counting_semaphore<> hanging_released(0);
  std::counting_semaphore<> released(0);
  std::counting_semaphore<> ended(0);
  Executor executor({.working = 16, .waiting = 64});  // four of a subject
  for (int i = 0; i < kHanging; ++i) executor.submit(read, [&] { hanging_released.acquire(); });
  while (executor.load(read).waiting < kHanging - 16) std::this_thread::yield();
  for (int i = 0; i < kTasks; ++i) {
    executor.submit(
        write,
        [&] {
          released.acquire();
          ended.release();
        },
        kSlow);
  }
  while (executor.load(write).working + executor.load(write).waiting < 4) std::this_thread::yield();
  EXPECT_EQ(executor.load(write).queued, kTasks - 4U);
  for (int i = 0; i < kTasks; ++i) {
    released.release();
    ended.acquire();
  }
  hanging_released.release(kHanging);
  executor.drain();
}

/// Each end brings the number of those that wait below the bound for a moment.
TEST(Executor, ASubjectOfWhichSomeEndLeavesPlacesToOthersAllTheSame) {
  constexpr int kTasks = 300;
  constexpr int kEnds = 30;
  std::counting_semaphore<> released(0);
  std::counting_semaphore<> ended(0);
  std::latch other_ran(1);
  Executor executor({.working = 16, .waiting = 64});
  for (int i = 0; i < kTasks; ++i) {
    executor.submit(
        read,
        [&] {
          released.acquire();
          ended.release();
        },
        1);
  }
  while (executor.load(read).waiting <= 32) std::this_thread::yield();
  for (int i = 0; i < kEnds; ++i) {
    released.release();
    ended.acquire();
    std::latch ran(1);  // who wants a place makes those that hang leave theirs
    executor.submit(write, [&ran] { ran.count_down(); }, 2);
    ran.wait();
  }
  executor.submit(read, [&] { other_ran.count_down(); }, 2);
  other_ran.wait();
  EXPECT_LE(executor.load(read).waiting, 32U + 16U);
  released.release(kTasks);
  executor.drain();
}

TEST(Executor, WhatIsHeldBackIsDroppedAtTheEnd) {
  const auto released = std::make_shared<std::counting_semaphore<>>(0);
  const auto held = std::make_shared<int>(0);
  {
    Executor executor({.working = 4, .waiting = 16});
    for (int i = 0; i < 30; ++i) executor.submit(read, [released, held] { released->acquire(); }, 1);
    while (executor.load(read).waiting < 9) std::this_thread::yield();
    executor.leave(0ms);
  }
  released->release(30);
  while (held.use_count() != 1) std::this_thread::yield();
}

TEST(Executor, LeavesBehindWhatNeverEnds) {
  const auto released = std::make_shared<std::binary_semaphore>(0);
  const auto ended = std::make_shared<std::latch>(1);
  std::atomic<bool> dropped_ran = false;
  {
    std::latch running(1);
    Executor executor(4);
    executor.submit(read, [&running, released, ended] {
      running.count_down();
      released->acquire();
      ended->count_down();
    });
    running.wait();
    executor.submit(read, [&dropped_ran] { dropped_ran = true; });
    executor.leave(0ms);
  }
  released->release();
  ended->wait();
  EXPECT_FALSE(dropped_ran);
}

}  // namespace
}  // namespace cachefs
