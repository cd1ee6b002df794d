// Counts what operator new is asked for. A file of its own: a compiler that sees both sides takes the pair
// for a mistake.
#pragma once

#include <cstdint>

namespace cachefs::bench {

uint64_t allocations_of_this_thread();

}  // namespace cachefs::bench
