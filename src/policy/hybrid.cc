// Recency, frequency and age together, and never much worse than recency alone.
//
// What an entry is worth is set when it is used: how often it was used so far (frequency) beyond what the
// last victim was worth then (age: what is used no more is overtaken in the end). Of those worth least, the
// least recently used one leaves (recency).
//
// Beside that it is known what an LRU of the same size would hold. While the worth has lately missed half a
// percent more than that LRU, the least recently used entry leaves, whatever it is worth, until that has
// faded; then worth gets another chance. So an excess over LRU stays below one percent, and where frequency
// or age help they decide.
#include <algorithm>

#include "policy/ghost_queues.h"
#include "policy/priority_wheel.h"
#include "policy/queue_policy.h"
#include "policy/registry.h"

namespace cachefs {
namespace {

enum class Queue : uint8_t { by_recency };
enum class Shadow : uint8_t { lru };

/// Which of two orders has missed less lately.
class Contest {
 public:
  void note(bool worth_missed, bool lru_missed, uint32_t entries) {
    worth_misses_ += worth_missed ? 1 : 0;
    lru_misses_ += lru_missed ? 1 : 0;
    if (worth_misses_ > lru_misses_ * (1 + kTolerated) + 2) worth_lost_ = true;
    if (worth_misses_ <= lru_misses_ * (1 + kForgiven)) worth_lost_ = false;
    if (++uses_ < kUsesPerEntry * entries) return;
    worth_misses_ /= 2;
    lru_misses_ /= 2;
    uses_ /= 2;
  }
  [[nodiscard]] bool worth_lost() const { return worth_lost_; }

 private:
  static constexpr double kTolerated = 0.005;
  static constexpr double kForgiven = 0.002;
  static constexpr double kUsesPerEntry = 5;  ///< after these, what was counted counts half
  double worth_misses_ = 0;
  double lru_misses_ = 0;
  double uses_ = 0;
  bool worth_lost_ = false;
};

class Hybrid final : public QueuePolicy<Queue, 1> {
 public:
  void resize(uint32_t count) override {
    QueuePolicy::resize(count);
    wheel_.resize(count);
    shadow_.resize(count);
  }
  [[nodiscard]] size_t bytes_for(uint32_t count) const override {
    return QueuePolicy::bytes_for(count) + PriorityWheel::bytes_for(count) +
           decltype(shadow_)::bytes_for(count);
  }
  void on_insert(SlotIndex slot, uint64_t key_hash, uint32_t weight) override {
    queues_.insert(Queue::by_recency, slot, key_hash, weight);
    queues_.mark(slot) = 1;
    wheel_.place(slot, 1);
    compare(slot, Outcome::miss);
  }
  void on_hits(std::span<const SlotIndex> slots) override {
    for (const SlotIndex slot : slots) {
      queues_.move_to_front(Queue::by_recency, slot);
      uint16_t& uses = queues_.mark(slot);
      if (uses < PriorityWheel::kSpan) ++uses;
      wheel_.remove(slot);
      wheel_.place(slot, uses);
      compare(slot, Outcome::hit);
    }
  }
  void on_remove(SlotIndex slot) override {
    wheel_.remove(slot);
    queues_.remove(slot);
  }
  void on_evict(SlotIndex slot) override { on_remove(slot); }
  std::optional<SlotIndex> victim(const Evictable& evictable) override {
    room_ = queues_.weight();
    return contest_.worth_lost() ? queues_.last_evictable(Queue::by_recency, evictable)
                                 : wheel_.lowest_evictable(evictable);
  }
  void check_invariants() const override {
    QueuePolicy::check_invariants();
    wheel_.check_invariants();
    shadow_.check_invariants();
  }

 private:
  enum class Outcome : bool { hit, miss };

  /// Takes the use to the LRU, too. Before there was ever a victim both hold everything.
  void compare(SlotIndex slot, Outcome outcome) {
    const bool lru_missed = !shadow_.take(queues_.key_hash(slot));
    shadow_.push_front(Shadow::lru, queues_.key_hash(slot), queues_.weight_of(slot));
    shadow_.trim(Shadow::lru, std::max(room_, queues_.weight()));
    if (room_ != 0) contest_.note(outcome == Outcome::miss, lru_missed, queues_.size());
  }

  PriorityWheel wheel_;
  GhostQueues<Shadow, 1> shadow_;
  Contest contest_;
  uint64_t room_ = 0;  ///< what was there when a victim was wanted last
};

}  // namespace

std::unique_ptr<EvictionPolicy> make_hybrid() { return std::make_unique<Hybrid>(); }

}  // namespace cachefs
