// A small LRU window for what is new, and a segmented LRU behind it, into which only those come that were
// seen more often than who would have to leave. The window grows and shrinks with what hit more.
//
// Einziger, Friedman and Manes, TinyLFU, ACM ToS 13(4), 2017; Einziger et al., Adaptive Software Cache
// Management, Middleware 2018 (hill climbing).
#include <algorithm>
#include <cmath>

#include "policy/frequency_sketch.h"
#include "policy/queue_policy.h"
#include "policy/registry.h"

namespace cachefs {
namespace {

enum class Queue : uint8_t { window, probation, protected_ones };

constexpr double kFirstWindow = 0.01;  ///< of the room, as all of these
constexpr double kProtected = 0.8;     ///< of what is not window
constexpr double kFirstStep = 0.0625;
constexpr double kDecay = 0.98;
constexpr double kNewPhase = 0.05;  ///< a change of the hit ratio after which the search begins anew
constexpr uint32_t kUsesPerSample = 10;

/// Looks for the size of the window that hits most, by going on while that helps.
class HillClimber {
 public:
  void note(bool hit, uint32_t entries) {
    ++uses_;
    hits_ += hit ? 1 : 0;
    if (uses_ < uint64_t{kUsesPerSample} * entries) return;
    const double ratio = static_cast<double>(hits_) / static_cast<double>(uses_);
    const double change = ratio - last_ratio_;
    if (change < 0) step_ = -step_;
    window_ = std::clamp(window_ + step_, 0.001, 0.8);
    step_ = std::abs(change) >= kNewPhase ? std::copysign(kFirstStep, step_) : step_ * kDecay;
    last_ratio_ = ratio;
    uses_ = hits_ = 0;
  }
  [[nodiscard]] double window() const { return window_; }

 private:
  double window_ = kFirstWindow;
  double step_ = kFirstStep;
  double last_ratio_ = 0;
  uint64_t uses_ = 0;
  uint64_t hits_ = 0;
};

class WTinyLfu final : public QueuePolicy<Queue, 3> {
 public:
  void resize(uint32_t count) override {
    QueuePolicy::resize(count);
    sketch_.resize(count);
  }
  [[nodiscard]] size_t bytes_for(uint32_t count) const override {
    return QueuePolicy::bytes_for(count) + FrequencySketch::bytes_for(count);
  }
  void on_insert(SlotIndex slot, uint64_t key_hash, uint32_t weight) override {
    sketch_.note(key_hash);
    queues_.insert(Queue::window, slot, key_hash, weight);
    if (full_) climber_.note(false, queues_.size());
  }
  void on_hits(std::span<const SlotIndex> slots) override {
    for (const SlotIndex slot : slots) {
      sketch_.note(queues_.key_hash(slot));
      if (full_) climber_.note(true, queues_.size());
      const bool new_one = queues_.queue_of(slot) == Queue::window;
      queues_.move_to_front(new_one ? Queue::window : Queue::protected_ones, slot);
    }
    const double room = kProtected * (1 - climber_.window()) * static_cast<double>(queues_.weight());
    while (static_cast<double>(queues_.weight(Queue::protected_ones)) > room)
      queues_.move_to_front(Queue::probation, queues_.back(Queue::protected_ones));
  }
  std::optional<SlotIndex> victim(const Evictable& evictable) override {
    if (!full_) fill_main();
    full_ = true;
    const std::optional<SlotIndex> old = last_of(Queue::probation, Queue::protected_ones, evictable);
    if (old && static_cast<double>(queues_.weight(Queue::window)) <= window_room()) return old;
    const std::optional<SlotIndex> candidate = queues_.last_evictable(Queue::window, evictable);
    if (!candidate || !old) return candidate ? candidate : old;
    if (sketch_.count(queues_.key_hash(*candidate)) <= sketch_.count(queues_.key_hash(*old)))
      return candidate;
    queues_.move_to_front(Queue::probation, *candidate);
    return old;
  }

 private:
  [[nodiscard]] double window_room() const {
    return climber_.window() * static_cast<double>(queues_.weight());
  }
  /// What came while there was room for all came without a contest.
  void fill_main() {
    while (queues_.size(Queue::window) > 1 &&
           static_cast<double>(queues_.weight(Queue::window)) > window_room())
      queues_.move_to_front(Queue::probation, queues_.back(Queue::window));
  }

  FrequencySketch sketch_;
  HillClimber climber_;
  bool full_ = false;
};

}  // namespace

std::unique_ptr<EvictionPolicy> make_w_tiny_lfu() { return std::make_unique<WTinyLfu>(); }

}  // namespace cachefs
