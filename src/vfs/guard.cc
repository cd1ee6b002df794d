#include "vfs/guard.h"

#include <algorithm>
#include <cstring>
#include <mutex>

#include "base/request_deadline.h"

namespace cachefs {
namespace {

/// How long what still runs at the end may take before it is left to itself.
constexpr std::chrono::milliseconds kLeaveGrace{1000};

/// Of those that there are; where there is none, the usual one.
std::chrono::nanoseconds shortest(const TimeLimits& limits) {
  std::chrono::nanoseconds result = std::chrono::nanoseconds::max();
  for (const auto limit : {limits.metadata, limits.read, limits.write, limits.name_change}) {
    if (limit.count() > 0) result = std::min(result, limit);
  }
  return result == std::chrono::nanoseconds::max() ? TimeLimits{}.metadata : result;
}

}  // namespace

Guard::Guard(std::shared_ptr<FileSystem> source, const GuardOptions& options)
    : source_(std::move(source)),
      options_(options),
      on_change_(options.on_change),
      executor_({.working = options.working, .waiting = options.hanging}) {}

std::shared_ptr<Guard> Guard::create(std::shared_ptr<FileSystem> source, const GuardOptions& options) {
  std::shared_ptr<Guard> guard(new Guard(std::move(source), options));
  // A try that hangs may return when the guard is gone.
  const auto on_change = [weak = std::weak_ptr(guard)] {
    if (const auto self = weak.lock()) self->tell_change();
  };
  guard->monitor_ = SourceMonitor::start(
      guard->source_,
      {.interval = options.probe_interval, .patience = shortest(options.limits), .on_change = on_change});
  return guard;
}

OperationClass Guard::class_of(Kind kind) {
  switch (kind) {
    case Kind::metadata:
      return OperationClass::metadata;
    case Kind::read:
      return OperationClass::read;
    case Kind::name_change:
      return OperationClass::name_change;
    case Kind::write:
    case Kind::sync:
      break;
  }
  return OperationClass::write;
}

std::chrono::nanoseconds Guard::limit_of(Kind kind) const {
  switch (kind) {
    case Kind::metadata:
      return options_.limits.metadata;
    case Kind::read:
      return options_.limits.read;
    case Kind::write:
      return options_.limits.write;
    case Kind::name_change:
      return options_.limits.name_change;
    case Kind::sync:
      break;
  }
  return options_.limits.sync;
}

Guard::Time Guard::deadline_of(Kind kind, Time begun) const {
  const std::chrono::nanoseconds limit = limit_of(kind);
  return RequestDeadline::clamp(limit.count() == 0 ? Time::max() : begun + limit);
}

std::optional<Error> Guard::refuse_at_once(const RequestSubject& subject) {
  std::optional<Error> refusal = monitor_->refusal();
  if (!refusal && given_up_.has_too_many(subject))
    refusal = Error(std::errc::timed_out, "earlier requests for it have not returned yet");
  if (refusal) ++refused_;
  return refusal;
}

std::optional<Error> Guard::refuse(const RequestSubject& subject, const ChangeExtents& extents,
                                   Time deadline) {
  if (auto refusal = refuse_at_once(subject)) return refusal;
  for (Time now = std::chrono::steady_clock::now(); now < deadline; now = std::chrono::steady_clock::now()) {
    if (late_changes_.wait_for(extents, std::min(deadline, now + kLookUp))) return std::nullopt;
    if (auto refusal = monitor_->refusal()) return refusal;
  }
  ++timeouts_;
  return waited_in_vain();
}

Error Guard::waited_in_vain() { return {std::errc::timed_out, "an earlier change has not returned yet"}; }

Result<std::shared_ptr<const OwnedBytes>> Guard::own(const RequestSubject& subject,
                                                     std::span<const std::byte> data) {
  const WriteRoom::Round round = write_room_.round();
  if (auto refusal = refuse_at_once(subject)) return std::unexpected(std::move(*refusal));
  const Time deadline = deadline_of(Kind::write, std::chrono::steady_clock::now());
  if (write_room_.take({subject.node, data.size()}, given_up_.bytes(), deadline, round))
    return std::make_shared<const OwnedBytes>(shared_from_this(), NodeRef(subject.node), data);
  ++refused_;
  if (auto refusal = monitor_->refusal()) return std::unexpected(std::move(*refusal));
  return fail(std::errc::timed_out, "earlier writes that have not returned yet hold all memory for writes");
}

OwnedBytes::OwnedBytes(std::shared_ptr<Guard> guard, NodeRef file, std::span<const std::byte> data)
    : guard_(std::move(guard)),
      file_(std::move(file)),
      size_(data.size()),
      bytes_(std::make_unique_for_overwrite<std::byte[]>(data.size())) {
  std::memcpy(bytes_.get(), data.data(), data.size());
}

OwnedBytes::~OwnedBytes() { guard_->write_room_.give_back({file_.get(), size_}); }

Error Guard::as_seen_by_callers(Error error) {
  if (!is_unreachable(error) || error.is(std::errc::timed_out)) return error;
  return {std::errc::io_error, error.message()};
}

void Guard::run_later(Extents extents, Executor::Task task) {
  const Node* about = extents.empty() ? nullptr : extents.front().node.get();
  const LateChanges::Ticket ticket =
      late_changes_.add({.all = std::move(extents), .instance = reachability().instance()});
  hand_over(about, [self = shared_from_this(), ticket, task = std::move(task)]() mutable {
    self->late_changes_.wait_for_older(ticket);
    task();
    self->late_changes_.remove(ticket);
  });
}

SourceHealth Guard::health() const {
  const SourceMonitor::State state = monitor_->state();
  return {.reachable = state.reachable,
          .trouble = state.trouble,
          .timeouts = timeouts_,
          .hanging = given_up_.count(),
          .hanging_bytes = given_up_.bytes(),
          .refused = refused_};
}

void Guard::set_on_late_change(std::function<void()> callback) {
  const std::unique_lock lock(callback_mutex_);
  callback_ = std::move(callback);
}

void Guard::tell_late_change() {
  const std::shared_lock lock(callback_mutex_);
  if (callback_) callback_();
}

void Guard::tell_change() {
  const SourceHealth now = health();
  if (!now.reachable) write_room_.refuse_waiting();
  {
    const std::shared_lock lock(callback_mutex_);
    if (on_change_) on_change_(now);
  }
  if (now.reachable) tell_late_change();
}

void Guard::leave() {
  {
    const std::unique_lock lock(callback_mutex_);
    callback_ = {};
    on_change_ = {};
  }
  monitor_->stop();
  executor_.leave(kLeaveGrace);
}

}  // namespace cachefs
