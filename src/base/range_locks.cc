#include "base/range_locks.h"

#include <algorithm>

#include "base/check.h"

namespace cachefs {
namespace {

bool conflicts(const HeldLock& one, const HeldLock& other) {
  return one.owner.family == other.owner.family && !(one.owner == other.owner) &&
         one.range.overlaps(other.range) &&
         (one.mode == LockMode::exclusive || other.mode == LockMode::exclusive);
}

/// What is one lock if the ranges touch.
bool are_alike(const HeldLock& one, const HeldLock& other) {
  return one.owner == other.owner && one.mode == other.mode && one.process == other.process;
}

bool touch(const LockRange& one, const LockRange& other) {
  return one.begin <= other.end && other.begin <= one.end;
}

}  // namespace

std::optional<HeldLock> RangeLocks::conflict(const HeldLock& wanted) const {
  const auto found =
      std::ranges::find_if(held_, [&](const HeldLock& held) { return conflicts(held, wanted); });
  return found == held_.end() ? std::nullopt : std::optional(*found);
}

void RangeLocks::set(const HeldLock& lock) {
  if (lock.range.empty()) return;
  cut(lock.owner, lock.range);
  if (lock.mode != LockMode::none) join(lock);
}

void RangeLocks::cut(const LockOwner& owner, const LockRange& range) {
  std::vector<HeldLock> rest;
  rest.reserve(held_.size() + 1);
  for (const HeldLock& held : held_) {
    if (!(held.owner == owner) || !held.range.overlaps(range)) {
      rest.push_back(held);
      continue;
    }
    HeldLock before = held, after = held;
    before.range.end = std::min(held.range.end, range.begin);
    after.range.begin = std::max(held.range.begin, range.end);
    if (!before.range.empty()) rest.push_back(before);
    if (!after.range.empty()) rest.push_back(after);
  }
  held_ = std::move(rest);
  std::ranges::sort(held_, {}, [](const HeldLock& held) { return held.range.begin; });
}

void RangeLocks::join(HeldLock lock) {
  std::erase_if(held_, [&](const HeldLock& held) {
    if (!are_alike(held, lock) || !touch(held.range, lock.range)) return false;
    lock.range = {.begin = std::min(held.range.begin, lock.range.begin),
                  .end = std::max(held.range.end, lock.range.end)};
    return true;
  });
  const auto place = std::ranges::upper_bound(held_, lock.range.begin, {},
                                              [](const HeldLock& held) { return held.range.begin; });
  held_.insert(place, lock);
}

void RangeLocks::release(const LockOwner& owner) {
  std::erase_if(held_, [&](const HeldLock& held) { return held.owner == owner; });
}

bool RangeLocks::holds_any(const LockOwner& owner) const {
  return std::ranges::any_of(held_, [&](const HeldLock& held) { return held.owner == owner; });
}

std::vector<HeldLock> RangeLocks::parts(const LockOwner& owner, const LockRange& range) const {
  std::vector<HeldLock> parts;
  LockRange rest = range;
  const auto gap_until = [&](uint64_t end) {
    if (end > rest.begin)
      parts.push_back({.owner = owner, .mode = LockMode::none, .range = {.begin = rest.begin, .end = end}});
  };
  for (const HeldLock& held : held_) {
    if (!(held.owner == owner) || !held.range.overlaps(rest)) continue;
    gap_until(held.range.begin);
    HeldLock part = held;
    part.range = {.begin = std::max(held.range.begin, rest.begin), .end = std::min(held.range.end, rest.end)};
    rest.begin = part.range.end;
    parts.push_back(part);
  }
  gap_until(rest.end);
  return parts;
}

void RangeLocks::check_invariants() const {
  for (size_t i = 0; i < held_.size(); ++i) {
    CACHEFS_CHECK(!held_[i].range.empty() && held_[i].mode != LockMode::none, "L1: no range is empty");
    for (size_t j = i + 1; j < held_.size(); ++j) {
      const bool same_owner = held_[i].owner == held_[j].owner;
      CACHEFS_CHECK(!same_owner || !held_[i].range.overlaps(held_[j].range),
                    "L1: ranges of one owner do not overlap");
      CACHEFS_CHECK(!are_alike(held_[i], held_[j]) || !touch(held_[i].range, held_[j].range),
                    "L2: alike ranges that touch are one");
    }
  }
}

}  // namespace cachefs
