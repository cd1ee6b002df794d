// Locks of a source that hangs or goes away.
#include <gtest/gtest.h>

#include <functional>
#include <thread>

#include "cachefs/decorators.h"
#include "cachefs/guarded_fs.h"
#include "cachefs/lock_store.h"
#include "cachefs/mem_fs.h"
#include "cachefs/path_operations.h"
#include "cachefs/reachability.h"

namespace cachefs {
namespace {

using namespace std::chrono_literals;

constexpr LockOwner kOne{.family = LockFamily::record, .number = 1};
constexpr LockOwner kOther{.family = LockFamily::record, .number = 2};

struct Source {
  std::unique_ptr<FileSystem> memory = make_mem_fs({});
  FaultHook fault;
  std::unique_ptr<FileSystem> faulty = make_hooked_fs(*memory, fault);
};

bool eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + 10s;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}

class GuardedLocksTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(write_file(*source_->memory, "/file", "content"));
    GuardOptions options;
    options.limits = {50ms, 50ms, 50ms, 50ms, 50ms};
    options.probe_interval = 1ms;
    guard_ = GuardedFs::create(std::shared_ptr<FileSystem>(source_, source_->faulty.get()), options);
    node_ = resolve(*guard_, "/file").value().node;
  }
  void TearDown() override {
    source_->fault.recover();
    EXPECT_TRUE(eventually([&] { return guard_->health().hanging == 0; }));
    node_ = {};
  }
  void hang(Operation which) {
    source_->fault.hang_if([which](Operation operation) { return operation == which; });
  }
  int set(LockOwner owner, LockMode mode) {
    const auto result = guard_->locks()->set(*node_, {.owner = owner, .mode = mode}, caller_);
    return result ? 0 : result.error().to_errno();
  }
  /// At the source itself.
  bool is_held() {
    const auto held = source_->memory->locks()->test(
        *node_, {.owner = {.family = LockFamily::record, .number = 99}, .mode = LockMode::exclusive},
        caller_);
    return held && held->has_value();
  }

  const Caller caller_ = Caller::self();
  const std::shared_ptr<Source> source_ = std::make_shared<Source>();
  std::unique_ptr<GuardedFs> guard_;
  NodeRef node_;
};

TEST_F(GuardedLocksTest, LockThatHangsEndsInTime) {
  hang(Operation::set_lock);
  EXPECT_EQ(set(kOne, LockMode::exclusive), ETIMEDOUT);
}

TEST_F(GuardedLocksTest, AnOwnerDoesNotOvertakeHisOwnLateLock) {
  hang(Operation::set_lock);
  ASSERT_EQ(set(kOne, LockMode::exclusive), ETIMEDOUT);
  EXPECT_EQ(set(kOne, LockMode::none), 0) << "it will be given back";
  source_->fault.recover();
  ASSERT_TRUE(eventually([&] { return guard_->health().hanging == 0; }));
  EXPECT_TRUE(eventually([&] { return !is_held(); }));
  EXPECT_EQ(set(kOne, LockMode::exclusive), 0);
  EXPECT_TRUE(is_held()) << "what was given back later does not touch it";
}

TEST_F(GuardedLocksTest, ReleaseAfterALateLockComesAfterIt) {
  hang(Operation::set_lock);
  ASSERT_EQ(set(kOne, LockMode::exclusive), ETIMEDOUT);
  EXPECT_TRUE(guard_->locks()->release(*node_, kOne));
  source_->fault.recover();
  ASSERT_TRUE(eventually([&] { return guard_->health().hanging == 0; }));
  EXPECT_TRUE(eventually([&] { return !is_held(); }));
}

TEST_F(GuardedLocksTest, ReleaseThatHangsHappensLater) {
  ASSERT_EQ(set(kOne, LockMode::exclusive), 0);
  hang(Operation::release_lock);
  EXPECT_TRUE(guard_->locks()->release(*node_, kOne));
  EXPECT_TRUE(is_held());
  source_->fault.recover();
  EXPECT_TRUE(eventually([&] { return !is_held(); }));
}

TEST_F(GuardedLocksTest, ReleaseDuringAnOutageHappensLater) {
  ASSERT_EQ(set(kOne, LockMode::exclusive), 0);
  source_->fault.hang_if([](Operation) { return true; });
  ASSERT_FALSE(guard_->attributes(*node_, caller_));
  ASSERT_TRUE(eventually([&] { return guard_->reachability()->outage().has_value(); }));
  EXPECT_NE(set(kOther, LockMode::shared), 0) << "refused at once";
  EXPECT_TRUE(guard_->locks()->release(*node_, kOne));
  EXPECT_TRUE(is_held());
  source_->fault.recover();
  EXPECT_TRUE(eventually([&] { return !is_held(); }));
}

TEST_F(GuardedLocksTest, OthersAreNotHeldUpByAnOwnerThatHangs) {
  std::atomic<int> count{0};
  source_->fault.hang_if([&count](Operation operation) {  // the first alone
    return operation == Operation::set_lock && count++ == 0;
  });
  ASSERT_EQ(set(kOne, LockMode::exclusive), ETIMEDOUT);
  EXPECT_EQ(set(kOther, LockMode::shared), 0);
}

TEST_F(GuardedLocksTest, LocksThatHangDoNotTakeTheFilesDataAway) {
  hang(Operation::set_lock);
  for (uint64_t owner = 1; owner <= 8; ++owner)
    ASSERT_EQ(set({.family = LockFamily::record, .number = owner}, LockMode::exclusive), ETIMEDOUT);
  EXPECT_TRUE(guard_->attributes(*node_, caller_));
  EXPECT_TRUE(guard_->open(*node_, {}, caller_));
}

TEST_F(GuardedLocksTest, ADowngradeThatHangsHappensLater) {
  ASSERT_EQ(set(kOne, LockMode::exclusive), 0);
  hang(Operation::set_lock);
  EXPECT_TRUE(
      guard_->locks()->set(*node_, {.owner = kOne, .mode = LockMode::shared, .downgrade = true}, caller_));
  source_->fault.recover();
  EXPECT_TRUE(eventually([&] { return set(kOther, LockMode::shared) == 0; }));
}

}  // namespace
}  // namespace cachefs
