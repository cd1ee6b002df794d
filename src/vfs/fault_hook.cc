// A hook that fails, hangs or delays chosen requests.
#include <optional>

#include "base/mutex.h"
#include "cachefs/decorators.h"

namespace cachefs {
namespace {

/// Shared with the requests under way, which ask it without the lock.
using Predicate = std::shared_ptr<const std::function<bool(Operation)>>;

Predicate share(std::function<bool(Operation)> which) {
  if (!which) return nullptr;
  return std::make_shared<const std::function<bool(Operation)>>(std::move(which));
}

struct Condition {
  Predicate which;
  Error error{std::errc::io_error};
};

struct Delay {
  Predicate which;
  std::chrono::nanoseconds by{0};
};

}  // namespace

struct FaultHook::State {
  struct Plan {
    std::optional<Error> failure;  ///< of this request, by its number
    Condition failing;
    Predicate hanging;
    Delay delay;
    uint64_t epoch = 0;
  };

  Plan next_request() EXCLUDES(mutex) {
    MutexLock lock(mutex);
    ++requests;
    Plan plan{.failure = {}, .failing = failing, .hanging = hanging_if, .delay = delaying, .epoch = epoch};
    const bool due = fail_from != 0 && (requests == fail_from || (fail_forever && requests > fail_from));
    if (due) plan.failure = fail_error;
    return plan;
  }

  void hang(uint64_t since) EXCLUDES(mutex) {
    MutexLock lock(mutex);
    ++hanging;
    changed.notify_all();
    while (epoch == since) changed.wait(mutex);
    --hanging;
    changed.notify_all();
  }

  void wait_for(std::chrono::nanoseconds duration, uint64_t since) EXCLUDES(mutex) {
    const auto deadline = std::chrono::steady_clock::now() + duration;
    MutexLock lock(mutex);
    while (epoch == since && std::chrono::steady_clock::now() < deadline) changed.wait_until(mutex, deadline);
  }

  mutable Mutex mutex;
  mutable ConditionVariable changed;
  uint64_t requests GUARDED_BY(mutex) = 0;
  uint64_t hanging GUARDED_BY(mutex) = 0;
  uint64_t epoch GUARDED_BY(mutex) = 0;      ///< counts recoveries
  uint64_t fail_from GUARDED_BY(mutex) = 0;  ///< 0: never
  bool fail_forever GUARDED_BY(mutex) = false;
  Error fail_error GUARDED_BY(mutex){std::errc::io_error};
  Condition failing GUARDED_BY(mutex);
  Predicate hanging_if GUARDED_BY(mutex);
  Delay delaying GUARDED_BY(mutex);
  std::atomic<uint64_t> read_limit{0};
};

FaultHook::FaultHook() : state_(std::make_unique<State>()) {}
FaultHook::~FaultHook() = default;

void FaultHook::fail_nth(uint64_t n, Error error, bool forever) {
  MutexLock lock(state_->mutex);
  state_->fail_from = n == 0 ? 0 : state_->requests + n;
  state_->fail_error = std::move(error);
  state_->fail_forever = forever;
}

void FaultHook::fail_if(std::function<bool(Operation)> which, Error error) {
  Condition condition{.which = share(std::move(which)), .error = std::move(error)};
  MutexLock lock(state_->mutex);
  std::swap(state_->failing, condition);
}

void FaultHook::hang_if(std::function<bool(Operation)> which) {
  Predicate predicate = share(std::move(which));
  MutexLock lock(state_->mutex);
  std::swap(state_->hanging_if, predicate);
}

void FaultHook::delay_if(std::function<bool(Operation)> which, std::chrono::nanoseconds by) {
  Delay delay{.which = share(std::move(which)), .by = by};
  MutexLock lock(state_->mutex);
  std::swap(state_->delaying, delay);
}

void FaultHook::limit_reads(uint64_t bytes) { state_->read_limit.store(bytes, std::memory_order_relaxed); }

void FaultHook::recover() {
  Condition condition;  // what was set is freed after the lock is released
  Predicate predicate;
  Delay delay;
  MutexLock lock(state_->mutex);
  std::swap(state_->failing, condition);
  std::swap(state_->hanging_if, predicate);
  std::swap(state_->delaying, delay);
  state_->fail_from = 0;
  state_->read_limit.store(0, std::memory_order_relaxed);
  ++state_->epoch;
  state_->changed.notify_all();
}

uint64_t FaultHook::requests() const {
  MutexLock lock(state_->mutex);
  return state_->requests;
}

uint64_t FaultHook::hanging() const {
  MutexLock lock(state_->mutex);
  return state_->hanging;
}

bool FaultHook::wait_for_hanging(uint64_t count, std::chrono::steady_clock::time_point deadline) const {
  MutexLock lock(state_->mutex);
  while (state_->hanging < count) {
    const bool late = state_->changed.wait_until(state_->mutex, deadline) == std::cv_status::timeout;
    if (late && state_->hanging < count) return false;
  }
  return true;
}

Result<void> FaultHook::before(Operation operation, uint64_t /*bytes*/) {
  const State::Plan plan = state_->next_request();
  if (plan.hanging && (*plan.hanging)(operation)) {
    state_->hang(plan.epoch);
    return {};
  }
  if (plan.failure) return std::unexpected(*plan.failure);
  if (plan.failing.which && (*plan.failing.which)(operation)) return std::unexpected(plan.failing.error);
  if (plan.delay.which && (*plan.delay.which)(operation)) state_->wait_for(plan.delay.by, plan.epoch);
  return {};
}

uint64_t FaultHook::shorten_read(uint64_t bytes) {
  const uint64_t limit = state_->read_limit.load(std::memory_order_relaxed);
  return limit == 0 ? bytes : std::min(bytes, limit);
}

}  // namespace cachefs
