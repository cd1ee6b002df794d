#include "cli/signal_watcher.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <csignal>

namespace cachefs::cli {

Result<std::unique_ptr<SignalWatcher>> SignalWatcher::create(std::initializer_list<int> signals) {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : signals) ::sigaddset(&set, signal);
  if (const int code = ::pthread_sigmask(SIG_BLOCK, &set, nullptr); code != 0)
    return fail_errno(code, "block signals");
  server::UniqueFd pending(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  server::UniqueFd end(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!pending || !end) return fail_errno(errno, "watch signals");
  return std::unique_ptr<SignalWatcher>(new SignalWatcher(std::move(pending), std::move(end)));
}

SignalWatcher::~SignalWatcher() {
  if (!thread_.joinable()) return;
  ::eventfd_write(end_.get(), 1);  // cannot fail: the counter is at 0
  thread_.join();
}

SignalWatcher::Woken SignalWatcher::wait_for(int event, std::chrono::nanoseconds limit) const {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  for (;;) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    const auto timeout = static_cast<int>(std::clamp<int64_t>(left.count(), 0, INT_MAX));
    std::array<pollfd, 2> waiting{{{.fd = event, .events = POLLIN, .revents = 0},
                                   {.fd = signals_.get(), .events = POLLIN, .revents = 0}}};
    const int count = ::poll(waiting.data(), waiting.size(), limit.count() == 0 ? -1 : timeout);
    if (waiting[0].revents != 0) return Woken::by_event;
    if (waiting[1].revents != 0) return Woken::by_signal;
    if (count == 0 && timeout < INT_MAX) return Woken::by_time;
  }
}

void SignalWatcher::watch(std::function<void(int)> on_signal) {
  thread_ = std::thread([this, call = std::move(on_signal)] { run(call); });
}

void SignalWatcher::run(const std::function<void(int)>& on_signal) const {
  for (;;) {
    std::array<pollfd, 2> waiting{{{.fd = end_.get(), .events = POLLIN, .revents = 0},
                                   {.fd = signals_.get(), .events = POLLIN, .revents = 0}}};
    if (::poll(waiting.data(), waiting.size(), -1) < 0 && errno != EINTR) return;
    if (waiting[0].revents != 0) return;
    signalfd_siginfo signal{};
    if (::read(signals_.get(), &signal, sizeof(signal)) != static_cast<ssize_t>(sizeof(signal))) continue;
    on_signal(static_cast<int>(signal.ssi_signo));
  }
}

}  // namespace cachefs::cli
