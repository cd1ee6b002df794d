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

uint32_t RequestLoop::start(fuse_session* session, uint32_t threads) {
  let_signal_interrupt();  // inherited by the threads
  while (readers_.size() < threads) {
    Reader& reader = readers_.emplace_back();
    try {
      reader.thread = std::thread([this, session, &reader] { serve(session, reader); });
    } catch (const std::system_error&) {
      readers_.pop_back();
      break;  // those that there are do
    }
  }
  return static_cast<uint32_t>(readers_.size());
}

int RequestLoop::wait() {
  MutexLock lock(mutex_);
  if (readers_.empty()) return -EAGAIN;
  while (!leaving_) changed_.wait(mutex_);
  // A signal that comes just before the read interrupts nothing: it is sent again.
  while (std::ranges::count_if(readers_, interrupt) != 0)
    changed_.wait_until(mutex_, std::chrono::steady_clock::now() + kLookAgain);
  return status_;
}

/// Whether it reads. Who works on a request is left alone: the signal would interrupt the source.
bool RequestLoop::interrupt(Reader& reader) {
  MutexLock lock(reader.mutex);
  if (reader.reading) pthread_kill(reader.thread.native_handle(), kWakeSignal);
  return reader.reading;
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
  reader.set_reading(false);
  MutexLock lock(mutex_);
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
    reader.set_reading(false);
    fuse_session_process_buf(session, &request);
    if (fuse_session_exited(session) != 0) break;
    reader.set_reading(true);
  }
  std::free(request.mem);
  return size == -EINTR || size == -EAGAIN ? 0 : size;
}

}  // namespace cachefs::mount
