// The queues of a policy, over one flat array of nodes.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/check.h"
#include "cachefs/eviction_policy.h"

namespace cachefs {

/// Doubly linked queues: each slot is in one of them, or in none. `Queue` is an enumeration with Count
/// values. Keeps what a policy wants to know of an entry, and what each queue weighs. O(1) but for resize and
/// check_invariants.
template <typename Queue, size_t Count>
class SlotQueues {
 public:
  void resize(uint32_t count) {
    if (count == 0) {
      std::vector<Node>().swap(nodes_);  // assigning {} would keep the memory
      return;
    }
    nodes_.reserve(count);  // exactly: bytes_for() has been reserved, not the double
    nodes_.resize(count);
  }
  static size_t bytes_for(uint32_t count) { return size_t{count} * sizeof(Node); }

  /// A new entry, in front of `queue`.
  void insert(Queue queue, SlotIndex slot, uint64_t key_hash, uint32_t weight) {
    Node& node = at(slot);
    node = {.key_hash = key_hash, .weight = weight};
    push_front(queue, slot);
  }
  void remove(SlotIndex slot) {
    Node& node = at(slot);
    CACHEFS_CHECK(node.queue != kNone, "SlotQueues: the slot is in no queue");
    Ends& ends = ends_[node.queue];
    (node.previous == kNoSlot ? ends.front : at(node.previous).next) = node.next;
    (node.next == kNoSlot ? ends.back : at(node.next).previous) = node.previous;
    ends.weight -= node.weight;
    --ends.size;
    node.queue = kNone;
  }
  void move_to_front(Queue queue, SlotIndex slot) {
    remove(slot);
    push_front(queue, slot);
  }
  void change_weight(SlotIndex slot, uint32_t weight) {
    Node& node = at(slot);
    Ends& ends = ends_[node.queue];
    ends.weight = ends.weight - node.weight + weight;
    node.weight = weight;
  }

  [[nodiscard]] SlotIndex front(Queue queue) const { return ends_[index(queue)].front; }
  [[nodiscard]] SlotIndex back(Queue queue) const { return ends_[index(queue)].back; }
  /// The neighbour nearer to the front, or kNoSlot.
  [[nodiscard]] SlotIndex before(SlotIndex slot) const { return at(slot).previous; }
  [[nodiscard]] Queue queue_of(SlotIndex slot) const { return static_cast<Queue>(at(slot).queue); }
  [[nodiscard]] uint64_t key_hash(SlotIndex slot) const { return at(slot).key_hash; }
  [[nodiscard]] uint32_t weight_of(SlotIndex slot) const { return at(slot).weight; }
  /// For the policy's own use; 0 in a new entry.
  [[nodiscard]] uint16_t& mark(SlotIndex slot) { return at(slot).mark; }

  [[nodiscard]] uint64_t weight(Queue queue) const { return ends_[index(queue)].weight; }
  [[nodiscard]] uint32_t size(Queue queue) const { return ends_[index(queue)].size; }
  [[nodiscard]] uint64_t weight() const {
    uint64_t sum = 0;
    for (const Ends& ends : ends_) sum += ends.weight;
    return sum;
  }
  [[nodiscard]] uint32_t size() const {
    uint32_t sum = 0;
    for (const Ends& ends : ends_) sum += ends.size;
    return sum;
  }

  /// The evictable entry nearest to the back. Those that may not leave now go to the front, so that the next
  /// search does not pass them again: O(1) amortised.
  std::optional<SlotIndex> last_evictable(Queue queue, const Evictable& evictable) {
    for (uint32_t left = size(queue); left != 0; --left) {
      const SlotIndex slot = back(queue);
      if (evictable(slot)) return slot;
      move_to_front(queue, slot);
    }
    return std::nullopt;
  }

  void check_invariants() const {
    for (size_t queue = 0; queue < Count; ++queue) {
      const Ends& ends = ends_[queue];
      SlotIndex previous = kNoSlot;
      uint64_t weight = 0;
      uint32_t size = 0;
      for (SlotIndex slot = ends.front; slot != kNoSlot; slot = at(slot).next) {
        const Node& node = at(slot);
        CACHEFS_CHECK(node.queue == queue && node.previous == previous, "Q1: neighbours point at each other");
        CACHEFS_CHECK(++size <= ends.size, "Q2: a queue has as many entries as it says");
        weight += node.weight;
        previous = slot;
      }
      CACHEFS_CHECK(ends.back == previous && size == ends.size, "Q3: the back is the last entry");
      CACHEFS_CHECK(weight == ends.weight, "Q4: a queue weighs what its entries weigh");
    }
  }

 private:
  static constexpr uint8_t kNone = Count;
  struct Node {
    uint64_t key_hash = 0;
    SlotIndex previous = kNoSlot;
    SlotIndex next = kNoSlot;
    uint32_t weight = 0;
    uint16_t mark = 0;
    uint8_t queue = kNone;
  };
  struct Ends {
    SlotIndex front = kNoSlot;
    SlotIndex back = kNoSlot;
    uint32_t size = 0;
    uint64_t weight = 0;
  };

  static constexpr size_t index(Queue queue) { return static_cast<size_t>(queue); }
  Node& at(SlotIndex slot) { return nodes_[static_cast<uint32_t>(slot)]; }
  const Node& at(SlotIndex slot) const { return nodes_[static_cast<uint32_t>(slot)]; }

  void push_front(Queue queue, SlotIndex slot) {
    Node& node = at(slot);
    CACHEFS_CHECK(node.queue == kNone, "SlotQueues: the slot is in a queue already");
    Ends& ends = ends_[index(queue)];
    node.queue = static_cast<uint8_t>(queue);
    node.previous = kNoSlot;
    node.next = ends.front;
    if (ends.front != kNoSlot) at(ends.front).previous = slot;
    ends.front = slot;
    if (ends.back == kNoSlot) ends.back = slot;
    ends.weight += node.weight;
    ++ends.size;
  }

  std::vector<Node> nodes_;
  std::array<Ends, Count> ends_;
};

}  // namespace cachefs
