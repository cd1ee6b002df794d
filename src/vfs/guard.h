// Runs one request to a source on another thread, and waits for it no longer than allowed.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <shared_mutex>
#include <utility>

#include "base/executor.h"
#include "base/request_deadline.h"
#include "cachefs/guarded_fs.h"
#include "vfs/given_up.h"
#include "vfs/late_changes.h"
#include "vfs/source_monitor.h"
#include "vfs/write_room.h"

namespace cachefs {

/// One request: its end, or that nobody waits for it any more.
template <typename Answer>
class PendingCall {
 public:
  enum class Phase : uint8_t { queued, running, ended, given_up };

  Mutex mutex;
  ConditionVariable ended;
  Phase phase GUARDED_BY(mutex) = Phase::queued;
  std::move_only_function<Answer()> run GUARDED_BY(mutex);  ///< until it runs
  std::optional<Answer> answer GUARDED_BY(mutex);
  std::optional<GivenUp::Ticket> given_up GUARDED_BY(mutex);  ///< while it ran
  std::optional<LateChanges::Ticket> late GUARDED_BY(mutex);  ///< of a change
  ChangeExtents extents GUARDED_BY(mutex);                    ///< of a change, until it is given up
};

class Guard;

/// What a write brings: it may outlive who has it written.
class OwnedBytes {
 public:
  /// `file`: for whose writes room was taken.
  OwnedBytes(std::shared_ptr<Guard> guard, NodeRef file, std::span<const std::byte> data);
  ~OwnedBytes();
  OwnedBytes(const OwnedBytes&) = delete;
  OwnedBytes& operator=(const OwnedBytes&) = delete;
  [[nodiscard]] std::span<const std::byte> bytes() const { return {bytes_.get(), size_}; }

 private:
  const std::shared_ptr<Guard> guard_;
  const NodeRef file_;
  const size_t size_;
  const std::unique_ptr<std::byte[]> bytes_;
};

/// What all parts of a GuardedFs share; kept alive by requests that do not return. Thread-safe.
class Guard : public std::enable_shared_from_this<Guard> {
 public:
  using Time = std::chrono::steady_clock::time_point;
  enum class Kind : uint8_t { metadata, read, write, name_change, sync };

  static std::shared_ptr<Guard> create(std::shared_ptr<FileSystem> source, const GuardOptions& options);

  FileSystem& source() { return *source_; }
  /// Of the source.
  [[nodiscard]] Reachability& reachability() const { return monitor_->reachability(); }

  using Extents = std::vector<ChangeExtent>;

  /// `run` owns all that it uses: it may go on after this has returned. `extents`: what it changes; empty if
  /// it changes nothing.
  template <typename Run>
  auto call(Kind kind, const RequestSubject& subject, Extents extents, Run run) -> decltype(run());

  /// A copy of what is to be written, within the memory that all of them may take (WriteRoom). Errors:
  /// etimedout.
  Result<std::shared_ptr<const OwnedBytes>> own(const RequestSubject& subject,
                                                std::span<const std::byte> data);

  /// When a request that begins now must have ended; Time::max() if never.
  [[nodiscard]] Time deadline_of(Kind kind) const {
    return deadline_of(kind, std::chrono::steady_clock::now());
  }

  /// Runs `task` some time, and waits for nothing: for what may hang and matters to nobody. `about`: the
  /// file.
  void hand_over(const Node* about, Executor::Task task) {
    executor_.submit(OperationClass::write, std::move(task), reinterpret_cast<Executor::Subject>(about));
  }

  /// Runs `task` also while the source is not reachable, after what was given up and overlaps `extents`; what
  /// overlaps them and is called from now on comes after it. Waits for nothing.
  void run_later(Extents extents, Executor::Task task);
  /// Whether something that was given up, or is to run later, overlaps.
  [[nodiscard]] bool is_late(const Extents& extents) {
    return !late_changes_.wait_for({.all = extents, .instance = reachability().instance()}, Time::min());
  }

  [[nodiscard]] SourceHealth health() const;
  [[nodiscard]] Executor::Load load(Kind kind) const { return executor_.load(class_of(kind)); }
  [[nodiscard]] std::optional<Error> outage() const { return monitor_->outage(); }
  [[nodiscard]] std::optional<Error> refusal() const { return monitor_->refusal(); }
  [[nodiscard]] const TimeLimits& time_limits() const { return options_.limits; }
  [[nodiscard]] bool may_change_late(const Node& node) const { return late_changes_.has_any_of(node); }
  void set_on_late_change(std::function<void()> callback);
  /// Nobody will call any more. What hangs is left to itself.
  void leave();

 private:
  friend class OwnedBytes;
  Guard(std::shared_ptr<FileSystem> source, const GuardOptions& options);

  static constexpr std::chrono::milliseconds kLookUp{100};  ///< how often one who waits looks at the breaker

  static OperationClass class_of(Kind kind);
  [[nodiscard]] std::chrono::nanoseconds limit_of(Kind kind) const;
  /// When a request begun at `begun` must have ended; Time::max() if never.
  [[nodiscard]] Time deadline_of(Kind kind, Time begun) const;
  /// Until when such a request may wait within the source before it begins: so that its answer is there in
  /// time.
  [[nodiscard]] static Time latest_begin(Time begun, Time deadline) {
    return deadline - std::min<std::chrono::nanoseconds>((deadline - begun) / 16, kLookUp);
  }
  /// nullopt: the request may begin, once it has waited for its turn.
  std::optional<Error> refuse_at_once(const RequestSubject& subject);
  /// nullopt: the request may begin.
  std::optional<Error> refuse(const RequestSubject& subject, const ChangeExtents& extents, Time deadline);
  template <typename Answer>
  void note(const Answer& answer, Time begun);
  template <typename Answer>
  Answer wait(PendingCall<Answer>& call, const RequestSubject& subject, Time begun, Time deadline);
  template <typename Answer>
  void end(PendingCall<Answer>& call, Answer answer);
  void tell_late_change();
  void tell_change();
  static Error waited_in_vain();
  static Error as_seen_by_callers(Error error);
  template <typename Answer>
  static Answer as_seen_by_callers(Answer answer) {
    if (!answer) answer = std::unexpected(as_seen_by_callers(std::move(answer.error())));
    return answer;
  }

  const std::shared_ptr<FileSystem> source_;
  const GuardOptions options_;
  LateChanges late_changes_;
  GivenUp given_up_;
  WriteRoom write_room_;
  std::atomic<uint64_t> timeouts_{0};
  std::atomic<uint64_t> refused_{0};
  std::shared_mutex callback_mutex_;
  std::function<void()> callback_;
  std::function<void(const SourceHealth&)> on_change_;
  std::shared_ptr<SourceMonitor> monitor_;  ///< set once, by create()
  Executor executor_;
};

template <typename Answer>
void Guard::note(const Answer& answer, Time begun) {
  if (answer || !is_unreachable(answer.error()))
    monitor_->succeeded();
  else
    monitor_->doubt(begun, answer.error());
}

template <typename Run>
auto Guard::call(Kind kind, const RequestSubject& subject, Extents extents, Run run) -> decltype(run()) {
  using Answer = decltype(run());
  const Time begun = std::chrono::steady_clock::now();
  const Time deadline = deadline_of(kind, begun);
  ChangeExtents changed{.all = std::move(extents), .instance = reachability().instance()};
  if (auto refused = refuse(subject, changed, deadline)) return std::unexpected(std::move(*refused));
  if (deadline == Time::max()) {
    Answer answer = run();
    note(answer, begun);
    return as_seen_by_callers(std::move(answer));
  }
  auto pending = std::make_shared<PendingCall<Answer>>();
  {
    MutexLock lock(pending->mutex);
    pending->run = std::move(run);
    pending->extents = std::move(changed);
  }
  const auto task = [self = shared_from_this(), pending, begun, deadline] {
    std::move_only_function<Answer()> request;
    std::optional<ChangeExtents> elsewhere;
    const uint64_t instance = self->reachability().instance();
    {
      MutexLock lock(pending->mutex);
      if (pending->phase == PendingCall<Answer>::Phase::given_up) return;
      pending->phase = PendingCall<Answer>::Phase::running;
      request = std::move(pending->run);
      // It begins on another root than was there when it was asked for.
      if (std::exchange(pending->extents.instance, instance) != instance) elsewhere = pending->extents;
    }
    // What the source itself waits for before it begins is not begun later.
    const RequestDeadline limited(latest_begin(begun, deadline));
    const bool may_begin = !elsewhere || self->late_changes_.wait_for(*elsewhere, Time::min());
    Answer answer = may_begin ? request() : Answer(std::unexpected(waited_in_vain()));
    request = nullptr;
    self->note(answer, begun);
    self->end(*pending, std::move(answer));
  };
  // Names of a directory count with it: each of them may hang as the directory does.
  executor_.submit(class_of(kind), task, reinterpret_cast<Executor::Subject>(subject.node));
  return wait(*pending, subject, begun, deadline);
}

template <typename Answer>
void Guard::end(PendingCall<Answer>& call, Answer answer) {
  std::optional<GivenUp::Ticket> given_up;
  std::optional<LateChanges::Ticket> late;
  {
    MutexLock lock(call.mutex);
    if (call.phase == PendingCall<Answer>::Phase::running) {
      call.answer = std::move(answer);
      call.phase = PendingCall<Answer>::Phase::ended;
      call.ended.notify_one();
      return;
    }
    given_up = call.given_up;
    late = call.late;
  }
  if (late) {
    late_changes_.remove(*late);
    const bool nothing_was_done =
        RequestDeadline::was_in_vain() && !answer && answer.error().is(std::errc::timed_out);
    if (!nothing_was_done) tell_late_change();
  }
  if (given_up) given_up_.remove(*given_up);
}

template <typename Answer>
Answer Guard::wait(PendingCall<Answer>& call, const RequestSubject& subject, Time begun, Time deadline) {
  using Phase = typename PendingCall<Answer>::Phase;
  std::move_only_function<Answer()> never_run;  // freed after the lock
  MutexLock lock(call.mutex);
  const Time half = begun + (deadline - begun) / 2;
  bool doubted = false;
  while (call.phase != Phase::ended) {
    const Time look_up = std::chrono::steady_clock::now() + kLookUp;
    call.ended.wait_until(call.mutex, std::min({deadline, doubted ? deadline : half, look_up}));
    if (call.phase == Phase::ended) break;
    const Time now = std::chrono::steady_clock::now();
    if (!doubted && now >= half) {
      doubted = true;
      monitor_->doubt(begun, Error(std::errc::timed_out));  // so that it is known at the deadline
    }
    if (now >= deadline) monitor_->timed_out(begun);
    const auto refusal = monitor_->refusal();
    if (now < deadline && !refusal) continue;
    if (call.phase == Phase::running) {
      call.given_up = given_up_.add(subject);
      if (!call.extents.all.empty()) call.late = late_changes_.add(std::move(call.extents));
    }
    if (call.phase == Phase::queued) never_run = std::move(call.run);
    call.phase = Phase::given_up;
    ++timeouts_;
    return std::unexpected(refusal ? *refusal : Error(std::errc::timed_out, "the source does not answer"));
  }
  return as_seen_by_callers(std::move(*call.answer));
}

}  // namespace cachefs
