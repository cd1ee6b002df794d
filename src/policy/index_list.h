// A doubly linked list of slots in a flat array.
#pragma once

#include <cstdint>
#include <vector>

#include "base/check.h"
#include "cachefs/eviction_policy.h"

namespace cachefs {

/// Every slot is in the list once or not at all. O(1) for all but resize and check_invariants.
class IndexList {
 public:
  void resize(uint32_t count) {
    if (count == 0) {
      std::vector<Link>().swap(links_);  // assigning {} would keep the memory
      return;
    }
    links_.reserve(count);  // exactly: bytes_for() has been reserved, not the double
    links_.resize(count);
  }
  static size_t bytes_for(uint32_t count) { return size_t{count} * sizeof(Link); }

  void push_front(SlotIndex slot) {
    Link& link = at(slot);
    CACHEFS_CHECK(!link.linked, "IndexList: slot is in the list already");
    link = {.previous = kNoSlot, .next = front_, .linked = true};
    if (front_ != kNoSlot) at(front_).previous = slot;
    front_ = slot;
    if (back_ == kNoSlot) back_ = slot;
  }

  void remove(SlotIndex slot) {
    Link& link = at(slot);
    CACHEFS_CHECK(link.linked, "IndexList: slot is not in the list");
    (link.previous == kNoSlot ? front_ : at(link.previous).next) = link.next;
    (link.next == kNoSlot ? back_ : at(link.next).previous) = link.previous;
    link = {};
  }

  [[nodiscard]] SlotIndex back() const { return back_; }
  [[nodiscard]] SlotIndex front() const { return front_; }
  /// The neighbour nearer to the front, or kNoSlot.
  [[nodiscard]] SlotIndex before(SlotIndex slot) const {
    return links_[static_cast<uint32_t>(slot)].previous;
  }

  void check_invariants() const {
    SlotIndex previous = kNoSlot;
    size_t seen = 0;
    for (SlotIndex slot = front_; slot != kNoSlot; slot = links_[static_cast<uint32_t>(slot)].next) {
      const Link& link = links_[static_cast<uint32_t>(slot)];
      CACHEFS_CHECK(link.linked && link.previous == previous, "L1: neighbours point at each other");
      CACHEFS_CHECK(++seen <= links_.size(), "L2: the list has no cycle");
      previous = slot;
    }
    CACHEFS_CHECK(back_ == previous, "L3: back is the last slot");
  }

 private:
  struct Link {
    SlotIndex previous = kNoSlot;
    SlotIndex next = kNoSlot;
    bool linked = false;
  };
  Link& at(SlotIndex slot) { return links_[static_cast<uint32_t>(slot)]; }

  std::vector<Link> links_;
  SlotIndex front_ = kNoSlot;
  SlotIndex back_ = kNoSlot;
};

}  // namespace cachefs
