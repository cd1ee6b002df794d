// Threads that read the kernel's requests.
#pragma once

#include <fuse_lowlevel.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <thread>

#include "base/mutex.h"

namespace cachefs::mount {

/// Reads requests and gives them to libfuse on a number of threads. Unlike libfuse's own loop it can be left
/// while requests are still worked on: nobody reads any more then, and who works goes on.
class RequestLoop {
 public:
  RequestLoop() = default;
  ~RequestLoop() { join(); }
  RequestLoop(const RequestLoop&) = delete;
  RequestLoop& operator=(const RequestLoop&) = delete;

  /// Starts that many threads, or as many as the system lets us. To be called once.
  uint32_t start(fuse_session* session, uint32_t threads);
  /// Returns once no thread reads: the kernel has said good-bye, reading fails (what with, as a negative
  /// errno value), there is no thread, or leave() was called.
  int wait() EXCLUDES(mutex_);
  /// From any thread, before start() too.
  void leave() EXCLUDES(mutex_);
  /// Returns once no thread works on a request.
  void join();

 private:
  struct Reader {
    Mutex mutex;
    bool reading GUARDED_BY(mutex) = true;
    std::thread thread;

    void set_reading(bool value) EXCLUDES(mutex) {
      MutexLock lock(mutex);
      reading = value;
    }
  };

  void serve(fuse_session* session, Reader& reader) EXCLUDES(mutex_);
  [[nodiscard]] int read_requests(fuse_session* session, Reader& reader);
  static bool interrupt(Reader& reader);

  std::deque<Reader> readers_;
  std::atomic<bool> leaving_{false};
  Mutex mutex_;
  ConditionVariable changed_;
  int status_ GUARDED_BY(mutex_) = 0;
};

}  // namespace cachefs::mount
