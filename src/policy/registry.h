// The makers of the policies, one a file; registry.cc lists them.
#pragma once

#include <memory>

#include "cachefs/eviction_policy.h"

namespace cachefs {

std::unique_ptr<EvictionPolicy> make_fifo();
std::unique_ptr<EvictionPolicy> make_lru();

}  // namespace cachefs
