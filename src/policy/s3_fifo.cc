// Three queues, first in, first out; two hits are needed to leave the small one for the main one.
//
// Yang et al., FIFO Queues are All You Need for Cache Eviction, SOSP 2023, algorithm 1.
#include "policy/quick_demotion.h"
#include "policy/registry.h"

namespace cachefs {

std::unique_ptr<EvictionPolicy> make_s3_fifo() {
  return std::make_unique<QuickDemotion>(QuickDemotionOptions{.hits_to_stay = 2});
}

}  // namespace cachefs
