// Whether a source answers at all: a breaker, and a thread that tries the source while it does not.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "base/mutex.h"
#include "cachefs/file_system.h"
#include "vfs/root_reachability.h"

namespace cachefs {

struct MonitorOptions {
  std::chrono::nanoseconds interval;  ///< between two tries
  std::chrono::nanoseconds patience;  ///< the shortest limit: errors for so long are as good as silence
  /// The breaker has opened or closed, or the source was lost and is back. Called without a lock.
  std::function<void()> on_change;
};

/// Invariant B1: while the breaker is open, or somebody doubts the source, it is tried every `interval`; with
/// kTriesMax tries that hang only every kSlowInterval, and whenever something is mounted. Thread-safe.
class SourceMonitor : public std::enable_shared_from_this<SourceMonitor> {
 public:
  using Time = std::chrono::steady_clock::time_point;

  static std::shared_ptr<SourceMonitor> start(std::shared_ptr<FileSystem> source, MonitorOptions options);
  SourceMonitor(const SourceMonitor&) = delete;
  SourceMonitor& operator=(const SourceMonitor&) = delete;
  ~SourceMonitor();

  [[nodiscard]] Reachability& reachability() const { return reachability_; }
  /// The source has answered something that makes sense. True: that was news, and was told.
  bool succeeded();
  /// A request begun at `since` waits for long, or failed with `error`, which may mean that the source is
  /// gone.
  void doubt(Time since, const Error& error);
  /// A request begun at `since` has got no answer within its limit: if nothing else has either, and a try
  /// of the source hangs or fails too, the source is not reachable.
  void timed_out(Time since);

  /// The error to answer with while the source is not reachable.
  [[nodiscard]] std::optional<Error> refusal() const {
    return is_open_.load(std::memory_order_acquire) ? current_refusal() : std::nullopt;
  }
  /// The same from the first try on that failed: for what would do harm by failing.
  [[nodiscard]] std::optional<Error> outage() const EXCLUDES(mutex_) {
    return is_doubted_.load(std::memory_order_acquire) ? current_outage() : std::nullopt;
  }
  struct State {
    bool reachable = true;
    std::string trouble;
  };
  [[nodiscard]] State state() const EXCLUDES(mutex_);
  /// Ends the thread. Tries that hang are left to themselves.
  void stop() EXCLUDES(mutex_);

 private:
  enum class Occasion : uint8_t { none, time, mount, end };
  SourceMonitor(std::shared_ptr<FileSystem> source, MonitorOptions options);
  void watch() EXCLUDES(mutex_);
  [[nodiscard]] Occasion wait_for_occasion() EXCLUDES(mutex_);
  void try_source(Occasion occasion) EXCLUDES(mutex_);
  void run_try(std::list<Time>::iterator self) EXCLUDES(mutex_);
  void open_if_silent() EXCLUDES(mutex_);
  [[nodiscard]] bool is_silent() const REQUIRES(mutex_);
  void wake_up() const;
  [[nodiscard]] std::optional<Error> current_refusal() const EXCLUDES(mutex_);
  [[nodiscard]] std::optional<Error> current_outage() const EXCLUDES(mutex_);
  [[nodiscard]] bool has_succeeded_since(Time since) const {
    return last_success_.load(std::memory_order_acquire) >= since;
  }

  static constexpr size_t kTriesMax = 4;
  static constexpr size_t kTriesEver = 64;
  static constexpr std::chrono::seconds kSlowInterval{30};

  const std::shared_ptr<FileSystem> source_;
  RootReachability by_root_;
  Reachability& reachability_;  ///< the source's own, if it has one
  const MonitorOptions options_;
  int wake_event_ = -1;
  std::atomic<Time> last_success_;
  std::atomic<bool> is_open_{false};
  std::atomic<bool> is_doubted_{false};
  mutable Mutex mutex_;
  std::optional<Error> trouble_ GUARDED_BY(mutex_);   ///< the last one met
  Time trouble_since_ GUARDED_BY(mutex_){};           ///< the first one after a success
  Time failed_try_ GUARDED_BY(mutex_) = Time::max();  ///< begin of the first try that failed since then
  Time last_try_ GUARDED_BY(mutex_){};
  uint64_t epoch_ GUARDED_BY(mutex_);         ///< of the source, as it was last told
  std::list<Time> tries_ GUARDED_BY(mutex_);  ///< under way, by their begin
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace cachefs
