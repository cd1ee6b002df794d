// Turns signals into a call on a thread, where more may be done than in a handler.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <thread>

#include "cachefs/error.h"
#include "server/unique_fd.h"

namespace cachefs::cli {

/// To be made before any other thread: it blocks its signals, and threads inherit that. One that comes before
/// `watch` is kept.
class SignalWatcher {
 public:
  static Result<std::unique_ptr<SignalWatcher>> create(std::initializer_list<int> signals);
  /// Calls no more once it has returned. The signals stay blocked.
  ~SignalWatcher();
  SignalWatcher(const SignalWatcher&) = delete;
  SignalWatcher& operator=(const SignalWatcher&) = delete;

  enum class Woken : uint8_t { by_event, by_signal, by_time };
  /// Before watch(): waits until `event` can be read, or a signal has come, which stays for watch(). No
  /// longer than `limit`; zero: for ever.
  [[nodiscard]] Woken wait_for(int event, std::chrono::nanoseconds limit) const;

  /// From now on calls `on_signal` with the number of each signal, from one thread. To be called once.
  void watch(std::function<void(int)> on_signal);

 private:
  SignalWatcher(server::UniqueFd signals, server::UniqueFd end)
      : signals_(std::move(signals)), end_(std::move(end)) {}
  void run(const std::function<void(int)>& on_signal) const;

  server::UniqueFd signals_;
  server::UniqueFd end_;  // an eventfd
  std::thread thread_;
};

}  // namespace cachefs::cli
