// What FIFO and LRU share: one queue, newest in front, the victim from the back.
#pragma once

#include "policy/index_list.h"

namespace cachefs {

class ListPolicy : public EvictionPolicy {
 public:
  void resize(uint32_t count) override { queue_.resize(count); }
  [[nodiscard]] size_t bytes_for(uint32_t count) const override { return IndexList::bytes_for(count); }
  void on_insert(SlotIndex slot, uint64_t /*key_hash*/, uint32_t /*weight*/) override {
    queue_.push_front(slot);
  }
  void on_weight_change(SlotIndex /*slot*/, uint32_t /*weight*/) override {}
  void on_remove(SlotIndex slot) override { queue_.remove(slot); }
  void on_evict(SlotIndex slot) override { queue_.remove(slot); }

  /// Entries that may not leave now go to the front, so that the next search does not pass them again: O(1)
  /// amortised.
  std::optional<SlotIndex> victim(const Evictable& evictable) override {
    const SlotIndex first = queue_.front();
    for (SlotIndex slot = queue_.back(); slot != kNoSlot; slot = queue_.back()) {
      if (evictable(slot)) return slot;
      if (slot == first) return std::nullopt;
      queue_.remove(slot);
      queue_.push_front(slot);
    }
    return std::nullopt;
  }

  void check_invariants() const override { queue_.check_invariants(); }

 protected:
  IndexList queue_;
};

}  // namespace cachefs
