// Time to live: blocks expire by themselves, in time, and leave first.
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "support/scale.h"
#include "unit/block_cache_fixture.h"

namespace cachefs {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using test::kBlock;
using test::key;

constexpr Lifetime kTenSeconds{.queue = 0, .ttl = seconds(10)};
constexpr Lifetime kThreeSeconds{.queue = 1, .ttl = seconds(3)};

class ExpiryTest : public test::BlockCacheTest {
 protected:
  void SetUp() override { make_with(TtlStart::insert); }
  void make_with(TtlStart start, std::string_view policy = "lru", uint64_t max_entries = UINT64_MAX) {
    make({.block_size = kBlock,
          .shard_count = 1,
          .max_entries = max_entries,
          .policy = *find_eviction_policy(policy),
          .time = {.clock = &clock_, .ttl_start = start}});
  }
  void fill(uint64_t index, const Lifetime& lifetime, ByteRange range = {0, kBlock}) {
    BlockFill filled = cache().begin_fill(key(index), range, kBlock, lifetime);
    ASSERT_TRUE(filled.pin);
    std::ranges::fill(filled.pin.data(), std::byte{'x'});
    cache().finish_fill(filled, filled.missing);
  }
  bool has(uint64_t index, ByteRange range = {0, kBlock}) {
    return static_cast<bool>(cache().find(key(index), range));
  }
  ManualClock clock_;
};

TEST_F(ExpiryTest, ABlockIsServedUntilItsTimeIsOver) {
  fill(0, kTenSeconds);
  clock_.advance(seconds(10) - milliseconds(1));
  EXPECT_TRUE(has(0));
  clock_.advance(milliseconds(1));
  EXPECT_FALSE(has(0));
}

TEST_F(ExpiryTest, WithoutATimeToLiveNothingExpires) {
  fill(0, {});
  fill(1, {.queue = 2, .ttl = Lifetime::kForever - seconds(1)});
  clock_.advance(std::chrono::hours(100'000));
  EXPECT_EQ(cache().expire(), 0U);
  EXPECT_TRUE(has(0));
  EXPECT_TRUE(has(1));
}

TEST_F(ExpiryTest, AFixedTimeIsNotProlongedByHits) {
  fill(0, kTenSeconds);
  clock_.advance(seconds(6));
  EXPECT_TRUE(has(0));
  clock_.advance(seconds(6));
  EXPECT_FALSE(has(0));
}

TEST_F(ExpiryTest, ASlidingTimeIsProlongedByHits) {
  make_with(TtlStart::last_use);
  fill(0, kTenSeconds);
  fill(1, kTenSeconds);
  clock_.advance(seconds(6));
  EXPECT_TRUE(has(0));
  clock_.advance(seconds(6));
  EXPECT_TRUE(has(0));
  EXPECT_FALSE(has(1));
  clock_.advance(seconds(10));
  EXPECT_FALSE(has(0));
}

TEST_F(ExpiryTest, ExpiredBlocksGiveTheirMemoryBackOnRequest) {
  for (uint64_t i = 0; i < 100; ++i) fill(i, i % 2 == 0 ? kTenSeconds : kThreeSeconds);
  clock_.advance(seconds(5));
  EXPECT_EQ(cache().expire(), 50U);
  EXPECT_EQ(cache().entries(), 50U);
  EXPECT_EQ(cache().expirations(), 50U);
}

TEST_F(ExpiryTest, ExpiredBlocksLeaveAsOthersCome) {
  for (uint64_t i = 0; i < 100; ++i) fill(i, kThreeSeconds);
  clock_.advance(seconds(5));
  for (uint64_t i = 100; i < 130; ++i) fill(i, kTenSeconds);
  EXPECT_EQ(cache().entries(), 30U);
}

TEST_F(ExpiryTest, ExpiredBlocksLeaveBeforeOthersAreEvicted) {
  make_with(TtlStart::insert, "lru", 2);
  fill(0, kTenSeconds);
  fill(1, kThreeSeconds);
  clock_.advance(seconds(5));
  fill(2, kTenSeconds);
  EXPECT_TRUE(has(0));
  EXPECT_EQ(cache().evictions(), 0U);
}

TEST_F(ExpiryTest, WhatIsTakenOverIntoANewBlockIsAsOldAsItWas) {
  fill(0, kTenSeconds, {0, 4096});
  clock_.advance(seconds(6));
  fill(1, kTenSeconds);
  {  // somebody is filling another unit: who wants it too gets a block of his own, with the first unit
    BlockFill first = cache().begin_fill(key(0), {4096, 8192}, kBlock, kTenSeconds);
    fill(0, kTenSeconds, {4096, 8192});
    cache().abandon_fill(first);
  }
  EXPECT_TRUE(has(0, {0, 8192}));
  cache().check_invariants();
  clock_.advance(seconds(4));
  EXPECT_FALSE(has(0, {0, 4096}));
  EXPECT_TRUE(has(1));
}

TEST_F(ExpiryTest, AReaderKeepsTheBytesOfABlockThatExpires) {
  fill(0, kTenSeconds);
  const BlockPin pin = cache().find(key(0), {0, kBlock});
  clock_.advance(seconds(10));
  EXPECT_EQ(cache().expire(), 1U);
  EXPECT_EQ(text(pin, {0, 3}), "xxx");
}

TEST_F(ExpiryTest, TheTtlPolicyEvictsWhatExpiresFirst) {
  make_with(TtlStart::insert, "ttl", 4);
  fill(0, {});
  fill(1, kTenSeconds);
  fill(2, kTenSeconds);
  fill(3, kThreeSeconds);
  fill(4, {});
  EXPECT_FALSE(has(3));
  fill(5, {});
  EXPECT_FALSE(has(1));
  fill(6, {});
  EXPECT_FALSE(has(2));
  fill(7, {});
  EXPECT_FALSE(has(0)) << "by recency once none expires";
}

/// Against a map of deadlines that is searched from end to end.
void compare_with_model(BlockCache& cache, ManualClock& clock, TtlStart start, size_t room) {
  std::mt19937_64 random(test::seed());
  struct Kept {
    MonotonicTime at;
    seconds ttl;
  };
  std::map<uint64_t, Kept> model;
  const auto drop_expired = [&] {
    std::erase_if(model, [&](const auto& entry) { return entry.second.at <= clock.now(); });
  };
  for (int step = 0; step < 20'000; ++step) {
    const uint64_t index = random() % 60;
    if (random() % 4 == 0) {
      clock.advance(milliseconds(1 + random() % 700));
      drop_expired();
    }
    const BlockPin pin = cache.find(key(index), {0, kBlock});
    const auto known = model.find(index);
    ASSERT_EQ(static_cast<bool>(pin), known != model.end()) << "step " << step;
    if (pin) {
      if (start == TtlStart::last_use) known->second.at = clock.now() + known->second.ttl;
    } else {
      const uint8_t queue = random() % 5;
      const seconds ttl(1 + 3 * queue);
      if (model.size() == room) {
        // No two expire at one moment: time passes before each.
        model.erase(std::ranges::min_element(model, {}, [](const auto& entry) { return entry.second.at; }));
      }
      BlockFill fill = cache.begin_fill(key(index), {0, kBlock}, kBlock, {.queue = queue, .ttl = ttl});
      ASSERT_TRUE(fill.pin);
      std::ranges::fill(fill.pin.data(), std::byte{});
      cache.finish_fill(fill, fill.missing);
      model[index] = {.at = clock.now() + ttl, .ttl = ttl};
    }
    clock.advance(std::chrono::microseconds(1 + random() % 5));
    drop_expired();
    if (step % 1000 == 0) {
      cache.expire();
      ASSERT_EQ(cache.entries(), model.size());
      cache.check_invariants();
    }
  }
}

TEST_F(ExpiryTest, RandomOperationsAgreeWithAModel) {
  compare_with_model(cache(), clock_, TtlStart::insert, 60);
}
TEST_F(ExpiryTest, RandomOperationsAgreeWithAModelOfSlidingTimes) {
  make_with(TtlStart::last_use);
  compare_with_model(cache(), clock_, TtlStart::last_use, 60);
}
TEST_F(ExpiryTest, RandomEvictionsByTtlAgreeWithAModel) {
  make_with(TtlStart::insert, "ttl", 20);
  compare_with_model(cache(), clock_, TtlStart::insert, 20);
}
TEST_F(ExpiryTest, RandomEvictionsBySlidingTtlAgreeWithAModel) {
  make_with(TtlStart::last_use, "ttl", 20);
  compare_with_model(cache(), clock_, TtlStart::last_use, 20);
}

}  // namespace
}  // namespace cachefs
