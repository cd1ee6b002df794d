// Greedy dual, size, frequency: small and often used entries stay; what the last victim was worth is added,
// so that what is no longer used leaves some time.
//
// Cherkasova, Improving WWW Proxies Performance with Greedy-Dual-Size-Frequency Caching Policy, HP Labs 1998,
// with the same cost for every miss. The worth is counted in steps of an eighth of what one use of an entry
// of average weight is worth.
#include <algorithm>
#include <vector>

#include "policy/priority_wheel.h"
#include "policy/registry.h"

namespace cachefs {
namespace {

class Gdsf final : public EvictionPolicy {
 public:
  void resize(uint32_t count) override {
    wheel_.resize(count);
    if (count == 0) std::vector<Entry>().swap(entries_);
    entries_.reserve(count);
    entries_.resize(count);
  }
  [[nodiscard]] size_t bytes_for(uint32_t count) const override {
    return PriorityWheel::bytes_for(count) + count * sizeof(Entry);
  }
  void on_insert(SlotIndex slot, uint64_t /*key_hash*/, uint32_t weight) override {
    at(slot) = {.weight = weight, .uses = 1};
    weight_ += weight;
    ++size_;
    wheel_.place(slot, worth(slot));
  }
  void on_hits(std::span<const SlotIndex> slots) override {
    for (const SlotIndex slot : slots) {
      ++at(slot).uses;
      wheel_.remove(slot);
      wheel_.place(slot, worth(slot));
    }
  }
  void on_weight_change(SlotIndex slot, uint32_t weight) override {
    weight_ = weight_ - at(slot).weight + weight;
    at(slot).weight = weight;
    wheel_.remove(slot);
    wheel_.place(slot, worth(slot));
  }
  void on_remove(SlotIndex slot) override { leave(slot); }
  void on_evict(SlotIndex slot) override { leave(slot); }
  std::optional<SlotIndex> victim(const Evictable& evictable) override {
    return wheel_.lowest_evictable(evictable);
  }
  void check_invariants() const override { wheel_.check_invariants(); }

 private:
  static constexpr uint64_t kSteps = 8;
  struct Entry {
    uint32_t weight = 0;
    uint32_t uses = 0;
  };
  Entry& at(SlotIndex slot) { return entries_[static_cast<uint32_t>(slot)]; }
  [[nodiscard]] uint64_t worth(SlotIndex slot) {
    const Entry& entry = at(slot);
    const double average = static_cast<double>(weight_) / size_;
    const double worth = kSteps * entry.uses * average / std::max<uint32_t>(entry.weight, 1);
    return static_cast<uint64_t>(std::min<double>(worth, PriorityWheel::kSpan));
  }
  void leave(SlotIndex slot) {
    weight_ -= at(slot).weight;
    --size_;
    wheel_.remove(slot);
  }

  PriorityWheel wheel_;
  std::vector<Entry> entries_;
  uint64_t weight_ = 0;
  uint32_t size_ = 0;
};

}  // namespace

std::unique_ptr<EvictionPolicy> make_gdsf() { return std::make_unique<Gdsf>(); }

}  // namespace cachefs
