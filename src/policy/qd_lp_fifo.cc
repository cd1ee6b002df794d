// Quick demotion and lazy promotion: one hit is enough to leave the small queue for the main one.
//
// Yang et al., FIFO can be Better than LRU: the Power of Lazy Promotion and Quick Demotion, HotOS 2023.
#include "policy/quick_demotion.h"
#include "policy/registry.h"

namespace cachefs {

std::unique_ptr<EvictionPolicy> make_qd_lp_fifo() {
  return std::make_unique<QuickDemotion>(QuickDemotionOptions{.hits_to_stay = 1});
}

}  // namespace cachefs
