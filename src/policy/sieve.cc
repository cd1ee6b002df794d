// A hand that goes from the oldest entry to the newest and evicts the first one that was not hit since it
// last came by; nothing is ever moved.
//
// Zhang et al., SIEVE is Simpler than LRU, NSDI 2024, algorithm 1.
#include "policy/queue_policy.h"
#include "policy/registry.h"

namespace cachefs {
namespace {

enum class Queue : uint8_t { all };

class Sieve final : public QueuePolicy<Queue, 1> {
 public:
  void on_insert(SlotIndex slot, uint64_t key_hash, uint32_t weight) override {
    queues_.insert(Queue::all, slot, key_hash, weight);
  }
  void on_hits(std::span<const SlotIndex> slots) override {
    for (const SlotIndex slot : slots) queues_.mark(slot) = 1;
  }
  void on_remove(SlotIndex slot) override { leave(slot); }
  void on_evict(SlotIndex slot) override { leave(slot); }
  std::optional<SlotIndex> victim(const Evictable& evictable) override {
    for (uint64_t left = 2ULL * queues_.size(); left != 0; --left) {
      if (hand_ == kNoSlot) hand_ = queues_.back(Queue::all);
      if (queues_.mark(hand_) == 0 && evictable(hand_)) return hand_;
      queues_.mark(hand_) = 0;
      hand_ = queues_.before(hand_);
    }
    return std::nullopt;
  }

 private:
  void leave(SlotIndex slot) {
    if (hand_ == slot) hand_ = queues_.before(slot);
    queues_.remove(slot);
  }
  SlotIndex hand_ = kNoSlot;  ///< at the back if it is nowhere
};

}  // namespace

std::unique_ptr<EvictionPolicy> make_sieve() { return std::make_unique<Sieve>(); }

}  // namespace cachefs
