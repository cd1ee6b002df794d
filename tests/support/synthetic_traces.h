// Traces that are the same on every machine.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/hash.h"
#include "simulate/trace.h"

namespace cachefs::test {

/// splitmix64 (Steele, Lea and Flood, 2014).
inline uint64_t next_random(uint64_t& state) {
  uint64_t z = (state += 0x9E3779B97F4A7C15ULL);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31);
}

using Keys = std::vector<uint32_t>;

/// Key k with a probability of 1 / (k + 1), in integers.
inline Keys zipf(size_t length, uint32_t keys, uint64_t state = 42) {
  std::vector<uint64_t> cumulative;
  for (uint32_t key = 0; key < keys; ++key) {
    cumulative.push_back((cumulative.empty() ? 0 : cumulative.back()) + 1'000'000'000 / (key + 1));
  }
  Keys trace;
  for (size_t i = 0; i < length; ++i) {
    const uint64_t at = next_random(state) % cumulative.back();
    trace.push_back(static_cast<uint32_t>(std::ranges::upper_bound(cumulative, at) - cumulative.begin()));
  }
  return trace;
}

inline Keys loop(size_t length, uint32_t keys) {
  Keys trace;
  for (size_t i = 0; i < length; ++i) trace.push_back(static_cast<uint32_t>(i % keys));
  return trace;
}

/// A hot set, with a scan of keys that never come back after every thousandth request.
inline Keys with_scans(size_t length) {
  Keys trace;
  uint32_t scanned = 1'000'000;
  for (const uint32_t key : zipf(length, 200)) {
    trace.push_back(key);
    for (int i = 0; trace.size() % 1000 == 0 && i < 150; ++i) trace.push_back(scanned++);
  }
  return trace;
}

/// A set of keys that is another one after every `period` requests.
inline Keys shifting(size_t length, uint32_t keys, size_t period) {
  Keys trace = zipf(length, keys);
  for (size_t i = 0; i < length; ++i) trace[i] += static_cast<uint32_t>(i / period) * keys;
  return trace;
}

/// Every key is wanted again soon after its first time, and then never more: recency is all that counts.
inline Keys recent_only(size_t length, uint32_t distance) {
  Keys trace;
  uint64_t state = 7;
  uint32_t newest = 0;
  while (trace.size() < length) {
    const bool again = next_random(state) % 3 != 0 && newest != 0;
    const auto back = static_cast<uint32_t>(next_random(state) % std::min(distance, std::max(newest, 1U)));
    trace.push_back(again ? newest - 1 - back : newest++);
  }
  return trace;
}

inline simulate::Trace to_trace(const Keys& keys) {
  simulate::Trace trace;
  const uint32_t largest = keys.empty() ? 0 : *std::ranges::max_element(keys);
  std::vector<uint32_t> numbers(size_t{largest} + 1, UINT32_MAX);
  for (const uint32_t key : keys) {
    if (numbers[key] == UINT32_MAX) {
      numbers[key] = trace.objects();
      trace.key_hashes.push_back(mix64(uint64_t{key} + 1));
      ++trace.object_bytes;
    }
    trace.accesses.push_back({.object = numbers[key]});
  }
  return trace;
}

}  // namespace cachefs::test
