// Threads for calls that may wait on the source, so that whoever hands them over never does.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "base/mutex.h"

namespace cachefs {

/// Kinds of work that must not stop each other.
enum class OperationClass : uint8_t { metadata, read, write, name_change };
inline constexpr size_t kOperationClassCount = 4;

/// Runs tasks on at most `max_threads` threads, made when needed and kept. Each class has a share of them (an
/// eighth, at least one) that no other class ever uses; the rest goes to whoever comes first. So tasks of one
/// class that all hang leave the others their share. Tasks of one class start in the order of their
/// submission.
///
/// Invariant E1: the sum over all classes of max(running, share) is at most max_threads.
///
/// Thread-safe. Tasks must not throw; they may submit further tasks.
class Executor {
 public:
  using Task = std::move_only_function<void()>;

  /// At least one thread for each class, however small `max_threads` is.
  explicit Executor(uint32_t max_threads);
  /// Runs what was submitted to its end first, as drain() does.
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  /// Never blocks, never drops. (Only if the system refuses the very first thread, the task runs in the
  /// caller.)
  void submit(OperationClass operation_class, Task task) EXCLUDES(mutex_);

  /// Returns once nothing is queued and nothing runs.
  void drain() EXCLUDES(mutex_);

  struct Load {
    uint32_t queued = 0;
    uint32_t running = 0;
  };
  [[nodiscard]] Load load(OperationClass operation_class) const EXCLUDES(mutex_);
  [[nodiscard]] uint32_t max_threads() const { return max_threads_; }
  [[nodiscard]] uint32_t share() const { return share_; }

 private:
  struct ClassState {
    std::deque<Task> queue;
    uint32_t running = 0;
  };

  void work() EXCLUDES(mutex_);
  bool start_thread() REQUIRES(mutex_);
  ClassState* next_runnable() REQUIRES(mutex_);
  [[nodiscard]] bool may_run(const ClassState& state) const REQUIRES(mutex_);
  [[nodiscard]] uint32_t reserved() const REQUIRES(mutex_);
  [[nodiscard]] bool idle() const REQUIRES(mutex_);

  const uint32_t max_threads_;
  const uint32_t share_;
  mutable Mutex mutex_;
  ConditionVariable work_waits_;
  ConditionVariable became_idle_;
  std::array<ClassState, kOperationClassCount> classes_ GUARDED_BY(mutex_);
  std::vector<std::thread> threads_ GUARDED_BY(mutex_);
  uint32_t queued_ GUARDED_BY(mutex_) = 0;
  uint32_t waiting_threads_ GUARDED_BY(mutex_) = 0;
  size_t next_class_ GUARDED_BY(mutex_) = 0;  ///< where the search for work begins, so that none is favoured
  bool stopping_ GUARDED_BY(mutex_) = false;
};

}  // namespace cachefs
