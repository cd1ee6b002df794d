#include "base/executor.h"

#include <algorithm>
#include <deque>
#include <system_error>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

namespace cachefs {
namespace {

using SteadyTime = std::chrono::steady_clock::time_point;

struct Queued {
  Executor::Task task;
  Executor::Subject subject;
  uint64_t number = 0;     ///< in the order of their arrival
  bool may_go_on = false;  ///< was held back, and has waited enough
};

struct ClassState {
  std::deque<Queued> queue;
  uint32_t working = 0;
  uint32_t waiting = 0;
  uint32_t held_back = 0;
};

struct HeldBack {
  ClassState* of;
  Queued queued;
};

/// A task that runs, on its thread's stack; linked with the others in the order of their beginning.
struct Running {
  ClassState* of = nullptr;
  Executor::Subject subject = Executor::kNoSubject;
  SteadyTime since;
  bool waits = false;
  Running* older = nullptr;
  Running* newer = nullptr;
};

/// What a task holds may take long to let go of: a file that is closed, for one. False if there was no thread
/// for it, so that it was let go of here.
template <typename Dropped>
bool drop_apart(Dropped dropped) {
  try {
    std::thread([held = std::move(dropped)] {}).detach();
    return true;
  } catch (const std::system_error&) {
    return false;
  }
}

}  // namespace

class Executor::State : public std::enable_shared_from_this<Executor::State> {
 public:
  explicit State(const ExecutorLimits& wanted)
      : limits_{.working = std::max<uint32_t>(wanted.working, kOperationClassCount),
                .waiting = wanted.waiting},
        share_(std::max<uint32_t>(limits_.working / 8, 1)),
        of_one_max_(std::max<uint32_t>(limits_.waiting / 16, 1)) {}

  void submit(OperationClass operation_class, Task task, Subject subject) EXCLUDES(mutex_);
  void drain() EXCLUDES(mutex_);
  /// Drops what is queued; returns once no thread is left, or at `deadline`.
  void end(SteadyTime deadline) EXCLUDES(mutex_);
  [[nodiscard]] Load load(OperationClass operation_class) const EXCLUDES(mutex_);
  [[nodiscard]] uint32_t threads() const EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    return threads_;
  }
  [[nodiscard]] uint32_t share() const { return share_; }
  [[nodiscard]] uint32_t capacity() const { return limits_.working + limits_.waiting; }

 private:
  void work() EXCLUDES(mutex_);
  bool wait_for_work() REQUIRES(mutex_);
  void run_next(ClassState& state) REQUIRES(mutex_);
  void supervise() EXCLUDES(mutex_);
  void give_places_up() REQUIRES(mutex_);
  bool start_thread(void (State::*body)()) REQUIRES(mutex_);
  void start_worker_if_wanted() REQUIRES(mutex_);
  void link(Running& running) REQUIRES(mutex_);
  void unlink(const Running& running) REQUIRES(mutex_);
  ClassState* next_runnable() REQUIRES(mutex_);
  [[nodiscard]] bool may_run(const ClassState& state) const REQUIRES(mutex_);
  [[nodiscard]] uint32_t reserved() const REQUIRES(mutex_);
  [[nodiscard]] bool is_idle() const REQUIRES(mutex_) { return queued_ == 0 && running_ == 0; }
  [[nodiscard]] bool places_are_scarce() const REQUIRES(mutex_) { return waiting_ > limits_.waiting / 2; }
  [[nodiscard]] bool must_be_held_back(const Queued& queued) const REQUIRES(mutex_);
  [[nodiscard]] uint32_t under_way(Subject subject) const REQUIRES(mutex_);
  void hold_back(ClassState& state, Queued queued) REQUIRES(mutex_);
  bool enqueue(ClassState& state, Task& task, Subject subject) REQUIRES(mutex_);
  void let_others_go_on(Subject subject) REQUIRES(mutex_);

  const ExecutorLimits limits_;
  const uint32_t share_;
  const uint32_t of_one_max_;  ///< of a subject, while places are scarce
  mutable Mutex mutex_;
  ConditionVariable work_waits_;
  ConditionVariable backlog_;
  ConditionVariable changed_;  ///< all is idle, or a thread has ended
  std::array<ClassState, kOperationClassCount> classes_ GUARDED_BY(mutex_);
  Running* oldest_ GUARDED_BY(mutex_) = nullptr;  ///< of those that work: who waits is not linked
  Running* newest_ GUARDED_BY(mutex_) = nullptr;
  std::unordered_map<Subject, uint32_t> waiting_of_ GUARDED_BY(mutex_);
  std::unordered_map<Subject, std::deque<HeldBack>> held_back_ GUARDED_BY(mutex_);  ///< none is empty
  uint32_t threads_ GUARDED_BY(mutex_) = 0;                                         ///< workers
  uint32_t idle_threads_ GUARDED_BY(mutex_) = 0;
  uint32_t queued_ GUARDED_BY(mutex_) = 0;  ///< without those that are held back
  uint32_t running_ GUARDED_BY(mutex_) = 0;
  uint32_t waiting_ GUARDED_BY(mutex_) = 0;
  uint64_t next_number_ GUARDED_BY(mutex_) = 0;
  size_t next_class_ GUARDED_BY(mutex_) = 0;  ///< where the search for work begins, so that none is favoured
  bool supervised_ GUARDED_BY(mutex_) = false;
  bool stopping_ GUARDED_BY(mutex_) = false;
};

void Executor::State::submit(OperationClass operation_class, Task task, Subject subject) {
  bool stopping = false;
  {
    MutexLock lock(mutex_);
    stopping = stopping_;
    if (!stopping && enqueue(classes_[static_cast<size_t>(operation_class)], task, subject)) return;
  }
  if (stopping)
    drop_apart(std::move(task));
  else
    task();
}

/// False: there is no thread, and none to be had; the task is the caller's as before.
bool Executor::State::enqueue(ClassState& state, Task& task, Subject subject) {
  state.queue.push_back({std::move(task), subject, next_number_++});
  ++queued_;
  start_worker_if_wanted();
  if (threads_ == 0) {
    task = std::move(state.queue.back().task);
    state.queue.pop_back();
    --queued_;
    return false;
  }
  if (idle_threads_ != 0) work_waits_.notify_one();
  // An idle thread is of no use to a class that has all its places taken.
  const bool starts = queued_ <= idle_threads_ && may_run(state);
  if (limits_.waiting == 0 || starts) return true;
  if (supervised_)
    backlog_.notify_one();
  else
    supervised_ = start_thread(&State::supervise);
  return true;
}

/// A thread that waits may have been woken already for an earlier task: there must be one for each task that
/// is queued, as far as they may run.
void Executor::State::start_worker_if_wanted() {
  if (queued_ > idle_threads_ && threads_ < limits_.working + waiting_ && start_thread(&State::work))
    ++threads_;
}

bool Executor::State::start_thread(void (State::*body)()) {
  try {
    std::thread([state = shared_from_this(), body] { ((*state).*body)(); }).detach();
    return true;
  } catch (const std::system_error&) {
    return false;  // the threads that there are get to the task later
  }
}

void Executor::State::drain() {
  MutexLock lock(mutex_);
  while (!is_idle()) changed_.wait(mutex_);
}

void Executor::State::end(SteadyTime deadline) {
  std::vector<Task> dropped;  // after the lock
  MutexLock lock(mutex_);
  stopping_ = true;
  for (ClassState& state : classes_) {
    for (Queued& queued : std::exchange(state.queue, {})) dropped.push_back(std::move(queued.task));
  }
  for (auto& [subject, waiting] : std::exchange(held_back_, {})) {
    for (HeldBack& held : waiting) dropped.push_back(std::move(held.queued.task));
  }
  queued_ = 0;
  work_waits_.notify_all();
  backlog_.notify_all();
  if (deadline != SteadyTime::max()) drop_apart(std::move(dropped));
  while ((threads_ != 0 || supervised_) && std::chrono::steady_clock::now() < deadline)
    changed_.wait_until(mutex_, deadline);
}

Executor::Load Executor::State::load(OperationClass operation_class) const {
  MutexLock lock(mutex_);
  const ClassState& state = classes_[static_cast<size_t>(operation_class)];
  return {.queued = static_cast<uint32_t>(state.queue.size()) + state.held_back,
          .working = state.working,
          .waiting = state.waiting};
}

void Executor::State::work() {
  mutex_.lock();
  while (!stopping_) {
    if (ClassState* const state = next_runnable()) {
      run_next(*state);
    } else if (!wait_for_work()) {
      break;
    }
  }
  --threads_;
  changed_.notify_all();
  mutex_.unlock();
}

/// False if the thread is not needed any more.
bool Executor::State::wait_for_work() {
  ++idle_threads_;
  const auto waited = work_waits_.wait_until(mutex_, std::chrono::steady_clock::now() + kIdle);
  --idle_threads_;
  const bool spare = threads_ > kOperationClassCount || threads_ > limits_.working + waiting_;
  return waited == std::cv_status::no_timeout || !spare || queued_ != 0;
}

void Executor::State::run_next(ClassState& state) {
  const Subject subject = state.queue.front().subject;
  Task task = std::move(state.queue.front().task);
  state.queue.pop_front();
  --queued_;
  ++running_;
  ++state.working;
  Running self{.of = &state, .subject = subject, .since = std::chrono::steady_clock::now()};
  link(self);
  mutex_.unlock();
  task();
  task = nullptr;  // what it holds may take long to free, and may submit more
  mutex_.lock();
  --running_;
  if (self.waits) {
    --state.waiting;
    --waiting_;
    const auto of_subject = waiting_of_.find(subject);
    if (--of_subject->second == 0) waiting_of_.erase(of_subject);
  } else {
    unlink(self);
    --state.working;
  }
  if (!held_back_.empty()) let_others_go_on(subject);
  if (is_idle()) changed_.notify_all();
}

/// Ends with the executor. Works only while more is queued than there are places for.
void Executor::State::supervise() {
  mutex_.lock();
  while (!stopping_) {
    if (queued_ == 0) {
      backlog_.wait(mutex_);
      continue;
    }
    const bool full = oldest_ == nullptr || waiting_ == limits_.waiting;
    backlog_.wait_until(mutex_, (full ? std::chrono::steady_clock::now() : oldest_->since) + kPatience);
    if (queued_ != 0) give_places_up();
  }
  supervised_ = false;
  changed_.notify_all();
  mutex_.unlock();
}

/// Whoever has run for long waits from now on.
void Executor::State::give_places_up() {
  const SteadyTime begun_before = std::chrono::steady_clock::now() - kPatience;
  while (oldest_ != nullptr && oldest_->since <= begun_before && waiting_ < limits_.waiting) {
    Running& running = *oldest_;
    unlink(running);
    running.waits = true;
    --running.of->working;
    ++running.of->waiting;
    ++waiting_;
    ++waiting_of_[running.subject];
    start_worker_if_wanted();
    work_waits_.notify_one();
  }
}

void Executor::State::link(Running& running) {
  running.older = newest_;
  (newest_ != nullptr ? newest_->newer : oldest_) = &running;
  newest_ = &running;
}

void Executor::State::unlink(const Running& running) {
  (running.older != nullptr ? running.older->newer : oldest_) = running.newer;
  (running.newer != nullptr ? running.newer->older : newest_) = running.older;
}

ClassState* Executor::State::next_runnable() {
  for (size_t i = 0; i < kOperationClassCount; ++i) {
    ClassState& state = classes_[(next_class_ + i) % kOperationClassCount];
    if (!may_run(state)) continue;
    while (!state.queue.empty() && must_be_held_back(state.queue.front())) {
      hold_back(state, std::move(state.queue.front()));
      state.queue.pop_front();
    }
    if (state.queue.empty()) continue;
    next_class_ = (next_class_ + i + 1) % kOperationClassCount;
    return &state;
  }
  return nullptr;
}

bool Executor::State::must_be_held_back(const Queued& queued) const {
  if (!places_are_scarce() || queued.subject == kNoSubject || queued.may_go_on) return false;
  return held_back_.contains(queued.subject) || under_way(queued.subject) >= of_one_max_;
}

uint32_t Executor::State::under_way(Subject subject) const {
  const auto waiting = waiting_of_.find(subject);
  uint32_t count = waiting == waiting_of_.end() ? 0 : waiting->second;
  for (const Running* running = oldest_; running != nullptr; running = running->newer) {
    if (running->subject == subject) ++count;
  }
  return count;
}

/// In the order of arrival, also what is held back for a second time.
void Executor::State::hold_back(ClassState& state, Queued queued) {
  std::deque<HeldBack>& all = held_back_[queued.subject];
  const auto later = [number = queued.number](const HeldBack& held) { return held.queued.number > number; };
  all.insert(std::find_if(all.begin(), all.end(), later), {&state, std::move(queued)});
  ++state.held_back;
  --queued_;
}

/// After a task has ended. While places are scarce, another one takes its place as soon as there are not too
/// many, whose end lets the next one go on (E3). Else all are looked at again when they begin.
void Executor::State::let_others_go_on(Subject subject) {
  const auto held = held_back_.find(subject);
  if (held == held_back_.end()) return;
  std::deque<HeldBack>& all = held->second;
  const bool scarce = places_are_scarce();
  if (scarce && under_way(subject) >= of_one_max_) return;
  for (size_t count = scarce ? 1 : all.size(); count != 0; --count) {
    HeldBack& first = all.front();
    first.queued.may_go_on = scarce;
    --first.of->held_back;
    first.of->queue.push_back(std::move(first.queued));
    all.pop_front();
    ++queued_;
    start_worker_if_wanted();
    work_waits_.notify_one();
  }
  if (all.empty()) held_back_.erase(held);
  backlog_.notify_one();
}

bool Executor::State::may_run(const ClassState& state) const {
  return state.working < share_ || reserved() < limits_.working;
}

uint32_t Executor::State::reserved() const {
  uint32_t sum = 0;
  for (const ClassState& state : classes_) sum += std::max(state.working, share_);
  return sum;
}

Executor::Executor(const ExecutorLimits& limits) : state_(std::make_shared<State>(limits)) {}

Executor::~Executor() {
  if (left_) return;
  drain();
  state_->end(SteadyTime::max());
}

void Executor::submit(OperationClass operation_class, Task task, Subject subject) {
  state_->submit(operation_class, std::move(task), subject);
}

void Executor::drain() { state_->drain(); }

void Executor::leave(std::chrono::milliseconds grace) {
  left_ = true;
  state_->end(std::chrono::steady_clock::now() + grace);
}

Executor::Load Executor::load(OperationClass operation_class) const { return state_->load(operation_class); }
uint32_t Executor::threads() const { return state_->threads(); }
uint32_t Executor::share() const { return state_->share(); }
uint32_t Executor::capacity() const { return state_->capacity(); }

}  // namespace cachefs
