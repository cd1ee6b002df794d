// Slots in the order in which their time is over.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/check.h"
#include "cachefs/eviction_policy.h"

namespace cachefs {

/// A queue for each time to live. Whoever comes into one of them expires after those that are there, so that
/// the first to expire is the front of one of a few queues, and there is nothing to sort. O(1) but for resize
/// and check_invariants.
class ExpiryQueues {
 public:
  static constexpr size_t kCount = 65;  ///< times to live

  void resize(uint32_t count) {
    if (count == 0) {
      std::vector<Node>().swap(nodes_);
      return;
    }
    nodes_.reserve(count);
    nodes_.resize(count);
  }
  static size_t bytes_for(uint32_t count) { return size_t{count} * sizeof(Node); }

  /// Behind all others of its queue.
  void insert(SlotIndex slot, const Expiry& expiry) {
    link(slot, {.expiry = expiry, .behind = ends_[expiry.queue].back});
  }
  struct Place {
    Expiry expiry{};
    SlotIndex behind = kNoSlot;
  };
  /// Where another slot may take its place, once it has left and before any other change. The slot has one.
  [[nodiscard]] Place place_of(SlotIndex slot) const {
    return {.expiry = {.queue = at(slot).queue, .at = at(slot).at}, .behind = at(slot).previous};
  }
  void insert(SlotIndex slot, const Place& place) { link(slot, place); }
  /// Nothing, if it is in no queue.
  void remove(SlotIndex slot) {
    Node& node = at(slot);
    if (node.queue == kNone) return;
    Ends& ends = ends_[node.queue];
    (node.previous == kNoSlot ? ends.front : at(node.previous).next) = node.next;
    (node.next == kNoSlot ? ends.back : at(node.next).previous) = node.previous;
    node.queue = kNone;
    --size_;
  }
  [[nodiscard]] bool contains(SlotIndex slot) const { return at(slot).queue != kNone; }
  [[nodiscard]] Expiry expiry_of(SlotIndex slot) const { return place_of(slot).expiry; }
  [[nodiscard]] uint32_t size() const { return size_; }

  /// Who expires next.
  [[nodiscard]] std::optional<SlotIndex> first() const {
    std::optional<SlotIndex> best;
    for (size_t queue = 0; size_ != 0 && queue < used_; ++queue) {
      const SlotIndex front = ends_[queue].front;
      if (front != kNoSlot && (!best || at(front).at < at(*best).at)) best = front;
    }
    return best;
  }

  enum class Order : bool { any, by_expiry };
  void check_invariants(Order order) const {
    uint32_t linked = 0;
    for (size_t queue = 0; queue < kCount; ++queue) {
      SlotIndex previous = kNoSlot;
      for (SlotIndex slot = ends_[queue].front; slot != kNoSlot; slot = at(slot).next) {
        const Node& node = at(slot);
        CACHEFS_CHECK(node.queue == queue && node.previous == previous, "X1: neighbours point at each other");
        CACHEFS_CHECK(++linked <= size_, "X2: there are as many entries as it says");
        CACHEFS_CHECK(order == Order::any || previous == kNoSlot || at(previous).at <= node.at,
                      "X3: a queue is in the order of expiry");
        previous = slot;
      }
      CACHEFS_CHECK(ends_[queue].back == previous, "X4: the back is the last entry");
    }
    CACHEFS_CHECK(linked == size_, "X2: there are as many entries as it says");
  }

 private:
  static constexpr uint8_t kNone = kCount;
  struct Node {
    MonotonicTime at{};
    SlotIndex previous = kNoSlot;
    SlotIndex next = kNoSlot;
    uint8_t queue = kNone;
  };
  struct Ends {
    SlotIndex front = kNoSlot;
    SlotIndex back = kNoSlot;
  };
  Node& at(SlotIndex slot) { return nodes_[static_cast<uint32_t>(slot)]; }
  [[nodiscard]] const Node& at(SlotIndex slot) const { return nodes_[static_cast<uint32_t>(slot)]; }

  void link(SlotIndex slot, const Place& place) {
    Node& node = at(slot);
    CACHEFS_CHECK(node.queue == kNone, "ExpiryQueues: the slot is in a queue already");
    Ends& ends = ends_[place.expiry.queue];
    const SlotIndex next = place.behind == kNoSlot ? ends.front : at(place.behind).next;
    node = {.at = place.expiry.at, .previous = place.behind, .next = next, .queue = place.expiry.queue};
    (place.behind == kNoSlot ? ends.front : at(place.behind).next) = slot;
    (next == kNoSlot ? ends.back : at(next).previous) = slot;
    used_ = std::max<size_t>(used_, place.expiry.queue + size_t{1});
    ++size_;
  }

  std::vector<Node> nodes_;
  std::array<Ends, kCount> ends_;
  size_t used_ = 0;  ///< queues above were never used
  uint32_t size_ = 0;
};

}  // namespace cachefs
