// One question of the kernel that is answered later, and what happens when who asked dies meanwhile.
#pragma once

#include <fuse_lowlevel.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "base/mutex.h"

namespace cachefs::mount {

class InterruptWatcher;

/// Which signals end a request: of file systems those alone that kill, of what may wait for long any.
enum class Interruption : bool { by_killing, by_any_signal };

/// A request that is answered later, or after waiting for the source. It is answered exactly once: by the
/// task, or, when the asking thread is being killed, with EINTR by the InterruptWatcher, so that the thread
/// can die while the source hangs. The task's work goes on then, and its answer is dropped. (With
/// by_any_signal so by each signal.)
class Request : public std::enable_shared_from_this<Request> {
 public:
  static std::shared_ptr<Request> make(fuse_req_t req, InterruptWatcher& watcher,
                                       Interruption interruption = Interruption::by_killing);
  ~Request();
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;

  /// What to answer with, to whoever asks first; null ever after.
  [[nodiscard]] fuse_req_t claim();
  [[nodiscard]] bool answered() const { return answered_.load(std::memory_order_acquire); }
  /// The thread that asked.
  [[nodiscard]] pid_t asking_thread() const { return asking_thread_; }
  [[nodiscard]] Interruption interruption() const { return interruption_; }

 private:
  Request(fuse_req_t req, InterruptWatcher& watcher, Interruption interruption);
  static void on_interrupt(fuse_req_t req, void* self);

  const fuse_req_t req_;
  InterruptWatcher& watcher_;
  const pid_t asking_thread_;
  const Interruption interruption_;
  std::atomic<bool> answered_{false};
};

/// Looks after interrupted requests. The kernel reports any signal; only one that kills may end a request of
/// a file system (a timer of the program must not make its read fail), and it is reported once: a thread that
/// lives is looked at again. Thread-safe.
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
