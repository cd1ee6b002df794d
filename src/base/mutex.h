// Locks that clang's thread-safety analysis understands.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <shared_mutex>

#if defined(__clang__)
#define CACHEFS_THREAD_ANNOTATION(x) __attribute__((x))
#else
#define CACHEFS_THREAD_ANNOTATION(x)
#endif

#define CAPABILITY(x) CACHEFS_THREAD_ANNOTATION(capability(x))
#define SCOPED_CAPABILITY CACHEFS_THREAD_ANNOTATION(scoped_lockable)
#define GUARDED_BY(x) CACHEFS_THREAD_ANNOTATION(guarded_by(x))
#define PT_GUARDED_BY(x) CACHEFS_THREAD_ANNOTATION(pt_guarded_by(x))
#define REQUIRES(...) CACHEFS_THREAD_ANNOTATION(requires_capability(__VA_ARGS__))
#define ACQUIRE(...) CACHEFS_THREAD_ANNOTATION(acquire_capability(__VA_ARGS__))
#define RELEASE(...) CACHEFS_THREAD_ANNOTATION(release_capability(__VA_ARGS__))
#define TRY_ACQUIRE(...) CACHEFS_THREAD_ANNOTATION(try_acquire_capability(__VA_ARGS__))
#define EXCLUDES(...) CACHEFS_THREAD_ANNOTATION(locks_excluded(__VA_ARGS__))
#define ACQUIRED_BEFORE(...) CACHEFS_THREAD_ANNOTATION(acquired_before(__VA_ARGS__))
#define NO_THREAD_SAFETY_ANALYSIS CACHEFS_THREAD_ANNOTATION(no_thread_safety_analysis)

namespace cachefs {

class CAPABILITY("mutex") Mutex {
 public:
  void lock() ACQUIRE() { mutex_.lock(); }
  void unlock() RELEASE() { mutex_.unlock(); }
  bool try_lock() TRY_ACQUIRE(true) { return mutex_.try_lock(); }

 private:
  std::mutex mutex_;
};

/// One that somebody may hold while he waits for a source: others wait for it only so long.
class CAPABILITY("mutex") TimedMutex {
 public:
  bool try_lock_until(std::chrono::steady_clock::time_point deadline) TRY_ACQUIRE(true) {
    if (deadline != std::chrono::steady_clock::time_point::max()) return mutex_.try_lock_until(deadline);
    mutex_.lock();
    return true;
  }
  void unlock() RELEASE() { mutex_.unlock(); }

 private:
  std::timed_mutex mutex_;
};

class SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) ACQUIRE(mutex) : mutex_(mutex) { mutex_.lock(); }
  ~MutexLock() RELEASE() { mutex_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

/// Waits are always in a loop over the condition, which the caller writes: the analysis then sees the guarded
/// reads.
class ConditionVariable {
 public:
  void wait(Mutex& mutex) REQUIRES(mutex) { condition_.wait(mutex); }
  template <typename ClockType, typename Duration>
  std::cv_status wait_until(Mutex& mutex, std::chrono::time_point<ClockType, Duration> deadline)
      REQUIRES(mutex) {
    return condition_.wait_until(mutex, deadline);
  }
  void notify_one() { condition_.notify_one(); }
  void notify_all() { condition_.notify_all(); }

 private:
  std::condition_variable_any condition_;
};

}  // namespace cachefs
