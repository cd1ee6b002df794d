// Segmented LRU: who is hit while on probation is protected, in four fifths of the room at most.
//
// Karedla et al., Caching Strategies to Improve Disk System Performance, IEEE Computer 27(3), 1994.
#include "policy/queue_policy.h"
#include "policy/registry.h"

namespace cachefs {
namespace {

enum class Queue : uint8_t { probation, protected_ones };

class Slru final : public QueuePolicy<Queue, 2> {
 public:
  void on_insert(SlotIndex slot, uint64_t key_hash, uint32_t weight) override {
    queues_.insert(Queue::probation, slot, key_hash, weight);
  }
  void on_hits(std::span<const SlotIndex> slots) override {
    for (const SlotIndex slot : slots) queues_.move_to_front(Queue::protected_ones, slot);
    while (queues_.weight(Queue::protected_ones) * 5 > queues_.weight() * 4)
      queues_.move_to_front(Queue::probation, queues_.back(Queue::protected_ones));
  }
  std::optional<SlotIndex> victim(const Evictable& evictable) override {
    return last_of(Queue::probation, Queue::protected_ones, evictable);
  }
};

}  // namespace

std::unique_ptr<EvictionPolicy> make_slru() { return std::make_unique<Slru>(); }

}  // namespace cachefs
