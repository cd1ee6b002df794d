// Where the program's log goes, and how much of it.
#pragma once

#include <spdlog/logger.h>
#include <spdlog/sinks/sink.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/mutex.h"
#include "cachefs/clock.h"

namespace cachefs::cli {

enum class LogTarget : uint8_t {
  standard_error,  ///< for the foreground
  system_log,      ///< syslog's facility daemon, which journald shows too; for a daemon, whose stderr is gone
};

/// From now on everything that is logged goes to `target`, from warnings on. To be called before any thread.
void log_to(LogTarget target);

/// Tells how much of a flood is to be heard: of each kind of message one a period. What differs between
/// single quotes alone, as names of files do, is of one kind. Not thread-safe.
class FloodGate {
 public:
  static constexpr std::chrono::minutes kPeriod{1};
  static constexpr size_t kKindsMax = 256;  ///< all further ones count as one kind

  /// `clock` must outlive this.
  explicit FloodGate(const Clock& clock) : clock_(clock) {}

  /// How many of this kind were held back since the last one that was let through; nothing: this one too is
  /// to be held back.
  std::optional<uint64_t> let_through(std::string_view message);

 private:
  struct Kind {
    MonotonicTime heard;
    uint64_t held_back = 0;
  };

  const Clock& clock_;
  std::map<std::string, Kind, std::less<>> kinds_;
};

/// Passes on to `target` what a FloodGate lets through, with the count of what was held back. Thread-safe if
/// `target` is.
class CalmSink final : public spdlog::sinks::sink {
 public:
  CalmSink(std::shared_ptr<spdlog::sinks::sink> target, const Clock& clock)
      : target_(std::move(target)), gate_(clock) {}

  void log(const spdlog::details::log_msg& message) override;
  void flush() override { target_->flush(); }
  void set_pattern(const std::string& pattern) override { target_->set_pattern(pattern); }
  void set_formatter(std::unique_ptr<spdlog::formatter> formatter) override {
    target_->set_formatter(std::move(formatter));
  }

 private:
  const std::shared_ptr<spdlog::sinks::sink> target_;
  Mutex mutex_;
  FloodGate gate_ GUARDED_BY(mutex_);
};

}  // namespace cachefs::cli
