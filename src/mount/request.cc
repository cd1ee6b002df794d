#include "mount/request.h"

#include <fmt/format.h>

#include <cerrno>
#include <csignal>
#include <fstream>
#include <string>
#include <utility>

namespace cachefs::mount {
namespace {

/// Whether a thread has SIGKILL pending, as every thread of a process has that any signal ends. What cannot
/// be known is taken for a yes: a request that nothing can end is worse than one that a signal ends.
bool is_being_killed(pid_t thread) {
  std::ifstream status(fmt::format("/proc/{}/status", thread));
  std::string line;
  while (std::getline(status, line)) {
    if (!line.starts_with("SigPnd:")) continue;
    const uint64_t pending = std::strtoull(line.c_str() + 7, nullptr, 16);
    return (pending >> (SIGKILL - 1) & 1) != 0;
  }
  return true;
}

}  // namespace

Request::Request(fuse_req_t req, InterruptWatcher& watcher)
    : req_(req), watcher_(watcher), asking_thread_(fuse_req_ctx(req)->pid) {}

std::shared_ptr<Request> Request::make(fuse_req_t req, InterruptWatcher& watcher) {
  std::shared_ptr<Request> request(new Request(req, watcher));
  fuse_req_interrupt_func(req, &Request::on_interrupt, request.get());
  return request;
}

Request::~Request() {
  if (fuse_req_t req = claim(); req != nullptr)
    fuse_reply_err(req, EIO);  // never leave somebody waiting for ever
}

fuse_req_t Request::claim() {
  if (answered_.exchange(true, std::memory_order_acq_rel)) return nullptr;
  fuse_req_interrupt_func(req_, nullptr, nullptr);  // waits for on_interrupt() if it is under way
  return req_;
}

void Request::on_interrupt(fuse_req_t /*req*/, void* self) {
  auto* request = static_cast<Request*>(self);
  request->watcher_.add(request->weak_from_this());
}

void InterruptWatcher::start() {
  thread_ = std::thread([this] { watch(); });
}

void InterruptWatcher::stop() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void InterruptWatcher::add(std::weak_ptr<Request> request) {
  {
    MutexLock lock(mutex_);
    interrupted_.push_back(std::move(request));
  }
  changed_.notify_all();
}

void InterruptWatcher::watch() {
  std::vector<std::weak_ptr<Request>> watched;
  mutex_.lock();
  while (!stopping_) {
    if (interrupted_.empty() && watched.empty()) {
      changed_.wait(mutex_);
    } else if (interrupted_.empty()) {
      changed_.wait_until(mutex_, std::chrono::steady_clock::now() + kLookAgain);
    }
    for (std::weak_ptr<Request>& request : interrupted_) watched.push_back(std::move(request));
    interrupted_.clear();
    mutex_.unlock();
    std::erase_if(watched, [](const std::weak_ptr<Request>& weak) {
      const std::shared_ptr<Request> request = weak.lock();
      if (!request || request->answered()) return true;
      if (!is_being_killed(request->asking_thread())) return false;
      if (fuse_req_t req = request->claim(); req != nullptr) fuse_reply_err(req, EINTR);
      return true;
    });
    mutex_.lock();
  }
  mutex_.unlock();
}

}  // namespace cachefs::mount
