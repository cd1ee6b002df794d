// How often each policy misses on traces that are the same on every machine, as exact numbers.
#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <unordered_map>
#include <vector>

#include "cachefs/eviction_policy.h"

namespace cachefs {
namespace {

constexpr uint32_t kWeight = 4096;

bool always(SlotIndex /*slot*/) { return true; }

using Trace = std::vector<uint32_t>;
constexpr uint32_t kCapacity = 100;

uint64_t next_random(uint64_t& state) {  // splitmix64: the same on every machine
  uint64_t z = (state += 0x9E3779B97F4A7C15ULL);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31);
}

/// Key k with a probability of 1 / (k + 1), in integers.
Trace zipf(size_t length, uint32_t keys) {
  std::vector<uint64_t> cumulative;
  for (uint32_t key = 0; key < keys; ++key) {
    cumulative.push_back((cumulative.empty() ? 0 : cumulative.back()) + 1'000'000'000 / (key + 1));
  }
  Trace trace;
  uint64_t state = 42;
  for (size_t i = 0; i < length; ++i) {
    const uint64_t at = next_random(state) % cumulative.back();
    trace.push_back(static_cast<uint32_t>(std::ranges::upper_bound(cumulative, at) - cumulative.begin()));
  }
  return trace;
}

Trace loop(size_t length, uint32_t keys) {
  Trace trace;
  for (size_t i = 0; i < length; ++i) trace.push_back(static_cast<uint32_t>(i % keys));
  return trace;
}

/// A hot set, with a scan of keys that never come back after every thousandth request.
Trace with_scans(size_t length) {
  Trace trace;
  uint32_t scanned = 1'000'000;
  for (const uint32_t key : zipf(length, 200)) {
    trace.push_back(key);
    for (int i = 0; trace.size() % 1000 == 0 && i < 150; ++i) trace.push_back(scanned++);
  }
  return trace;
}

uint64_t count_misses(EvictionPolicy& policy, const Trace& trace) {
  policy.resize(kCapacity);
  std::unordered_map<uint32_t, SlotIndex> slots;
  std::vector<uint32_t> keys(kCapacity);
  uint64_t misses = 0;
  for (const uint32_t key : trace) {
    if (const auto at = slots.find(key); at != slots.end()) {
      policy.on_hits({&at->second, 1});
      continue;
    }
    ++misses;
    SlotIndex slot{static_cast<uint32_t>(slots.size())};
    if (slots.size() == kCapacity) {
      slot = policy.victim(always).value_or(kNoSlot);
      policy.on_evict(slot);
      slots.erase(keys[static_cast<uint32_t>(slot)]);
    }
    keys[static_cast<uint32_t>(slot)] = key;
    slots.emplace(key, slot);
    policy.on_insert(slot, key, kWeight);
  }
  return misses;
}

/// The same by a plain list, to which a hit moves a key only with LRU.
uint64_t count_misses_plainly(bool hits_move, const Trace& trace) {
  std::list<uint32_t> order;
  uint64_t misses = 0;
  for (const uint32_t key : trace) {
    const auto at = std::ranges::find(order, key);
    if (at != order.end()) {
      if (hits_move) order.splice(order.begin(), order, at);
      continue;
    }
    ++misses;
    if (order.size() == kCapacity) order.pop_back();
    order.push_front(key);
  }
  return misses;
}

uint64_t misses_of(std::string_view policy, const Trace& trace) {
  return count_misses(*(*find_eviction_policy(policy))->make(), trace);
}

TEST(MissCounts, AreThoseOfAPlainModel) {
  for (const Trace& trace : {zipf(20'000, 1000), loop(5000, 90), loop(5000, 110), with_scans(10'000)}) {
    EXPECT_EQ(misses_of("lru", trace), count_misses_plainly(true, trace));
    EXPECT_EQ(misses_of("fifo", trace), count_misses_plainly(false, trace));
  }
}

TEST(MissCounts, OfLruAreExact) {
  EXPECT_EQ(misses_of("lru", zipf(20'000, 1000)), 8450U);
  EXPECT_EQ(misses_of("lru", loop(5000, 90)), 90U);
  EXPECT_EQ(misses_of("lru", loop(5000, 110)), 5000U);
  EXPECT_EQ(misses_of("lru", with_scans(10'000)), 1702U);
}

TEST(MissCounts, OfFifoAreExact) {
  EXPECT_EQ(misses_of("fifo", zipf(20'000, 1000)), 9494U);
  EXPECT_EQ(misses_of("fifo", loop(5000, 90)), 90U);
  EXPECT_EQ(misses_of("fifo", loop(5000, 110)), 5000U);
  EXPECT_EQ(misses_of("fifo", with_scans(10'000)), 2161U);
}

}  // namespace
}  // namespace cachefs
