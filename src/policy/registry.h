// The makers of the policies, one a file; registry.cc lists them.
#pragma once

#include <memory>

#include "cachefs/eviction_policy.h"

namespace cachefs {

std::unique_ptr<EvictionPolicy> make_arc();
std::unique_ptr<EvictionPolicy> make_fifo();
std::unique_ptr<EvictionPolicy> make_lru();
std::unique_ptr<EvictionPolicy> make_clock();
std::unique_ptr<EvictionPolicy> make_sieve();
std::unique_ptr<EvictionPolicy> make_slru();
std::unique_ptr<EvictionPolicy> make_two_q();
std::unique_ptr<EvictionPolicy> make_lirs();
std::unique_ptr<EvictionPolicy> make_s3_fifo();
std::unique_ptr<EvictionPolicy> make_qd_lp_fifo();
std::unique_ptr<EvictionPolicy> make_w_tiny_lfu();
std::unique_ptr<EvictionPolicy> make_lfu();
std::unique_ptr<EvictionPolicy> make_gdsf();
std::unique_ptr<EvictionPolicy> make_hybrid();
std::unique_ptr<EvictionPolicy> make_ttl();

}  // namespace cachefs
