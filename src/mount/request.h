// One question of the kernel that is answered later, and what happens when who asked dies meanwhile.
#pragma once

#include <fuse_lowlevel.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "base/mutex.h"

namespace cachefs::mount {

class InterruptWatcher;

/// A request that is answered later, or after waiting for the source. It is answered exactly once: by the
/// task, or, when the asking thread is being killed, with EINTR by the InterruptWatcher, so that the thread
/// can die while the source hangs. The task's work goes on then, and its answer is dropped. While nothing is
/// done for it, since it waits for somebody else, any signal ends it so.
class Request : public std::enable_shared_from_this<Request> {
 public:
  static std::shared_ptr<Request> make(fuse_req_t req, InterruptWatcher& watcher);
  ~Request();
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;

  /// What to answer with, to whoever asks first; null ever after.
  [[nodiscard]] fuse_req_t claim();
  [[nodiscard]] bool answered() const { return phase_.load(std::memory_order_acquire) == Phase::answered; }

  /// Nothing is done for it from here on: it is ended by any signal, also by one that came before. False: it
  /// is answered.
  [[nodiscard]] bool begin_wait();
  /// False: it was answered meanwhile.
  [[nodiscard]] bool end_wait();
  /// As claim(), but null also unless it waits.
  [[nodiscard]] fuse_req_t claim_waiting();

  /// The thread that asked.
  [[nodiscard]] pid_t asking_thread() const { return asking_thread_; }

 private:
  enum class Phase : uint8_t { working, waiting, answered };

  Request(fuse_req_t req, InterruptWatcher& watcher);
  /// False: it is in another one.
  bool change(Phase from, Phase to);
  static void on_interrupt(fuse_req_t req, void* self);

  const fuse_req_t req_;
  InterruptWatcher& watcher_;
  const pid_t asking_thread_;
  std::atomic<Phase> phase_{Phase::working};
  std::atomic<bool> interrupted_{false};  ///< by some signal
};

/// Looks after interrupted requests. The kernel reports any signal; only one that kills may end a request of
/// a file system (a timer of the program must not make its read fail), or one that waits, and it is reported
/// once: a thread that lives is looked at again. Thread-safe.
class InterruptWatcher {
 public:
  InterruptWatcher() = default;
  ~InterruptWatcher() { stop(); }
  InterruptWatcher(const InterruptWatcher&) = delete;
  InterruptWatcher& operator=(const InterruptWatcher&) = delete;

  void start();
  void stop() EXCLUDES(mutex_);
  void add(std::weak_ptr<Request> request) EXCLUDES(mutex_);

 private:
  static constexpr std::chrono::milliseconds kLookAgain{100};

  void watch() EXCLUDES(mutex_);

  Mutex mutex_;
  ConditionVariable changed_;
  std::vector<std::weak_ptr<Request>> interrupted_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace cachefs::mount
