// First in, first out: hits change nothing.
#include "policy/list_policy.h"
#include "policy/registry.h"

namespace cachefs {
namespace {

class Fifo final : public ListPolicy {
 public:
  void on_hits(std::span<const SlotIndex> /*slots*/) override {}
};

}  // namespace

std::unique_ptr<EvictionPolicy> make_fifo() { return std::make_unique<Fifo>(); }

}  // namespace cachefs
