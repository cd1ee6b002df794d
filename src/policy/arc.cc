// Two LRUs, of entries used once and of entries used again, each with ghosts of what left it. Whose ghost is
// wanted should have been larger: how the room is divided follows that.
//
// Megiddo and Modha, ARC: A Self-Tuning, Low Overhead Replacement Cache, FAST 2003, figure 4. What is counted
// in pages there is weight here.
#include <algorithm>

#include "policy/ghost_queues.h"
#include "policy/queue_policy.h"
#include "policy/registry.h"

namespace cachefs {
namespace {

enum class Queue : uint8_t { once, again };  ///< T1 and T2; their ghosts are B1 and B2

class Arc final : public QueuePolicy<Queue, 2> {
 public:
  void resize(uint32_t count) override {
    QueuePolicy::resize(count);
    ghosts_.resize(ghosts_for(count));
    if (count == 0) room_ = 0, once_target_ = 0;
  }
  [[nodiscard]] size_t bytes_for(uint32_t count) const override {
    return QueuePolicy::bytes_for(count) + decltype(ghosts_)::bytes_for(ghosts_for(count));
  }
  void on_miss(uint64_t key_hash) override {
    wanted_ = ghosts_.find(key_hash);
    if (!wanted_ || queues_.size() == 0) return;
    const Queue other = *wanted_ == Queue::once ? Queue::again : Queue::once;
    const double ratio =
        static_cast<double>(ghosts_.weight(other)) / static_cast<double>(ghosts_.weight(*wanted_));
    const double entry = static_cast<double>(room_) / queues_.size();
    const double step = std::max(ratio, 1.0) * entry;
    once_target_ =
        std::clamp(once_target_ + (*wanted_ == Queue::once ? step : -step), 0.0, static_cast<double>(room_));
  }
  void on_insert(SlotIndex slot, uint64_t key_hash, uint32_t weight) override {
    wanted_.reset();
    queues_.insert(ghosts_.take(key_hash) ? Queue::again : Queue::once, slot, key_hash, weight);
    const uint64_t room = std::max(room_, queues_.weight());
    ghosts_.trim(Queue::once, room - queues_.weight(Queue::once));
    ghosts_.trim(Queue::again, 2 * room - queues_.weight() - ghosts_.weight(Queue::once));
  }
  void on_hits(std::span<const SlotIndex> slots) override {
    for (const SlotIndex slot : slots) queues_.move_to_front(Queue::again, slot);
  }
  void on_evict(SlotIndex slot) override {
    ghosts_.push_front(queues_.queue_of(slot), queues_.key_hash(slot), queues_.weight_of(slot));
    queues_.remove(slot);
  }
  std::optional<SlotIndex> victim(const Evictable& evictable) override {
    room_ = queues_.weight();
    const auto once = static_cast<double>(queues_.weight(Queue::once));
    const bool over_target = wanted_ == Queue::again ? once >= once_target_ : once > once_target_;
    return over_target ? last_of(Queue::once, Queue::again, evictable)
                       : last_of(Queue::again, Queue::once, evictable);
  }
  void check_invariants() const override {
    QueuePolicy::check_invariants();
    ghosts_.check_invariants();
  }

 private:
  /// One more while the new entry is not in yet.
  static uint32_t ghosts_for(uint32_t count) { return count == 0 ? 0 : count + 1; }

  GhostQueues<Queue, 2> ghosts_;
  std::optional<Queue> wanted_;  ///< where the ghost is of the entry that room is being made for
  double once_target_ = 0;       ///< p: what the entries used once should weigh
  uint64_t room_ = 0;            ///< what was there when a victim was wanted last
};

}  // namespace

std::unique_ptr<EvictionPolicy> make_arc() { return std::make_unique<Arc>(); }

}  // namespace cachefs
