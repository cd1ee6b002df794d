#include "core/file_turn.h"

#include "base/request_deadline.h"

namespace cachefs {

/// `deadline()` is asked for only if there is somebody to wait for.
template <typename Deadline>
void FileTurn::enter(Deadline deadline) {
  if (node_.turns.enter(*turn_, clock_)) return;
  if (!node_.turns.wait(*turn_, node_.mutex, clock_, deadline())) turn_.reset();
}

FileTurn::FileTurn(CacheFs::Impl& cache, CacheNode& of, Kind kind, Limit limit)
    : node_(of), clock_(*cache.options.clock) {
  MutexLock lock(node_.mutex);
  turn_.emplace(kind);
  enter([&] { return deadline_of(cache, limit); });
}

FileTurn::FileTurn(CacheFs::Impl& cache, CacheNode& of, Kind kind, Time deadline)
    : node_(of), clock_(*cache.options.clock) {
  MutexLock lock(node_.mutex);
  turn_.emplace(kind);
  enter([&] { return deadline; });
}

FileTurn::FileTurn(CacheFs::Impl& cache, CacheNode& of, uint64_t begin, uint64_t end)
    : node_(of), clock_(*cache.options.clock) {
  MutexLock lock(node_.mutex);
  const auto within_file = [&]() REQUIRES(node_.mutex) {
    return node_.state.known && end <= node_.state.attributes.size;
  };
  std::optional<Time> deadline;
  const auto once = [&] {
    if (!deadline) deadline = deadline_of(cache, &TimeLimits::write);
    return *deadline;
  };
  if (within_file()) {
    turn_.emplace(Kind::write, begin, end);
    enter(once);
    if (!turn_ || within_file()) return;
    // It has become shorter meanwhile.
    node_.turns.leave(*turn_, clock_);
  }
  turn_.emplace(Kind::change);
  enter(once);
}

FileTurn::~FileTurn() {
  if (!turn_ || !turn_->inside()) return;
  MutexLock lock(node_.mutex);
  node_.turns.leave(*turn_, clock_);
}

std::optional<Error> FileTurn::refused() const {
  if (turn_) return std::nullopt;
  return Error(std::errc::timed_out, "an earlier change of the file has not ended yet");
}

FileTurn::Time FileTurn::deadline_of(const CacheFs::Impl& cache, Limit limit) {
  const Reachability* known = cache.source->reachability();
  const std::chrono::nanoseconds allowed =
      (known != nullptr ? known->time_limits() : TimeLimits::none()).*limit;
  return RequestDeadline::clamp(allowed.count() == 0 ? Time::max()
                                                     : std::chrono::steady_clock::now() + allowed);
}

}  // namespace cachefs
