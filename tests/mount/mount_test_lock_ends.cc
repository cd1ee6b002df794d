// Requests for locks that a signal or a time limit meets while the source is asked.
#include <pthread.h>

#include <atomic>
#include <csignal>
#include <memory>
#include <thread>
#include <vector>

#include "cachefs/decorators.h"
#include "cachefs/guarded_fs.h"
#include "cachefs/lock_store.h"
#include "mount/lock_fixture.h"

namespace cachefs::test {
namespace {

const auto kCases = testing::Values(LockCase{"Cached", LockPlace::source, SourceKind::cached});

class LockSignals : public MountLocksTest {
 protected:
  void SetUp() override {
    MountLocksTest::SetUp();
    if (HasFatalFailure()) return;
    ASSERT_EQ(one_.lock(0, F_WRLCK, kWaitedFor), 0);
    ASSERT_EQ(waiter_.open(0, at("file")), 0);
    waiter_.begin_lock(0, F_WRLCK, kWaitedFor);
    EXPECT_TRUE(eventually([&] { return waiter_.sleeps(); }));
  }
  void TearDown() override {
    EXPECT_TRUE(waiter_.kill());
    MountLocksTest::TearDown();
  }
  /// Sends it a signal, and another one to who waits: once that has ended a wait, the first has been looked
  /// at.
  void signal(const LockProcess& process) {
    process.signal(SIGUSR1);
    EXPECT_TRUE(eventually([&] {
      if (!waiter_.has_ended()) waiter_.signal(SIGUSR1);
      return waiter_.has_ended();
    }));
    EXPECT_EQ(waiter_.end(), EINTR);
  }

  static constexpr LockedBytes kWaitedFor{.start = 1000, .length = 1};
  static constexpr LockedBytes kFirst{.start = 0, .length = 10};
  LockProcess waiter_;  ///< for bytes that nobody else is about
};
INSTANTIATE_TEST_SUITE_P(, LockSignals, kCases, case_name);

TEST_P(LockSignals, EndNoUnlock) {
  ASSERT_EQ(one_.lock(0, F_WRLCK, kFirst), 0);
  hang(Operation::release_lock);
  one_.begin_lock(0, F_UNLCK, kFirst);
  ASSERT_TRUE(hangs());
  signal(one_);
  EXPECT_FALSE(one_.has_ended());
  fault_.recover();
  EXPECT_EQ(one_.end(), 0);
  EXPECT_EQ(other_.lock(0, F_WRLCK, kFirst), 0);
}

TEST_P(LockSignals, EndNoUnlockOfAWholeFile) {
  ASSERT_EQ(other_.flock(0, LOCK_EX), 0);
  hang(Operation::release_lock);
  other_.begin_flock(0, LOCK_UN);
  ASSERT_TRUE(hangs());
  signal(other_);
  EXPECT_FALSE(other_.has_ended());
  fault_.recover();
  EXPECT_EQ(other_.end(), 0);
  EXPECT_EQ(one_.flock(0, LOCK_EX), 0);
}

TEST_P(LockSignals, EndNoRequestThatTheSourceIsAskedFor) {
  hang(Operation::set_lock);
  other_.begin_lock(0, F_WRLCK, kFirst);
  ASSERT_TRUE(hangs());
  signal(other_);
  EXPECT_FALSE(other_.has_ended());
  fault_.recover();
  EXPECT_EQ(other_.end(), 0);
  EXPECT_EQ(one_.lock(0, F_WRLCK, kFirst), EAGAIN);
}

TEST_P(LockSignals, ThatCameWhileTheSourceWasAskedEndTheWaitAfterwards) {
  LockProcess beside;
  ASSERT_EQ(beside.open(0, on_source()), 0);
  ASSERT_EQ(beside.lock(0, F_WRLCK, kFirst), 0);
  hang(Operation::set_lock);
  other_.begin_lock(0, F_WRLCK, kFirst);
  ASSERT_TRUE(hangs());
  signal(other_);
  fault_.recover();
  EXPECT_EQ(other_.end(), EINTR);
}

/// The signals of this test end nothing, and interrupt what waits.
class Interrupting {
 public:
  Interrupting() {
    struct sigaction nothing{};
    nothing.sa_handler = [](int) {};
    sigaction(SIGUSR2, &nothing, &before_);
    set_blocked(true);
    thread_ = std::thread([this, target = pthread_self()] {
      while (!ended_) {
        pthread_kill(target, SIGUSR2);
        std::this_thread::yield();
      }
    });
  }
  ~Interrupting() {
    ended_ = true;
    thread_.join();
    set_blocked(false);  // the last one comes
    sigaction(SIGUSR2, &before_, nullptr);
  }
  Interrupting(const Interrupting&) = delete;
  Interrupting& operator=(const Interrupting&) = delete;

  static void set_blocked(bool blocked) {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGUSR2);
    pthread_sigmask(blocked ? SIG_BLOCK : SIG_UNBLOCK, &signals, nullptr);
  }

 private:
  std::atomic<bool> ended_{false};
  std::thread thread_;
  struct sigaction before_{};
};

using LockEnds = MountLocksTest;
INSTANTIATE_TEST_SUITE_P(, LockEnds, kCases, case_name);

TEST_P(LockEnds, AnInterruptedUnlockDoesNotUndoALaterLock) {
  const int fd = open(at("file").c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_GE(fd, 0);
  const auto set = [fd](int command, short type, off_t start) {
    struct flock lock{.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = 1, .l_pid = 0};
    return fcntl(fd, command, &lock) == 0 ? 0 : errno;
  };
  std::atomic<bool> ended{false};
  std::vector<std::jthread> beside;  // of the same owner, whose requests go one after the other
  for (off_t i = 0; i < 4; ++i) {
    beside.emplace_back([&, i] {
      while (!ended) {
        EXPECT_EQ(set(F_SETLK, F_WRLCK, 100 + i), 0);
        EXPECT_EQ(set(F_SETLK, F_UNLCK, 100 + i), 0);
      }
    });
  }
  {
    const Interrupting signals;
    for (int i = 0; i < 300 && !HasFailure(); ++i) {
      EXPECT_EQ(set(F_SETLK, F_WRLCK, 0), 0);
      Interrupting::set_blocked(false);
      EXPECT_EQ(set(F_SETLKW, F_UNLCK, 0), 0);
      Interrupting::set_blocked(true);
      EXPECT_EQ(set(F_SETLK, F_WRLCK, 0), 0);
      EXPECT_EQ(other_.lock(0, F_WRLCK, {.start = 0, .length = 1}), EAGAIN) << "round " << i;
    }
  }
  ended = true;
  beside.clear();
  close(fd);
}

TEST_P(LockEnds, ADowngradeNeedsNoCheckOfTheFile) {
  ASSERT_EQ(one_.lock(0, F_WRLCK), 0);
  ASSERT_EQ(one_.flock(0, LOCK_EX), 0);
  const uint64_t questions = counter_.count(Operation::attributes);
  EXPECT_EQ(one_.lock(0, F_RDLCK), 0);
  EXPECT_EQ(one_.flock(0, LOCK_SH), 0);
  EXPECT_EQ(counter_.count(Operation::attributes), questions);
  EXPECT_EQ(other_.lock(0, F_RDLCK), 0);
  EXPECT_EQ(other_.flock(0, LOCK_SH), 0);
}

TEST_P(LockEnds, ADowngradeLetsThoseInWhoWait) {
  ASSERT_EQ(one_.lock(0, F_WRLCK), 0);
  other_.begin_lock(0, F_RDLCK);
  EXPECT_TRUE(eventually([&] { return other_.sleeps(); }));
  EXPECT_EQ(one_.lock(0, F_RDLCK), 0);
  EXPECT_EQ(other_.end(), 0);
}

/// The source has time limits, and hangs below them.
class GuardedLockEnds : public MountLocksTest {
 protected:
  FileSystem& decorate(FileSystem& source) override {
    const std::chrono::milliseconds limit(200);
    below_ = make_hooked_fs(source, deep_);
    guarded_ = GuardedFs::create(std::shared_ptr<FileSystem>(std::shared_ptr<void>(), below_.get()),
                                 {.limits = {limit, limit, limit, limit, limit}});
    return *guarded_;
  }
  void TearDown() override {
    recover();
    MountLocksTest::TearDown();
    EXPECT_TRUE(eventually([&] { return guarded_->health().hanging == 0; }));
  }
  void hang_below(Operation which) {
    deep_.hang_if([which](Operation operation) { return operation == which; });
  }
  void recover() {
    deep_.recover();
    EXPECT_TRUE(eventually([&] { return guarded_->health().hanging == 0; }));
  }

  FaultHook deep_;
  std::unique_ptr<FileSystem> below_;
  std::unique_ptr<GuardedFs> guarded_;
};
INSTANTIATE_TEST_SUITE_P(, GuardedLockEnds, kCases, case_name);

TEST_P(GuardedLockEnds, ADowngradeThatTimesOutHappensLater) {
  ASSERT_EQ(one_.lock(0, F_WRLCK), 0);
  hang_below(Operation::set_lock);
  EXPECT_EQ(one_.lock(0, F_RDLCK), 0);
  recover();
  EXPECT_TRUE(eventually([&] { return other_.lock(0, F_RDLCK) == 0; }));
  EXPECT_EQ(other_.lock(0, F_WRLCK), EAGAIN);
}

TEST_P(GuardedLockEnds, AChangeThatTimesOutLeavesTheOldLock) {
  ASSERT_EQ(one_.lock(0, F_RDLCK, {.start = 0, .length = 5}), 0);
  hang_below(Operation::set_lock);
  EXPECT_EQ(one_.lock(0, F_WRLCK, {.start = 3, .length = 5}), ETIMEDOUT);
  recover();
  EXPECT_TRUE(eventually([&] { return other_.lock(0, F_WRLCK, {.start = 5, .length = 5}) == 0; }));
  EXPECT_TRUE(eventually([&] { return other_.lock(0, F_RDLCK, {.start = 0, .length = 5}) == 0; }));
  EXPECT_EQ(other_.lock(0, F_WRLCK, {.start = 0, .length = 5}), EAGAIN);
}

TEST_P(GuardedLockEnds, ARequestForLessAndMoreThatTimesOutLeavesNoMoreThanItAskedFor) {
  ASSERT_EQ(one_.lock(0, F_WRLCK, {.start = 0, .length = 5}), 0);
  hang_below(Operation::set_lock);
  EXPECT_EQ(one_.lock(0, F_RDLCK, {.start = 0, .length = 10}), ETIMEDOUT);
  recover();
  EXPECT_TRUE(eventually([&] { return other_.lock(0, F_WRLCK, {.start = 5, .length = 5}) == 0; }));
  EXPECT_TRUE(eventually([&] { return other_.lock(0, F_RDLCK, {.start = 0, .length = 5}) == 0; }));
  EXPECT_EQ(other_.lock(0, F_WRLCK, {.start = 0, .length = 5}), EAGAIN);
}

}  // namespace
}  // namespace cachefs::test
