// Quick demotion: a small queue for what is new, the main one for what proved useful, both first in, first
// out, and ghosts of what left the small one.
#pragma once

#include <algorithm>

#include "policy/ghost_queues.h"
#include "policy/queue_policy.h"

namespace cachefs {

enum class DemotionQueue : uint8_t { small, main };
enum class DemotionGhosts : uint8_t { small };

struct QuickDemotionOptions {
  uint16_t hits_to_stay;  ///< in the small queue, to go on to the main one
};

class QuickDemotion final : public QueuePolicy<DemotionQueue, 2> {
 public:
  explicit QuickDemotion(const QuickDemotionOptions& options) : options_(options) {}
  void resize(uint32_t count) override {
    QueuePolicy::resize(count);
    ghosts_.resize(count);
  }
  [[nodiscard]] size_t bytes_for(uint32_t count) const override {
    return QueuePolicy::bytes_for(count) + decltype(ghosts_)::bytes_for(count);
  }
  void on_insert(SlotIndex slot, uint64_t key_hash, uint32_t weight) override {
    queues_.insert(ghosts_.take(key_hash) ? Queue::main : Queue::small, slot, key_hash, weight);
  }
  void on_hits(std::span<const SlotIndex> slots) override {
    for (const SlotIndex slot : slots) {
      uint16_t& hits = queues_.mark(slot);
      hits = std::min<uint16_t>(hits + 1, kMostHits);
    }
  }
  void on_evict(SlotIndex slot) override {
    if (queues_.queue_of(slot) == Queue::small) {
      const uint64_t room = queues_.weight() * 9 / 10;
      ghosts_.push_front(Ghosts::small, queues_.key_hash(slot), queues_.weight_of(slot));
      ghosts_.trim(Ghosts::small, room);
    }
    queues_.remove(slot);
  }
  std::optional<SlotIndex> victim(const Evictable& evictable) override {
    // Each entry passes the small queue once, and goes round in the main one no more often than it was hit.
    uint32_t may_not_leave = 0;
    while (may_not_leave < queues_.size()) {
      const bool from_small =
          queues_.size(Queue::main) == 0 || (queues_.weight(Queue::small) * 10 > queues_.weight() &&
                                             may_not_leave < queues_.size(Queue::small));
      const SlotIndex slot = queues_.back(from_small ? Queue::small : Queue::main);
      uint16_t& hits = queues_.mark(slot);
      if (from_small && hits >= options_.hits_to_stay) {
        hits = 0;
        queues_.move_to_front(Queue::main, slot);
      } else if (!from_small && hits != 0) {
        --hits;
        queues_.move_to_front(Queue::main, slot);
      } else if (evictable(slot)) {
        return slot;
      } else {
        queues_.move_to_front(from_small ? Queue::small : Queue::main, slot);
        ++may_not_leave;
      }
    }
    return last_of(Queue::small, Queue::main, evictable);
  }
  void check_invariants() const override {
    QueuePolicy::check_invariants();
    ghosts_.check_invariants();
  }

 private:
  using Queue = DemotionQueue;
  using Ghosts = DemotionGhosts;
  static constexpr uint16_t kMostHits = 3;

  const QuickDemotionOptions options_;
  GhostQueues<Ghosts, 1> ghosts_;
};

}  // namespace cachefs
