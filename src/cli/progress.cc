#include "cli/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "cachefs/units.h"

namespace cachefs::cli {
namespace {

constexpr std::chrono::seconds kPatience{1};
constexpr std::chrono::milliseconds kOnTerminal{200};
constexpr std::chrono::seconds kElsewhere{10};
constexpr const char* kClearLine = "\r\033[K";

std::string count_text(double count) {
  if (count >= 1e6) return fmt::format("{:.1f} M", count / 1e6);
  if (count >= 1e3) return fmt::format("{:.1f} k", count / 1e3);
  return fmt::format("{:.0f}", count);
}

}  // namespace

std::string progress_text(const ProgressLine::Work& work, uint64_t done,
                          std::chrono::duration<double> elapsed) {
  const double share = work.total == 0 ? 1 : static_cast<double>(done) / static_cast<double>(work.total);
  const double per_second = elapsed.count() > 0 ? static_cast<double>(done) / elapsed.count() : 0;
  std::string text =
      fmt::format("{:.0f} %, {} {}/s", std::min(share, 1.0) * 100, count_text(per_second), work.unit);
  if (per_second <= 0 || done >= work.total) return text;
  const std::chrono::duration<double> left(static_cast<double>(work.total - done) / per_second);
  return text + fmt::format(", {} left", format_duration(std::chrono::ceil<std::chrono::seconds>(left)));
}

ProgressLine::ProgressLine(Work work, const std::atomic<uint64_t>& done)
    : work_(std::move(work)),
      done_(done),
      terminal_(isatty(STDERR_FILENO) == 1),
      thread_([this] { report(); }) {}

ProgressLine::~ProgressLine() {
  {
    MutexLock lock(mutex_);
    over_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void ProgressLine::report() {
  const auto begun = std::chrono::steady_clock::now();
  auto next = begun + kPatience;
  bool shown = false;
  mutex_.lock();
  while (!over_) {
    changed_.wait_until(mutex_, next);
    const auto now = std::chrono::steady_clock::now();
    if (over_ || now < next) continue;
    mutex_.unlock();
    show(now - begun);
    shown = true;
    next = now + (terminal_ ? std::chrono::steady_clock::duration(kOnTerminal) : kElsewhere);
    mutex_.lock();
  }
  mutex_.unlock();
  if (shown && terminal_) fmt::print(stderr, "{}", kClearLine);
}

void ProgressLine::show(std::chrono::steady_clock::duration elapsed) const {
  const std::string text = progress_text(work_, done_.load(std::memory_order_relaxed), elapsed);
  fmt::print(stderr, "{}{}: {}{}", terminal_ ? kClearLine : "", work_.label, text, terminal_ ? "" : "\n");
  std::fflush(stderr);
}

}  // namespace cachefs::cli
