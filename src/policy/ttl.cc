// What expires first leaves first; what never expires leaves after all that does, as with LRU.
#include "policy/expiry_queues.h"
#include "policy/registry.h"
#include "policy/slot_queues.h"

namespace cachefs {
namespace {

enum class Queue : uint8_t { never_expire };

class Ttl final : public EvictionPolicy {
 public:
  void resize(uint32_t count) override {
    others_.resize(count);
    expiring_.resize(count);
  }
  [[nodiscard]] size_t bytes_for(uint32_t count) const override {
    return decltype(others_)::bytes_for(count) + ExpiryQueues::bytes_for(count);
  }
  void on_insert(SlotIndex slot, uint64_t key_hash, uint32_t weight) override {
    others_.insert(Queue::never_expire, slot, key_hash, weight);
  }
  void on_expiry(SlotIndex slot, const Expiry& expiry) override {
    leave(slot);
    expiring_.insert(slot, expiry);
  }
  void on_hits(std::span<const SlotIndex> slots) override {
    for (const SlotIndex slot : slots) {
      if (!expiring_.contains(slot)) others_.move_to_front(Queue::never_expire, slot);
    }
  }
  void on_weight_change(SlotIndex /*slot*/, uint32_t /*weight*/) override {}
  void on_remove(SlotIndex slot) override { leave(slot); }
  void on_evict(SlotIndex slot) override { leave(slot); }
  std::optional<SlotIndex> victim(const Evictable& evictable) override {
    // Who may not leave now goes behind the others of its queue, so that the next search does not pass it
    // again: O(1) amortised.
    for (uint32_t left = expiring_.size(); left != 0; --left) {
      const SlotIndex slot = *expiring_.first();
      if (evictable(slot)) return slot;
      on_expiry(slot, expiring_.expiry_of(slot));
    }
    return others_.last_evictable(Queue::never_expire, evictable);
  }
  void check_invariants() const override {
    others_.check_invariants();
    expiring_.check_invariants(ExpiryQueues::Order::any);
  }

 private:
  void leave(SlotIndex slot) {
    if (expiring_.contains(slot))
      expiring_.remove(slot);
    else
      others_.remove(slot);
  }

  SlotQueues<Queue, 1> others_;
  ExpiryQueues expiring_;
};

}  // namespace

std::unique_ptr<EvictionPolicy> make_ttl() { return std::make_unique<Ttl>(); }

}  // namespace cachefs
