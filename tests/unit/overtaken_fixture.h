// Answers of the source that are held on their way, so that others overtake them.
#pragma once

#include <atomic>
#include <semaphore>
#include <thread>

#include "support/temporary_directory.h"
#include "unit/cache_stack.h"
#include "unit/thread_states.h"

namespace cachefs::test {

/// Holds an answer of the source on its way.
class HoldHook final : public OperationHook {
 public:
  Result<void> before(Operation, uint64_t) override { return {}; }
  void after(Operation operation, uint64_t, bool) override {
    if (static_cast<int>(operation) != armed_.load()) return;
    if (skip_.fetch_sub(1) > 0) return;
    armed_ = -1;
    held_.release();
    go_.acquire();
  }
  /// The next answer (after `skip` others) to such a request is held.
  void hold(Operation operation, int skip = 0) {
    skip_ = skip;
    armed_ = static_cast<int>(operation);
  }
  void wait_held() { ASSERT_TRUE(held_.try_acquire_for(std::chrono::seconds(20))); }
  void go() { go_.release(); }

 private:
  std::atomic<int> armed_{-1};
  std::atomic<int> skip_{0};
  std::counting_semaphore<> held_{0}, go_{0};
};

/// Stops one thread where it asks for the time.
class GateClock final : public Clock {
 public:
  MonotonicTime now() const override {
    if (std::this_thread::get_id() == gated.load() && countdown.fetch_sub(1) == 0) {
      gated = std::thread::id();
      held.release();
      gate.acquire();
    }
    return inner.now();
  }
  Timestamp wall_time() const override { return inner.wall_time(); }
  ManualClock inner;
  mutable std::atomic<std::thread::id> gated{};
  mutable std::atomic<int> countdown{0};
  mutable std::counting_semaphore<> held{0}, gate{0};
};

class Overtaken : public testing::Test {
 protected:
  void make(CacheOptions options, MemFsOptions memory_options = {}) {
    options.max_bytes = 8 * kMiB;
    options.block_size = 16 * kKiB;
    options.clock = &clock_;
    memory_options.clock = &clock_;
    memory_ = make_mem_fs(memory_options);
    faulty_ = make_hooked_fs(*memory_, faults_);
    held_ = make_hooked_fs(*faulty_, hook_);
    cache_ = CacheFs::create(*held_, options).value();
  }
  void TearDown() override {
    if (cache_) cache_->check_invariants();
  }
  void given(std::string_view path, std::string_view content) {
    ASSERT_TRUE(write_file(*memory_, path, content));
  }
  std::string content(std::string_view path) {
    const auto c = read_file(*cache_, path);
    return c ? *c : "error: " + c.error().message();
  }
  void settle_threads() {
    constexpr int kLooks = 200;
    for (int quiet = 0; quiet < kLooks;) {
      quiet = all_other_threads_sleep() ? quiet + 1 : 0;
      std::this_thread::yield();
    }
  }

  TemporaryDirectory directory_;
  GateClock clock_;
  HoldHook hook_;
  FaultHook faults_;
  std::unique_ptr<FileSystem> memory_, faulty_, held_;
  std::unique_ptr<CacheFs> cache_;
};

}  // namespace cachefs::test
