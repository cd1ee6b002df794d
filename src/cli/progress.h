// How far a command has come, for whoever waits for it.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <thread>

#include "base/mutex.h"

namespace cachefs::cli {

/// While it lives, and once a second has passed, it says on stderr how much of `total` is `done`, how fast
/// that goes, and how long the rest will take: in one line that is renewed on a terminal, else in a line
/// every ten seconds. Says nothing in a command that is quicker.
class ProgressLine {
 public:
  struct Work {
    std::string label;  ///< what is being done
    std::string unit;   ///< of what is counted, as in "requests"
    uint64_t total = 0;
  };
  /// `done` must outlive this.
  ProgressLine(Work work, const std::atomic<uint64_t>& done);
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

 private:
  void report() EXCLUDES(mutex_);
  void show(std::chrono::steady_clock::duration elapsed) const;

  const Work work_;
  const std::atomic<uint64_t>& done_;
  const bool terminal_;
  Mutex mutex_;
  ConditionVariable changed_;
  bool over_ GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

/// "42 %, 1.2 M requests/s, 8 s left": what a line says beside its label.
std::string progress_text(const ProgressLine::Work& work, uint64_t done,
                          std::chrono::duration<double> elapsed);

}  // namespace cachefs::cli
