// Second chance: an entry that was hit goes round once more.
//
// Corbato, A Paging Experiment with the Multics System, 1968.
#include "policy/queue_policy.h"
#include "policy/registry.h"

namespace cachefs {
namespace {

enum class Queue : uint8_t { all };

class SecondChance final : public QueuePolicy<Queue, 1> {
 public:
  void on_insert(SlotIndex slot, uint64_t key_hash, uint32_t weight) override {
    queues_.insert(Queue::all, slot, key_hash, weight);
  }
  void on_hits(std::span<const SlotIndex> slots) override {
    for (const SlotIndex slot : slots) queues_.mark(slot) = 1;
  }
  /// In one round marks are cleared, in the next all are candidates.
  std::optional<SlotIndex> victim(const Evictable& evictable) override {
    for (uint64_t left = 2ULL * queues_.size(); left != 0; --left) {
      const SlotIndex slot = queues_.back(Queue::all);
      if (queues_.mark(slot) == 0 && evictable(slot)) return slot;
      queues_.mark(slot) = 0;
      queues_.move_to_front(Queue::all, slot);
    }
    return std::nullopt;
  }
};

}  // namespace

std::unique_ptr<EvictionPolicy> make_clock() { return std::make_unique<SecondChance>(); }

}  // namespace cachefs
