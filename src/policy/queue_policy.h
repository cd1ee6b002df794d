// What policies of several queues share.
#pragma once

#include "policy/slot_queues.h"

namespace cachefs {

template <typename Queue, size_t Count>
class QueuePolicy : public EvictionPolicy {
 public:
  void resize(uint32_t count) override { queues_.resize(count); }
  [[nodiscard]] size_t bytes_for(uint32_t count) const override { return Queues::bytes_for(count); }
  void on_weight_change(SlotIndex slot, uint32_t weight) override { queues_.change_weight(slot, weight); }
  void on_remove(SlotIndex slot) override { queues_.remove(slot); }
  void on_evict(SlotIndex slot) override { queues_.remove(slot); }
  void check_invariants() const override { queues_.check_invariants(); }

 protected:
  using Queues = SlotQueues<Queue, Count>;

  /// From the first of these queues that has an evictable entry.
  std::optional<SlotIndex> last_of(Queue first, Queue second, const Evictable& evictable) {
    if (const auto slot = queues_.last_evictable(first, evictable)) return slot;
    return queues_.last_evictable(second, evictable);
  }

  Queues queues_;
};

}  // namespace cachefs
