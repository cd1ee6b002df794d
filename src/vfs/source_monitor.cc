#include "vfs/source_monitor.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <system_error>
#include <utility>

#include "cachefs/time_limits.h"

namespace cachefs {
namespace {

using std::chrono::steady_clock;

/// What a caller is told in place of what the source's absence looks like.
Error refusal_for(const Error& trouble) {
  return trouble.is(std::errc::timed_out) ? Error(std::errc::timed_out, "the source does not answer")
                                          : Error(std::errc::io_error, "the source cannot be reached");
}

}  // namespace

SourceMonitor::SourceMonitor(std::shared_ptr<FileSystem> source, MonitorOptions options)
    : source_(std::move(source)),
      by_root_(*source_),
      reachability_(source_->reachability() != nullptr ? *source_->reachability() : by_root_),
      options_(std::move(options)),
      wake_event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      last_success_(steady_clock::now()),
      epoch_(reachability_.epoch()) {}

std::shared_ptr<SourceMonitor> SourceMonitor::start(std::shared_ptr<FileSystem> source,
                                                    MonitorOptions options) {
  std::shared_ptr<SourceMonitor> monitor(new SourceMonitor(std::move(source), std::move(options)));
  monitor->thread_ = std::thread([raw = monitor.get()] { raw->watch(); });  // ended by stop()
  return monitor;
}

SourceMonitor::~SourceMonitor() {
  if (wake_event_ >= 0) ::close(wake_event_);
}

void SourceMonitor::stop() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  wake_up();
  if (thread_.joinable()) thread_.join();
}

void SourceMonitor::wake_up() const { ::eventfd_write(wake_event_, 1); }

bool SourceMonitor::succeeded() {
  last_success_.store(steady_clock::now(), std::memory_order_release);
  if (!is_open_.load(std::memory_order_relaxed) && !is_doubted_.load(std::memory_order_relaxed)) return false;
  bool was_open = false;
  {
    MutexLock lock(mutex_);
    was_open = is_open_.exchange(false);
    is_doubted_ = false;
    failed_try_ = Time::max();
    trouble_.reset();
  }
  if (was_open) options_.on_change();
  return was_open;
}

void SourceMonitor::doubt(Time since, const Error& error) {
  if (has_succeeded_since(since)) return;
  {
    MutexLock lock(mutex_);
    if (!trouble_ || has_succeeded_since(trouble_since_)) trouble_since_ = since;
    // An answer tells more than silence does.
    if (!trouble_ || trouble_->is(std::errc::timed_out) || !error.is(std::errc::timed_out)) trouble_ = error;
    if (is_doubted_.exchange(true)) return;
  }
  wake_up();
}

void SourceMonitor::timed_out(Time since) {
  doubt(since, Error(std::errc::timed_out));
  open_if_silent();
}

/// Trouble for as long as a request may take, and a try that was made meanwhile has failed or hangs as well.
void SourceMonitor::open_if_silent() {
  bool opened = false;
  {
    MutexLock lock(mutex_);
    opened = is_silent() && !is_open_.exchange(true);
  }
  if (opened) options_.on_change();
}

bool SourceMonitor::is_silent() const {
  const Time now = steady_clock::now();
  if (!trouble_ || has_succeeded_since(trouble_since_)) return false;
  const bool hangs =
      !tries_.empty() && now - tries_.front() >= options_.patience / 4;  // begun at half of the limit
  const bool tried = hangs || failed_try_ != Time::max();
  return tried && now - trouble_since_ >= options_.patience;
}

std::optional<Error> SourceMonitor::current_refusal() const {
  MutexLock lock(mutex_);
  return is_open_ && trouble_ ? std::optional(refusal_for(*trouble_)) : std::nullopt;
}

std::optional<Error> SourceMonitor::current_outage() const {
  MutexLock lock(mutex_);
  const bool is_out = trouble_ && (is_open_ || failed_try_ != Time::max());
  return is_out ? std::optional(refusal_for(*trouble_)) : std::nullopt;
}

SourceMonitor::State SourceMonitor::state() const {
  MutexLock lock(mutex_);
  return {.reachable = !is_open_, .trouble = is_open_ && trouble_ ? trouble_->message() : ""};
}

void SourceMonitor::watch() {
  for (Occasion occasion = Occasion::none; occasion != Occasion::end; occasion = wait_for_occasion()) {
    if (occasion == Occasion::none) continue;
    open_if_silent();
    try_source(occasion);
  }
}

SourceMonitor::Occasion SourceMonitor::wait_for_occasion() {
  const auto interval = std::chrono::ceil<std::chrono::milliseconds>(options_.interval).count();
  const bool trying = is_doubted_;
  pollfd events[] = {{.fd = wake_event_, .events = POLLIN, .revents = 0},
                     {.fd = reachability_.event(), .events = POLLPRI, .revents = 0}};
  const int count = ::poll(events, 2, trying ? static_cast<int>(interval) : -1);
  eventfd_t drained = 0;
  ::eventfd_read(wake_event_, &drained);
  MutexLock lock(mutex_);
  if (stopping_) return Occasion::end;
  if (count > 0 && events[1].revents != 0) return Occasion::mount;
  return (count == 0 && trying) || (count > 0 && is_doubted_) ? Occasion::time : Occasion::none;
}

/// On a thread of its own, since it may hang.
void SourceMonitor::try_source(Occasion occasion) {
  const Time now = steady_clock::now();
  std::list<Time>::iterator self;
  {
    MutexLock lock(mutex_);
    const bool many_hang = tries_.size() >= kTriesMax;
    if (tries_.size() >= kTriesEver) return;
    if (many_hang && occasion == Occasion::time && now - last_try_ < kSlowInterval) return;
    last_try_ = now;
    tries_.push_back(now);
    self = std::prev(tries_.end());
  }
  try {
    std::thread([keep = shared_from_this(), self] { keep->run_try(self); }).detach();
  } catch (const std::system_error&) {
    MutexLock lock(mutex_);  // the next try may find room for a thread
    tries_.erase(self);
  }
}

void SourceMonitor::run_try(std::list<Time>::iterator self) {
  const Result<void> answer = reachability_.check();
  const bool failed = !answer && is_unreachable(answer.error());
  bool is_another = false;
  {
    MutexLock lock(mutex_);
    if (failed) failed_try_ = std::min(failed_try_, *self);
    tries_.erase(self);
    is_another = !failed && epoch_ != reachability_.epoch();
    epoch_ = reachability_.epoch();
  }
  if (failed) {
    doubt(steady_clock::now(), answer.error());
    open_if_silent();
    return;
  }
  const bool told = succeeded();
  if (is_another && !told) options_.on_change();
}

}  // namespace cachefs
