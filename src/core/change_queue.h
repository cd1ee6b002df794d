// How those who change one file wait for each other.
#pragma once

#include <chrono>
#include <cstdint>

#include "base/mutex.h"
#include "cachefs/clock.h"

namespace cachefs {

/// What somebody wants to do with a file. The ChangeQueue points to it from enter() to leave().
class ChangeTurn {
 public:
  enum class Kind : uint8_t {
    change,     ///< of the file as a whole: nobody else meanwhile
    write,      ///< of bytes within the file: beside writes of other bytes
    no_change,  ///< of others: beside those who want the same
  };

  explicit ChangeTurn(Kind what, uint64_t from = 0, uint64_t until = UINT64_MAX)
      : kind_(what), begin_(from), end_(until) {}
  ChangeTurn(const ChangeTurn&) = delete;
  ChangeTurn& operator=(const ChangeTurn&) = delete;

  [[nodiscard]] Kind kind() const { return kind_; }
  /// A write that entered beside others: not the first of its group.
  [[nodiscard]] bool joined() const { return joined_; }
  /// Asked by the thread whose turn it is.
  [[nodiscard]] bool inside() const { return inside_; }
  [[nodiscard]] bool overlaps(uint64_t from, uint64_t until) const { return begin_ < until && from < end_; }

 private:
  friend class ChangeQueue;
  [[nodiscard]] bool conflicts_with(const ChangeTurn& other) const;

  const Kind kind_;
  const uint64_t begin_;  ///< of a write; else all bytes
  const uint64_t end_;
  bool inside_ = false;
  bool alone_ = false;  ///< while it opens its group
  bool joined_ = false;
  ConditionVariable* wake_ = nullptr;  ///< of one who waits
  ChangeTurn* earlier_ = nullptr;
  ChangeTurn* later_ = nullptr;
};

/// The turns of one file, in the order of their arrival. One enters once it is in conflict with nobody who
/// came earlier, whether he is inside or waits himself: so nobody is overtaken by one he is in conflict with,
/// and nobody waits for ever.
///
/// Writes that are inside at the same time, and those who join while they are, are a **group**. Its first is
/// alone until open_group(). A group takes in kGroupWrites writes, and for kGroupTime from the second one on;
/// who comes then waits until all have left.
///
/// Guarded by the mutex of its owner.
class ChangeQueue {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr uint32_t kGroupWrites = 128;
  static constexpr std::chrono::nanoseconds kGroupTime = std::chrono::seconds(1);

  /// True if it may go ahead at once. Else wait() is to be called.
  [[nodiscard]] bool enter(ChangeTurn& turn, const Clock& clock) {
    if (first_ != nullptr) return enter_behind_others(turn, clock);
    first_ = last_ = &turn;
    let_in(turn, clock);
    return true;
  }
  /// Until it is its turn. False if that has not come by `deadline`: then it has left.
  [[nodiscard]] bool wait(ChangeTurn& turn, Mutex& mutex, const Clock& clock, Time deadline) REQUIRES(mutex);
  void leave(ChangeTurn& turn, const Clock& clock) {
    if (first_ != &turn || last_ != &turn) {
      leave_others(turn, clock);
      return;
    }
    first_ = last_ = nullptr;
    inside_ = 0;
    turn.inside_ = false;
  }
  /// The first of a group lets others in.
  void open_group(ChangeTurn& turn, const Clock& clock) {
    turn.alone_ = false;
    if (turn.later_ != nullptr) let_in_who_may(clock);
  }

  /// Whether one that is inside changes some of these bytes.
  [[nodiscard]] bool changes(uint64_t begin, uint64_t end) const;
  [[nodiscard]] bool empty() const { return first_ == nullptr; }

 private:
  /// Of one that waits, all earlier ones being known.
  [[nodiscard]] bool may_enter(const ChangeTurn& turn, const Clock& clock) const;
  [[nodiscard]] bool takes_no_more(const Clock& clock) const;
  [[nodiscard]] bool enter_behind_others(ChangeTurn& turn, const Clock& clock);
  void leave_others(ChangeTurn& turn, const Clock& clock);
  void let_in(ChangeTurn& turn, const Clock& clock) {
    turn.inside_ = true;
    if (turn.kind_ == ChangeTurn::Kind::write) {
      turn.joined_ = inside_ != 0;
      turn.alone_ = !turn.joined_;
      group_writes_ = turn.joined_ ? group_writes_ + 1 : 1;
      if (group_writes_ == 2) group_joined_ = clock.now();
    }
    ++inside_;
    if (turn.wake_ != nullptr) turn.wake_->notify_one();
  }
  /// All who may now.
  void let_in_who_may(const Clock& clock);

  ChangeTurn* first_ = nullptr;
  ChangeTurn* last_ = nullptr;
  uint32_t inside_ = 0;
  uint32_t group_writes_ = 0;
  MonotonicTime group_joined_;  ///< when its second write came
};

}  // namespace cachefs
