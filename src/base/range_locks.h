// The advisory locks of one file: which owner holds which bytes.
#pragma once

#include <optional>
#include <vector>

#include "cachefs/lock_store.h"

namespace cachefs {

/// Not thread-safe.
///
/// Invariant L1: no range is empty, and the ranges of one owner do not overlap.
/// Invariant L2: ranges of one owner, mode and process that touch each other are one.
class RangeLocks {
 public:
  /// A lock of somebody else that `wanted` conflicts with: the one that begins first. nullopt: there is none.
  [[nodiscard]] std::optional<HeldLock> conflict(const HeldLock& wanted) const;

  /// Makes the owner hold the range in that mode, or (LockMode::none) not at all, whatever others hold.
  void set(const HeldLock& lock);

  /// Takes all of the owner's locks away.
  void release(const LockOwner& owner);

  [[nodiscard]] bool holds_any(const LockOwner& owner) const;
  /// What the owner holds of `range`, from its begin to its end, with LockMode::none where that is nothing.
  [[nodiscard]] std::vector<HeldLock> parts(const LockOwner& owner, const LockRange& range) const;
  [[nodiscard]] bool empty() const { return held_.empty(); }
  [[nodiscard]] const std::vector<HeldLock>& all() const { return held_; }  ///< in the order of their begin

  void check_invariants() const;

 private:
  void cut(const LockOwner& owner, const LockRange& range);
  void join(HeldLock lock);

  std::vector<HeldLock> held_;
};

}  // namespace cachefs
