// What requests to a source hold, and for how long.
#include "vfs/guard.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "cachefs/mem_fs.h"

namespace cachefs {
namespace {

using namespace std::chrono_literals;

bool eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + 20s;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}

/// A guard with one place for writes, which are all that is limited; and what hangs in it.
class GuardOfOne : public testing::Test {
 protected:
  GuardOfOne() {
    TimeLimits limits = TimeLimits::none();
    limits.write = 50ms;
    guard_ = Guard::create(std::shared_ptr<FileSystem>(make_mem_fs({})),
                           {.limits = limits, .working = 4, .hanging = 0, .probe_interval = 1ms});
  }
  ~GuardOfOne() override {
    hangs_ = false;
    EXPECT_TRUE(eventually([&] { return guard_->health().hanging == 0; }));
    guard_->leave();
  }
  /// Errors of a write that hangs, holding `held`.
  std::error_code write(std::shared_ptr<int> held) {
    const Result<void> answer = guard_->call(Guard::Kind::write, {}, {}, [this, held = std::move(held)] {
      ++begun_;
      while (hangs_) std::this_thread::yield();
      return Result<void>();
    });
    return answer ? std::error_code() : answer.error().code();
  }

  std::shared_ptr<Guard> guard_;
  std::atomic<bool> hangs_{true};
  std::atomic<int> begun_{0};
};

TEST_F(GuardOfOne, ARequestThatNeverBeganLetsGoOfAllItHolds) {
  const auto held = std::make_shared<int>(0);
  std::vector<std::thread> hanging;  // in all places
  for (int i = 0; i < 4; ++i) hanging.emplace_back([&] { EXPECT_EQ(write(held), std::errc::timed_out); });
  for (std::thread& thread : hanging) thread.join();
  const int begun = begun_;
  EXPECT_GT(begun, 0);
  const long held_by_hanging = held.use_count();
  EXPECT_EQ(held_by_hanging, begun + 1) << "those that never began hold nothing";
  for (int i = 0; i < 10; ++i) EXPECT_EQ(write(held), std::errc::timed_out);
  EXPECT_EQ(held.use_count(), held_by_hanging);
  EXPECT_EQ(begun_, begun);
}

TEST_F(GuardOfOne, ARequestThatWasGivenUpLetsGoOnceItReturns) {
  const auto held = std::make_shared<int>(0);
  EXPECT_EQ(write(held), std::errc::timed_out);
  EXPECT_EQ(held.use_count(), 2);
  hangs_ = false;
  EXPECT_TRUE(eventually([&] { return held.use_count() == 1; }));
}

}  // namespace
}  // namespace cachefs
