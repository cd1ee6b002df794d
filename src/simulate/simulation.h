// What a policy would have hit.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "cachefs/eviction_policy.h"
#include "simulate/trace.h"

namespace cachefs::simulate {

enum class Unit : uint8_t {
  objects,  ///< every object weighs 1
  bytes,
};

struct Misses {
  uint64_t requests = 0;
  uint64_t misses = 0;
  uint64_t bytes = 0;
  uint64_t missed_bytes = 0;

  [[nodiscard]] double ratio() const {
    return requests == 0 ? 0 : static_cast<double>(misses) / static_cast<double>(requests);
  }
  [[nodiscard]] double byte_ratio() const {
    return bytes == 0 ? 0 : static_cast<double>(missed_bytes) / static_cast<double>(bytes);
  }
};

/// A cache that holds `capacity` units at most; an object that is larger is not kept.
struct CacheSize {
  uint64_t capacity = 0;
  Unit unit = Unit::objects;
};

/// Told from time to time how many accesses were looked at since the last time; false: stop, what is returned
/// then is worth nothing.
using Progress = std::function<bool(uint64_t accesses)>;

/// Runs the trace through a policy, as a shard of the cache does: hits one by one, a victim whenever there is
/// no room.
Misses simulate(const Trace& trace, const CacheSize& size, EvictionPolicy& policy, const Progress& progress);

/// The least that is possible where every object weighs the same: whoever is wanted again last leaves.
///
/// Belady, A study of replacement algorithms for a virtual-storage computer, IBM Systems Journal 5(2), 1966.
/// With weights it is the same rule, which then is a good one, not the best.
Misses simulate_belady(const Trace& trace, const CacheSize& size, const Progress& progress);

}  // namespace cachefs::simulate
