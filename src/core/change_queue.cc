#include "core/change_queue.h"

namespace cachefs {

bool ChangeTurn::conflicts_with(const ChangeTurn& other) const {
  if (alone_ || other.alone_ || kind_ != other.kind_ || kind_ == Kind::change) return true;
  return kind_ == Kind::write && overlaps(other.begin_, other.end_);
}

bool ChangeQueue::enter_behind_others(ChangeTurn& turn, const Clock& clock) {
  turn.earlier_ = last_;
  last_->later_ = &turn;
  last_ = &turn;
  if (!may_enter(turn, clock)) return false;
  let_in(turn, clock);
  return true;
}

bool ChangeQueue::wait(ChangeTurn& turn, Mutex& mutex, const Clock& clock, Time deadline) {
  ConditionVariable wake;
  turn.wake_ = &wake;
  while (!turn.inside_) {
    if (deadline == Time::max()) {
      wake.wait(mutex);
    } else if (std::chrono::steady_clock::now() >= deadline) {
      leave(turn, clock);
      return false;
    } else {
      wake.wait_until(mutex, deadline);
    }
  }
  turn.wake_ = nullptr;
  return true;
}

void ChangeQueue::leave_others(ChangeTurn& turn, const Clock& clock) {
  (turn.earlier_ != nullptr ? turn.earlier_->later_ : first_) = turn.later_;
  (turn.later_ != nullptr ? turn.later_->earlier_ : last_) = turn.earlier_;
  turn.earlier_ = turn.later_ = nullptr;
  if (turn.inside_) --inside_;
  turn.inside_ = false;
  let_in_who_may(clock);
}

bool ChangeQueue::changes(uint64_t begin, uint64_t end) const {
  for (const ChangeTurn* turn = first_; turn != nullptr; turn = turn->later_) {
    if (turn->inside_ && turn->kind_ != ChangeTurn::Kind::no_change && turn->overlaps(begin, end))
      return true;
  }
  return false;
}

bool ChangeQueue::may_enter(const ChangeTurn& turn, const Clock& clock) const {
  for (const ChangeTurn* other = turn.earlier_; other != nullptr; other = other->earlier_) {
    if (turn.conflicts_with(*other)) return false;
  }
  return turn.kind_ != ChangeTurn::Kind::write || inside_ == 0 || !takes_no_more(clock);
}

bool ChangeQueue::takes_no_more(const Clock& clock) const {
  if (group_writes_ < 2) return false;
  return group_writes_ >= kGroupWrites || clock.now() - group_joined_ >= kGroupTime;
}

void ChangeQueue::let_in_who_may(const Clock& clock) {
  for (ChangeTurn* turn = first_; turn != nullptr; turn = turn->later_) {
    if (!turn->inside_) {
      if (may_enter(*turn, clock)) {
        let_in(*turn, clock);
      } else if (turn->kind_ == ChangeTurn::Kind::change) {
        return;  // all who came later are in conflict with it
      }
    }
    if (turn->inside_ && turn->alone_) return;
  }
}

}  // namespace cachefs
