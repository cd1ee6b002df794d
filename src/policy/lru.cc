// Least recently used: a hit moves the entry to the front.
#include "policy/list_policy.h"
#include "policy/registry.h"

namespace cachefs {
namespace {

class Lru final : public ListPolicy {
 public:
  void on_hits(std::span<const SlotIndex> slots) override {
    for (const SlotIndex slot : slots) {
      queue_.remove(slot);
      queue_.push_front(slot);
    }
  }
};

}  // namespace

std::unique_ptr<EvictionPolicy> make_lru() { return std::make_unique<Lru>(); }

}  // namespace cachefs
