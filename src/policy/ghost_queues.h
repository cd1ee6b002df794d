// Entries that have left, remembered by the hash of their key.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/check.h"

namespace cachefs {

/// As SlotQueues, of ghosts, found by hash. At most as many as resize() was told: the oldest of the longest
/// queue makes room. O(1) but for resize and check_invariants.
template <typename Queue, size_t Count>
class GhostQueues {
 public:
  /// Existing ghosts stay if there is room for more.
  void resize(uint32_t count) {
    if (count == 0) {
      std::vector<Node>().swap(nodes_);
      std::vector<uint32_t>().swap(buckets_);
      ends_ = {};
      free_ = kNone;
      return;
    }
    const auto old_count = static_cast<uint32_t>(nodes_.size());
    nodes_.reserve(count);
    nodes_.resize(count);
    for (uint32_t i = count; i-- > old_count;) give_back(i);
    if (std::bit_ceil(count) != buckets_.size()) rebuild(std::bit_ceil(count));
  }
  static size_t bytes_for(uint32_t count) {
    return count == 0 ? 0 : size_t{count} * sizeof(Node) + std::bit_ceil(count) * sizeof(uint32_t);
  }

  void push_front(Queue queue, uint64_t hash, uint32_t weight) {
    if (nodes_.empty()) return;
    if (free_ == kNone) pop_back(longest());
    const uint32_t i = free_;
    Node& node = nodes_[i];
    free_ = node.next;
    Ends& ends = ends_[index(queue)];
    uint32_t& bucket = buckets_[hash & (buckets_.size() - 1)];
    node = {.hash = hash, .next = ends.front, .chain = bucket, .queue = index(queue), .weight = weight};
    bucket = i;
    if (ends.front != kNone) nodes_[ends.front].previous = i;
    ends.front = i;
    if (ends.back == kNone) ends.back = i;
    ends.weight += weight;
    ++ends.size;
  }
  /// Where the ghost is; nothing if there is none.
  [[nodiscard]] std::optional<Queue> find(uint64_t hash) const {
    const uint32_t i = index_of(hash);
    return i == kNone ? std::nullopt : std::optional(static_cast<Queue>(nodes_[i].queue));
  }
  /// The same, and forgets it.
  std::optional<Queue> take(uint64_t hash) {
    const uint32_t i = index_of(hash);
    if (i == kNone) return std::nullopt;
    const auto queue = static_cast<Queue>(nodes_[i].queue);
    drop(i);
    return queue;
  }
  void pop_back(Queue queue) {
    if (const uint32_t oldest = ends_[index(queue)].back; oldest != kNone) drop(oldest);
  }
  /// Forgets the oldest ones of `queue` until it weighs no more than that.
  void trim(Queue queue, uint64_t weight_max) {
    while (weight(queue) > weight_max) pop_back(queue);
  }

  [[nodiscard]] uint64_t weight(Queue queue) const { return ends_[index(queue)].weight; }
  [[nodiscard]] uint32_t size(Queue queue) const { return ends_[index(queue)].size; }

  void check_invariants() const {
    uint32_t linked = 0;
    for (const Ends& ends : ends_) {
      uint32_t previous = kNone;
      uint64_t weight = 0;
      for (uint32_t i = ends.front; i != kNone; i = nodes_[i].next) {
        CACHEFS_CHECK(nodes_[i].previous == previous, "G1: neighbours point at each other");
        CACHEFS_CHECK(++linked <= nodes_.size(), "G2: a queue has no cycle");
        weight += nodes_[i].weight;
        previous = i;
      }
      CACHEFS_CHECK(ends.back == previous, "G3: the back is the last ghost");
      CACHEFS_CHECK(ends.weight == weight, "G4: a queue weighs what its ghosts weigh");
    }
    uint32_t free_nodes = 0;
    for (uint32_t i = free_; i != kNone; i = nodes_[i].next) ++free_nodes;
    CACHEFS_CHECK(linked + free_nodes == nodes_.size(), "G5: a node is free or in a queue");
  }

 private:
  static constexpr uint32_t kNone = (1U << 30) - 1;
  static_assert(Count <= 4);
  struct Node {
    uint64_t hash = 0;
    uint32_t previous = kNone;
    uint32_t next = kNone;  ///< or the next free one
    uint32_t chain : 30 = kNone;
    uint32_t queue : 2 = 0;
    uint32_t weight = 0;
  };
  struct Ends {
    uint32_t front = kNone;
    uint32_t back = kNone;
    uint32_t size = 0;
    uint64_t weight = 0;
  };

  static constexpr uint32_t index(Queue queue) { return static_cast<uint32_t>(queue); }

  [[nodiscard]] uint32_t index_of(uint64_t hash) const {
    if (buckets_.empty()) return kNone;
    uint32_t i = buckets_[hash & (buckets_.size() - 1)];
    while (i != kNone && nodes_[i].hash != hash) i = nodes_[i].chain;
    return i;
  }
  void give_back(uint32_t i) {
    nodes_[i].next = free_;
    free_ = i;
  }
  void drop(uint32_t i) {
    const Node& node = nodes_[i];
    uint32_t& bucket = buckets_[node.hash & (buckets_.size() - 1)];
    if (bucket == i) {
      bucket = node.chain;
    } else {
      uint32_t before = bucket;
      while (nodes_[before].chain != i) before = nodes_[before].chain;
      nodes_[before].chain = node.chain;
    }
    Ends& ends = ends_[node.queue];
    (node.previous == kNone ? ends.front : nodes_[node.previous].next) = node.next;
    (node.next == kNone ? ends.back : nodes_[node.next].previous) = node.previous;
    ends.weight -= node.weight;
    --ends.size;
    give_back(i);
  }
  Queue longest() const {
    uint32_t best = 0;
    for (uint32_t queue = 1; queue < Count; ++queue) {
      if (ends_[queue].size > ends_[best].size) best = queue;
    }
    return static_cast<Queue>(best);
  }
  void rebuild(uint32_t count) {
    std::vector<uint32_t>(count, kNone).swap(buckets_);
    for (const Ends& ends : ends_) {
      for (uint32_t i = ends.front; i != kNone; i = nodes_[i].next) {
        uint32_t& bucket = buckets_[nodes_[i].hash & (count - 1)];
        nodes_[i].chain = bucket;
        bucket = i;
      }
    }
  }

  std::vector<Node> nodes_;
  std::vector<uint32_t> buckets_;
  std::array<Ends, Count> ends_;
  uint32_t free_ = kNone;
};

}  // namespace cachefs
