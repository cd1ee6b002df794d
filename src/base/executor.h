// Threads for calls that may wait on the source, so that whoever hands them over never does.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>

#include "base/mutex.h"

namespace cachefs {

/// Kinds of work that must not stop each other.
enum class OperationClass : uint8_t { metadata, read, write, name_change };
inline constexpr size_t kOperationClassCount = 4;

struct ExecutorLimits {
  uint32_t working = 64;  ///< tasks that run at once, at least one for each class
  uint32_t waiting = 0;   ///< further ones that take so long that they must be waiting for something
};

/// Runs tasks on threads, made when needed and ended when idle. Each class has a share of the working places
/// (an eighth, at least one) that no other class ever uses; the rest goes to whoever comes first. So tasks of
/// one class that all hang leave the others their share.
///
/// A task that has run for kPatience while others want its place is taken to be waiting: it leaves the place
/// to another task, as long as there are no more than `waiting` of that kind. So a few hundred tasks that
/// hang do not stop those that do not. Tasks of one class start in the order of their submission.
///
/// A subject (a file, for one) of which all tasks hang cannot take all of these places: while more than half
/// of them are taken, no task of a subject begins beside limits.waiting / 16 that have begun. It is held back
/// until one of those ends.
///
/// Invariant E1: the sum over all classes of max(working, share) is at most limits.working.
/// Invariant E2: there are at most limits.waiting tasks that wait, and threads for all of these and no more.
/// Invariant E3: of a subject of which tasks are held back some task is under way or about to be.
///
/// Thread-safe. Tasks must not throw; they may submit further tasks.
class Executor {
 public:
  using Task = std::move_only_function<void()>;
  /// What a task is about; kNoSubject: about nothing that others are about as well.
  using Subject = uint64_t;
  static constexpr Subject kNoSubject = 0;
  static constexpr std::chrono::milliseconds kPatience{20};
  static constexpr std::chrono::seconds kIdle{10};

  explicit Executor(const ExecutorLimits& limits);
  explicit Executor(uint32_t working) : Executor(ExecutorLimits{.working = working}) {}
  /// Runs what was submitted to its end first, unless leave() was called.
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  /// Never blocks, never drops. (Only if the system refuses the very first thread, the task runs in the
  /// caller.)
  void submit(OperationClass operation_class, Task task, Subject subject = kNoSubject);

  /// Returns once nothing is queued and nothing runs.
  void drain();

  /// For when some tasks may never end: those that still run after `grace` are left to themselves, and the
  /// destructor waits for nothing. What is queued is dropped, and what is submitted from now on.
  void leave(std::chrono::milliseconds grace);

  struct Load {
    uint32_t queued = 0;
    uint32_t working = 0;
    uint32_t waiting = 0;
  };
  [[nodiscard]] Load load(OperationClass operation_class) const;
  [[nodiscard]] uint32_t threads() const;
  [[nodiscard]] uint32_t share() const;
  [[nodiscard]] uint32_t capacity() const;  ///< tasks that run or wait at once

 private:
  class State;
  const std::shared_ptr<State> state_;  ///< shared with the threads, of which some may outlive this
  bool left_ = false;
};

}  // namespace cachefs
