#include "mount/request.h"

#include <fmt/format.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <string>
#include <utility>

namespace cachefs::mount {
namespace {

/// A thread's sets of signals, as /proc shows them: bit n - 1 is signal n.
struct SignalSets {
  uint64_t pending = 0;   ///< for the thread or its process
  uint64_t harmless = 0;  ///< blocked, ignored or caught
};

std::optional<SignalSets> signals_of(pid_t thread) {
  std::ifstream status(fmt::format("/proc/{}/status", thread));
  SignalSets sets;
  std::string name, value;
  bool complete = false;
  while (status >> name && std::getline(status, value)) {
    const auto bits = [&value] { return std::strtoull(value.c_str(), nullptr, 16); };
    if (name == "SigPnd:" || name == "ShdPnd:") sets.pending |= bits();
    if (name == "SigBlk:" || name == "SigIgn:" || name == "SigCgt:") sets.harmless |= bits();
    complete = complete || name == "SigCgt:";
  }
  return complete ? std::optional(sets) : std::nullopt;
}

constexpr uint64_t bit(int signal) { return uint64_t{1} << (signal - 1); }

/// Signals that end nothing by default.
constexpr uint64_t kMildSignals = bit(SIGCHLD) | bit(SIGCONT) | bit(SIGURG) | bit(SIGWINCH) | bit(SIGSTOP) |
                                  bit(SIGTSTP) | bit(SIGTTIN) | bit(SIGTTOU);

/// How long a request goes on whose thread cannot be seen (it is outside of this process's pid namespace,
/// say) once a signal has come for it. Most signals kill nobody; but a request that nothing can end is worse
/// than one that a signal ends.
constexpr std::chrono::seconds kPatienceWithUnseen{10};

/// Whether a signal that ends its process waits for the thread.
bool is_being_killed(pid_t thread, std::chrono::steady_clock::duration since_interrupted) {
  const std::optional<SignalSets> sets = signals_of(thread);
  if (!sets) return since_interrupted >= kPatienceWithUnseen;
  return (sets->pending & (~(sets->harmless | kMildSignals) | bit(SIGKILL))) != 0;
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
  if (phase_.exchange(Phase::answered) == Phase::answered) return nullptr;
  fuse_req_interrupt_func(req_, nullptr, nullptr);  // waits for on_interrupt() if it is under way
  return req_;
}

fuse_req_t Request::claim_waiting() {
  if (!change(Phase::waiting, Phase::answered)) return nullptr;
  fuse_req_interrupt_func(req_, nullptr, nullptr);
  return req_;
}

bool Request::change(Phase from, Phase to) { return phase_.compare_exchange_strong(from, to); }

/// A signal that comes beside this is seen here, or the watcher sees that it waits.
bool Request::begin_wait() {
  if (!change(Phase::working, Phase::waiting)) return false;
  if (!interrupted_) return true;
  if (fuse_req_t req = claim_waiting(); req != nullptr) fuse_reply_err(req, EINTR);
  return false;
}

bool Request::end_wait() { return change(Phase::waiting, Phase::working); }

void Request::on_interrupt(fuse_req_t /*req*/, void* self) {
  auto* request = static_cast<Request*>(self);
  request->interrupted_ = true;
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
  struct Interrupted {
    std::weak_ptr<Request> request;
    std::chrono::steady_clock::time_point since;
  };
  std::vector<Interrupted> watched;
  mutex_.lock();
  while (!stopping_) {
    if (interrupted_.empty() && watched.empty()) {
      changed_.wait(mutex_);
    } else if (interrupted_.empty()) {
      changed_.wait_until(mutex_, std::chrono::steady_clock::now() + kLookAgain);
    }
    const auto now = std::chrono::steady_clock::now();
    for (std::weak_ptr<Request>& request : interrupted_) watched.push_back({std::move(request), now});
    interrupted_.clear();
    mutex_.unlock();
    std::erase_if(watched, [now](const Interrupted& interrupted) {
      const std::shared_ptr<Request> request = interrupted.request.lock();
      if (!request || request->answered()) return true;
      fuse_req_t req = request->claim_waiting();
      if (req == nullptr && is_being_killed(request->asking_thread(), now - interrupted.since))
        req = request->claim();
      if (req == nullptr) return request->answered();
      fuse_reply_err(req, EINTR);
      return true;
    });
    mutex_.lock();
  }
  mutex_.unlock();
}

}  // namespace cachefs::mount
