// Least frequently used, with ageing: an entry's priority is its count of hits and what the last victim's
// was. Among equals the least recently used leaves.
//
// Arlitt et al., Evaluating Content Management Techniques for Web Proxy Caches, 2000: LFU with dynamic
// ageing.
#include <vector>

#include "policy/priority_wheel.h"
#include "policy/registry.h"

namespace cachefs {
namespace {

class Lfu final : public EvictionPolicy {
 public:
  void resize(uint32_t count) override {
    wheel_.resize(count);
    if (count == 0) std::vector<uint16_t>().swap(uses_);
    uses_.reserve(count);
    uses_.resize(count);
  }
  [[nodiscard]] size_t bytes_for(uint32_t count) const override {
    return PriorityWheel::bytes_for(count) + count * sizeof(uint16_t);
  }
  void on_insert(SlotIndex slot, uint64_t /*key_hash*/, uint32_t /*weight*/) override {
    uses_[static_cast<uint32_t>(slot)] = 1;
    wheel_.place(slot, 1);
  }
  void on_hits(std::span<const SlotIndex> slots) override {
    for (const SlotIndex slot : slots) {
      uint16_t& uses = uses_[static_cast<uint32_t>(slot)];
      if (uses < PriorityWheel::kSpan) ++uses;
      wheel_.remove(slot);
      wheel_.place(slot, uses);
    }
  }
  void on_weight_change(SlotIndex /*slot*/, uint32_t /*weight*/) override {}
  void on_remove(SlotIndex slot) override { wheel_.remove(slot); }
  void on_evict(SlotIndex slot) override { wheel_.remove(slot); }
  std::optional<SlotIndex> victim(const Evictable& evictable) override {
    return wheel_.lowest_evictable(evictable);
  }
  void check_invariants() const override { wheel_.check_invariants(); }

 private:
  PriorityWheel wheel_;
  std::vector<uint16_t> uses_;
};

}  // namespace

std::unique_ptr<EvictionPolicy> make_lfu() { return std::make_unique<Lfu>(); }

}  // namespace cachefs
