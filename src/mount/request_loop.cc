#include "mount/request_loop.h"

#include <pthread.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <system_error>

namespace cachefs::mount {
namespace {

/// Ignored by default, and hardly ever used: it only has to interrupt a read.
constexpr int kWakeSignal = SIGURG;
constexpr std::chrono::milliseconds kLookAgain{10};

void let_signal_interrupt() {
  struct sigaction wake{};
  wake.sa_handler = [](int) {};  // without SA_RESTART: the read ends
  sigaction(kWakeSignal, &wake, nullptr);
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, kWakeSignal);
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
}

}  // namespace

int RequestLoop::run(fuse_session* session, uint32_t threads) {
  let_signal_interrupt();  // inherited by the threads
  for (uint32_t i = 0; i < threads; ++i) {
    Reader& reader = readers_.emplace_back();
    try {
      reader.thread = std::thread([this, session, &reader] { serve(session, reader); });
    } catch (const std::system_error& error) {
      readers_.pop_back();
      if (readers_.empty()) return -error.code().value();
      break;  // those that there are do
    }
  }
  MutexLock lock(mutex_);
  while (!leaving_) changed_.wait(mutex_);
  // A signal that comes just before the read interrupts nothing: it is sent again.
  while (anybody_reads()) {
    for (Reader& reader : readers_) {
      if (reader.reading) pthread_kill(reader.thread.native_handle(), kWakeSignal);
    }
    changed_.wait_until(mutex_, std::chrono::steady_clock::now() + kLookAgain);
  }
  return status_;
}

void RequestLoop::leave() {
  MutexLock lock(mutex_);
  leaving_ = true;
  changed_.notify_all();
}

void RequestLoop::join() {
  for (Reader& reader : readers_) {
    if (reader.thread.joinable()) reader.thread.join();
  }
}

void RequestLoop::serve(fuse_session* session, Reader& reader) {
  const int status = read_requests(session, reader);
  MutexLock lock(mutex_);
  reader.reading = false;
  leaving_ = true;
  if (status < 0 && status_ == 0) status_ = status;
  changed_.notify_all();
}

/// Whoever sets `reading` and then finds that the loop is not being left is seen by who leaves it.
int RequestLoop::read_requests(fuse_session* session, Reader& reader) {
  fuse_buf request{};
  int size = 0;
  while (!leaving_) {
    size = fuse_session_receive_buf(session, &request);
    if (size == -EINTR || size == -EAGAIN) continue;
    if (size <= 0) break;
    reader.reading = false;
    fuse_session_process_buf(session, &request);
    if (fuse_session_exited(session) != 0) break;
    reader.reading = true;
  }
  std::free(request.mem);
  return size == -EINTR || size == -EAGAIN ? 0 : size;
}

bool RequestLoop::anybody_reads() const {
  return std::ranges::any_of(readers_, [](const Reader& reader) { return reader.reading.load(); });
}

}  // namespace cachefs::mount
