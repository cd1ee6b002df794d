// Two queues: first in, first out for what is new, and an LRU for what comes back after it has left that.
//
// Johnson and Shasha, 2Q: A Low Overhead High Performance Buffer Management Replacement Algorithm, VLDB 1994,
// the full version: Kin is a quarter of the room, Kout remembers half of it.
#include "policy/ghost_queues.h"
#include "policy/queue_policy.h"
#include "policy/registry.h"

namespace cachefs {
namespace {

enum class Queue : uint8_t { in, main };
enum class Ghosts : uint8_t { out };

class TwoQ final : public QueuePolicy<Queue, 2> {
 public:
  void resize(uint32_t count) override {
    QueuePolicy::resize(count);
    ghosts_.resize(count);
  }
  [[nodiscard]] size_t bytes_for(uint32_t count) const override {
    return QueuePolicy::bytes_for(count) + decltype(ghosts_)::bytes_for(count);
  }
  void on_insert(SlotIndex slot, uint64_t key_hash, uint32_t weight) override {
    queues_.insert(ghosts_.take(key_hash) ? Queue::main : Queue::in, slot, key_hash, weight);
  }
  /// A second hit soon after the first says nothing new of an entry.
  void on_hits(std::span<const SlotIndex> slots) override {
    for (const SlotIndex slot : slots) {
      if (queues_.queue_of(slot) == Queue::main) queues_.move_to_front(Queue::main, slot);
    }
  }
  void on_evict(SlotIndex slot) override {
    if (queues_.queue_of(slot) == Queue::in) {
      const uint64_t room = queues_.weight() / 2;
      ghosts_.push_front(Ghosts::out, queues_.key_hash(slot), queues_.weight_of(slot));
      ghosts_.trim(Ghosts::out, room);
    }
    queues_.remove(slot);
  }
  std::optional<SlotIndex> victim(const Evictable& evictable) override {
    const bool in_is_full = queues_.weight(Queue::in) * 4 > queues_.weight();
    return in_is_full ? last_of(Queue::in, Queue::main, evictable)
                      : last_of(Queue::main, Queue::in, evictable);
  }
  void check_invariants() const override {
    QueuePolicy::check_invariants();
    ghosts_.check_invariants();
  }

 private:
  GhostQueues<Ghosts, 1> ghosts_;
};

}  // namespace

std::unique_ptr<EvictionPolicy> make_two_q() { return std::make_unique<TwoQ>(); }

}  // namespace cachefs
