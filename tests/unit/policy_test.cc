// Eviction policies: what all of them promise, and exact miss counts.
#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <random>
#include <set>
#include <unordered_map>
#include <vector>

#include "cachefs/eviction_policy.h"
#include "support/scale.h"

namespace cachefs {
namespace {

constexpr uint32_t kWeight = 4096;

bool always(SlotIndex /*slot*/) { return true; }
bool never(SlotIndex /*slot*/) { return false; }

class PolicyTest : public ::testing::TestWithParam<EvictionPolicyInfo> {
 protected:
  void SetUp() override {
    policy_ = GetParam().make();
    policy_->resize(64);
  }
  void TearDown() override { policy_->check_invariants(); }
  void insert(uint32_t slot) { policy_->on_insert(SlotIndex{slot}, slot * 0x9E3779B97F4A7C15ULL, kWeight); }
  void hit(uint32_t slot) {
    const SlotIndex index{slot};
    policy_->on_hits({&index, 1});
  }
  /// Evicts everything that may leave; what came out, in order.
  std::vector<uint32_t> drain(const Evictable& evictable = always) {
    std::vector<uint32_t> out;
    while (const auto victim = policy_->victim(evictable)) {
      out.push_back(static_cast<uint32_t>(*victim));
      policy_->on_evict(*victim);
    }
    return out;
  }
  std::unique_ptr<EvictionPolicy> policy_;
};

std::string policy_name(const ::testing::TestParamInfo<EvictionPolicyInfo>& info) {
  return std::string(info.param.name);
}
INSTANTIATE_TEST_SUITE_P(All, PolicyTest,
                         ::testing::ValuesIn(eviction_policies().begin(), eviction_policies().end()),
                         policy_name);

TEST_P(PolicyTest, AnEmptyOneHasNoVictim) { EXPECT_FALSE(policy_->victim(always)); }

TEST_P(PolicyTest, EveryEntryLeavesOnceInTheEnd) {
  std::vector<uint32_t> slots;
  for (uint32_t slot = 0; slot < 64; ++slot) {
    insert(slot);
    slots.push_back(slot);
  }
  EXPECT_TRUE(std::ranges::is_permutation(drain(), slots));
}

TEST_P(PolicyTest, TheVictimIsAlwaysEvictable) {
  for (uint32_t slot = 0; slot < 64; ++slot) insert(slot);
  const auto odd = [](SlotIndex slot) { return static_cast<uint32_t>(slot) % 2 == 1; };
  const std::vector<uint32_t> out = drain(odd);
  EXPECT_EQ(out.size(), 32U);
  EXPECT_TRUE(std::ranges::all_of(out, [](uint32_t slot) { return slot % 2 == 1; }));
}

TEST_P(PolicyTest, WithoutAnEvictableEntryThereIsNoVictimAndNothingIsLost) {
  for (uint32_t slot = 0; slot < 64; ++slot) insert(slot);
  EXPECT_FALSE(policy_->victim(never));
  EXPECT_EQ(drain().size(), 64U);
}

TEST_P(PolicyTest, ARemovedEntryIsNoVictim) {
  for (uint32_t slot = 0; slot < 8; ++slot) insert(slot);
  policy_->on_remove(SlotIndex{3});
  const auto out = drain();
  EXPECT_EQ(out.size(), 7U);
  EXPECT_FALSE(std::ranges::count(out, 3U));
}

TEST_P(PolicyTest, GrowingKeepsTheEntries) {
  for (uint32_t slot = 0; slot < 64; ++slot) insert(slot);
  policy_->resize(1024);
  for (uint32_t slot = 64; slot < 1024; ++slot) insert(slot);
  policy_->check_invariants();
  EXPECT_EQ(drain().size(), 1024U);
}

TEST_P(PolicyTest, ResizingToNothingAndBackStartsAfresh) {
  insert(0);
  policy_->on_remove(SlotIndex{0});
  policy_->resize(0);
  EXPECT_FALSE(policy_->victim(always));
  policy_->resize(64);
  insert(5);
  EXPECT_EQ(drain(), std::vector<uint32_t>{5});
}

TEST_P(PolicyTest, WhatItHoldsGrowsWithTheSlots) {
  EXPECT_GT(policy_->bytes_for(64), 0U);
  EXPECT_LE(policy_->bytes_for(64), policy_->bytes_for(128));
  EXPECT_LE(policy_->bytes_for(1024) / 1024, 128U) << "bytes per slot";
}

TEST_P(PolicyTest, RandomOperationsAgreeWithASet) {
  std::mt19937_64 random(test::seed());
  std::set<uint32_t> inside;
  for (int step = 0; step < 50'000; ++step) {
    const auto slot = static_cast<uint32_t>(random() % 64);
    const bool in = inside.contains(slot);
    switch (random() % 5) {
      case 0:
      case 1:
        if (!in) insert(slot), inside.insert(slot);
        break;
      case 2:
        if (in) hit(slot), policy_->on_weight_change(SlotIndex{slot}, kWeight * 2);
        break;
      case 3:
        if (in) policy_->on_remove(SlotIndex{slot}), inside.erase(slot);
        break;
      default: {
        const auto victim = policy_->victim([&](SlotIndex s) { return static_cast<uint32_t>(s) >= slot; });
        const bool any = inside.lower_bound(slot) != inside.end();
        ASSERT_EQ(victim.has_value(), any);
        if (!victim) break;
        ASSERT_GE(static_cast<uint32_t>(*victim), slot);
        ASSERT_TRUE(inside.erase(static_cast<uint32_t>(*victim)));
        policy_->on_evict(*victim);
      }
    }
  }
  EXPECT_EQ(drain().size(), inside.size());
}

TEST(Registry, FindsEveryPolicyByItsName) {
  ASSERT_FALSE(eviction_policies().empty());
  for (const EvictionPolicyInfo& policy : eviction_policies()) {
    const auto found = find_eviction_policy(policy.name);
    ASSERT_TRUE(found);
    EXPECT_EQ((*found)->name, policy.name);
    EXPECT_FALSE(policy.summary.empty());
  }
}

TEST(Registry, NamesTheNearestPolicy) {
  const std::pair<std::string_view, std::string_view> table[] = {
      {"lur", "'lru'"}, {"LRU", "'lru'"}, {"fif0", "'fifo'"}};
  for (const auto& [wrong, right] : table) {
    const auto found = find_eviction_policy(wrong);
    ASSERT_FALSE(found);
    EXPECT_TRUE(found.error().is(std::errc::invalid_argument));
    EXPECT_NE(found.error().message().find(right), std::string::npos) << found.error().message();
  }
}

// --- Miss counts

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

TEST(Lru, AHitSavesTheOldestEntry) {
  auto policy = (*find_eviction_policy("lru"))->make();
  policy->resize(3);
  for (uint32_t slot = 0; slot < 3; ++slot) policy->on_insert(SlotIndex{slot}, slot, kWeight);
  const SlotIndex oldest{0};
  policy->on_hits({&oldest, 1});
  EXPECT_EQ(policy->victim(always), SlotIndex{1});
}

TEST(Fifo, AHitChangesNothing) {
  auto policy = (*find_eviction_policy("fifo"))->make();
  policy->resize(3);
  for (uint32_t slot = 0; slot < 3; ++slot) policy->on_insert(SlotIndex{slot}, slot, kWeight);
  const SlotIndex oldest{0};
  policy->on_hits({&oldest, 1});
  EXPECT_EQ(policy->victim(always), oldest);
}

}  // namespace
}  // namespace cachefs
