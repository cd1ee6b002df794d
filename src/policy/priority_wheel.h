// Slots in the order of a priority that only grows.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/check.h"
#include "cachefs/eviction_policy.h"

namespace cachefs {

/// A calendar queue: a bucket for each of the next kSpan priorities above the floor, which is the priority of
/// what was taken last. Among equals the least recently placed one is first. O(1) but for resize and
/// check_invariants.
class PriorityWheel {
 public:
  static constexpr uint64_t kSpan = 1024;

  void resize(uint32_t count) {
    if (count == 0) {
      std::vector<Node>().swap(nodes_);
      return;
    }
    nodes_.reserve(count);
    nodes_.resize(count);
  }
  static size_t bytes_for(uint32_t count) { return size_t{count} * sizeof(Node); }

  [[nodiscard]] uint64_t floor() const { return floor_; }
  /// `above`: what is added to the floor; kSpan - 1 at most counts.
  void place(SlotIndex slot, uint64_t above) { link(slot, floor_ + std::min(above, kSpan - 1)); }
  void remove(SlotIndex slot) {
    Node& node = at(slot);
    CACHEFS_CHECK(node.placed, "PriorityWheel: the slot has no place");
    Ends& ends = bucket(node.priority);
    (node.previous == kNoSlot ? ends.front : at(node.previous).next) = node.next;
    (node.next == kNoSlot ? ends.back : at(node.next).previous) = node.previous;
    if (ends.front == kNoSlot) occupied_[node.priority % kSpan / 64] &= ~(1ULL << (node.priority % 64));
    node.placed = false;
    --size_;
  }

  /// The lowest evictable entry; the floor rises to it. Those below it that may not leave now are put beside
  /// it, as the last of their kind, so that the next search does not pass them again: O(1) amortised.
  std::optional<SlotIndex> lowest_evictable(const Evictable& evictable) {
    SlotIndex passed = kNoSlot;  // linked through next
    std::optional<SlotIndex> found;
    uint64_t priority = floor_;
    while (size_ != 0 && !found) {
      const SlotIndex slot = lowest();
      priority = at(slot).priority;
      if (evictable(slot)) {
        found = slot;
        break;
      }
      remove(slot);
      at(slot).next = passed;
      passed = slot;
    }
    if (found) floor_ = priority;
    while (passed != kNoSlot) {
      const SlotIndex next = at(passed).next;
      link(passed, priority);
      passed = next;
    }
    return found;
  }

  void check_invariants() const {
    uint32_t placed = 0;
    for (uint64_t i = 0; i < kSpan; ++i) {
      SlotIndex previous = kNoSlot;
      for (SlotIndex slot = buckets_[i].front; slot != kNoSlot; slot = at(slot).next) {
        const Node& node = at(slot);
        CACHEFS_CHECK(node.previous == previous && node.placed, "W1: neighbours point at each other");
        CACHEFS_CHECK(node.priority % kSpan == i && node.priority >= floor_ && node.priority < floor_ + kSpan,
                      "W2: an entry is in the bucket of its priority");
        CACHEFS_CHECK(++placed <= size_, "W3: a bucket has no cycle");
        previous = slot;
      }
      CACHEFS_CHECK(buckets_[i].back == previous, "W4: the back is the last entry");
      CACHEFS_CHECK(((occupied_[i / 64] >> (i % 64) & 1) != 0) == (previous != kNoSlot),
                    "W5: a bucket is marked if and only if it has an entry");
    }
    CACHEFS_CHECK(placed == size_, "W6: every entry is in a bucket");
  }

 private:
  struct Node {
    uint64_t priority = 0;
    SlotIndex previous = kNoSlot;
    SlotIndex next = kNoSlot;
    bool placed = false;
  };
  struct Ends {
    SlotIndex front = kNoSlot;
    SlotIndex back = kNoSlot;
  };

  Node& at(SlotIndex slot) { return nodes_[static_cast<uint32_t>(slot)]; }
  const Node& at(SlotIndex slot) const { return nodes_[static_cast<uint32_t>(slot)]; }
  Ends& bucket(uint64_t priority) { return buckets_[priority % kSpan]; }

  void link(SlotIndex slot, uint64_t priority) {
    Node& node = at(slot);
    CACHEFS_CHECK(!node.placed, "PriorityWheel: the slot has a place already");
    Ends& ends = bucket(priority);
    node = {.priority = priority, .previous = kNoSlot, .next = ends.front, .placed = true};
    if (ends.front != kNoSlot) at(ends.front).previous = slot;
    ends.front = slot;
    if (ends.back == kNoSlot) ends.back = slot;
    occupied_[priority % kSpan / 64] |= 1ULL << (priority % 64);
    ++size_;
  }
  /// There is one.
  [[nodiscard]] SlotIndex lowest() const {
    const uint64_t start = floor_ % kSpan;
    for (uint64_t step = 0; step <= kSpan / 64; ++step) {
      const uint64_t word = (start / 64 + step) % (kSpan / 64);
      uint64_t bits = occupied_[word];
      if (step == 0) bits &= ~0ULL << (start % 64);
      if (bits != 0) return buckets_[word * 64 + static_cast<uint64_t>(std::countr_zero(bits))].back;
    }
    return kNoSlot;
  }

  std::vector<Node> nodes_;
  std::array<Ends, kSpan> buckets_;
  std::array<uint64_t, kSpan / 64> occupied_{};
  uint64_t floor_ = 0;
  uint32_t size_ = 0;
};

}  // namespace cachefs
