// Eviction policies: what all of them promise.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <vector>

#include "cachefs/eviction_policy.h"
#include "support/scale.h"

namespace cachefs {
namespace {

constexpr uint32_t kWeight = 4096;

uint64_t hash_of(uint32_t slot) { return slot * 0x9E3779B97F4A7C15ULL; }
bool always(SlotIndex /*slot*/) { return true; }
bool never(SlotIndex /*slot*/) { return false; }

class PolicyTest : public ::testing::TestWithParam<EvictionPolicyInfo> {
 protected:
  void SetUp() override {
    policy_ = GetParam().make();
    policy_->resize(64);
  }
  void TearDown() override { policy_->check_invariants(); }
  void insert(uint32_t slot) {
    policy_->on_miss(hash_of(slot));
    policy_->on_insert(SlotIndex{slot}, hash_of(slot), kWeight);
  }
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
  std::string name(info.param.name);
  std::ranges::replace(name, '-', '_');
  return name;
}
INSTANTIATE_TEST_SUITE_P(All, PolicyTest,
                         ::testing::ValuesIn(eviction_policies().begin(), eviction_policies().end()),
                         policy_name);

TEST_P(PolicyTest, AnEmptyOneHasNoVictim) { EXPECT_FALSE(policy_->victim(always)); }

TEST_P(PolicyTest, AMissThatBringsNothingIn) {
  policy_->on_miss(hash_of(0));
  insert(0);
  EXPECT_EQ(drain(), std::vector<uint32_t>{0});
  policy_->on_miss(hash_of(0));
  policy_->on_miss(hash_of(0));
  EXPECT_FALSE(policy_->victim(always));
}

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
    switch (random() % 6) {
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
      case 4:
        if (!in) policy_->on_miss(hash_of(slot));
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
