// The block cache: fills, pins, eviction, generations.
#include <gmock/gmock.h>

#include "unit/block_cache_fixture.h"

namespace cachefs {

inline bool operator==(const ByteRange& a, const ByteRange& b) {
  return a.begin == b.begin && a.end == b.end;
}

namespace {

using test::kBlock;
using test::key;
using test::kFile;
using ::testing::ElementsAre;

class BlockCacheTest : public test::BlockCacheTest {
 protected:
  void SetUp() override {
    make({.block_size = kBlock, .shard_count = 1, .policy = *find_eviction_policy("lru")});
  }
};

/// Notes what it is told, in order; evicts what came first.
class NotingPolicy final : public EvictionPolicy {
 public:
  static inline std::vector<std::string> noted;

  void resize(uint32_t count) override { policy_->resize(count); }
  [[nodiscard]] size_t bytes_for(uint32_t count) const override { return policy_->bytes_for(count); }
  void on_miss(uint64_t /*key_hash*/) override { noted.emplace_back("miss"); }
  void on_insert(SlotIndex slot, uint64_t key_hash, uint32_t weight) override {
    noted.emplace_back("insert");
    policy_->on_insert(slot, key_hash, weight);
  }
  void on_hits(std::span<const SlotIndex> slots) override { policy_->on_hits(slots); }
  void on_weight_change(SlotIndex slot, uint32_t weight) override { policy_->on_weight_change(slot, weight); }
  void on_remove(SlotIndex slot) override { policy_->on_remove(slot); }
  void on_evict(SlotIndex slot) override { policy_->on_evict(slot); }
  std::optional<SlotIndex> victim(const Evictable& evictable) override {
    noted.emplace_back("victim");
    return policy_->victim(evictable);
  }
  void check_invariants() const override { policy_->check_invariants(); }

 private:
  std::unique_ptr<EvictionPolicy> policy_ = (*find_eviction_policy("fifo"))->make();
};
constexpr EvictionPolicyInfo kNotingPolicy{
    .name = "noting", .summary = "notes", .make = []() -> std::unique_ptr<EvictionPolicy> {
      return std::make_unique<NotingPolicy>();
    }};

TEST_F(BlockCacheTest, ThePolicyLearnsOfAMissBeforeRoomIsMade) {
  make({.block_size = kBlock, .shard_count = 1, .max_entries = 1, .policy = &kNotingPolicy});
  ASSERT_TRUE(fill(key(0), 'a'));
  NotingPolicy::noted.clear();
  ASSERT_TRUE(fill(key(1), 'b'));
  EXPECT_THAT(NotingPolicy::noted, ElementsAre("miss", "victim", "insert"));
  NotingPolicy::noted.clear();
  write({.offset = 2 * kBlock,
         .data = std::string(kBlock, 'c'),
         .old_size = 2 * kBlock,
         .new_size = 3 * kBlock});
  EXPECT_THAT(NotingPolicy::noted, ::testing::Contains("miss").Times(1)) << "a write is one, too";
}

TEST_F(BlockCacheTest, FindsNothingBeforeTheFirstFill) { EXPECT_FALSE(has(key(0))); }

TEST_F(BlockCacheTest, FindsWhatWasFilledAndNothingElse) {
  ASSERT_TRUE(fill(key(0), {0, 4096}, kBlock, 'a'));
  EXPECT_EQ(read(key(0), {0, 4}), "aaaa");
  EXPECT_TRUE(has(key(0), {4095, 4096}));
  EXPECT_FALSE(has(key(0), {4095, 4097}));
  EXPECT_FALSE(has(key(1), {0, 1}));
  EXPECT_FALSE(has(key(0, 2), {0, 1})) << "another generation";
  EXPECT_FALSE(has(key(0, 1, FileId{8}), {0, 1})) << "another file";
}

TEST_F(BlockCacheTest, AFillAsksForMissingUnitsOnly) {
  ASSERT_TRUE(fill(key(0), {4096, 8192}, kBlock, 'a'));
  BlockFill second = cache().begin_fill(key(0), {0, kBlock}, kBlock);
  EXPECT_THAT(second.missing, ElementsAre(ByteRange{0, 4096}, ByteRange{8192, kBlock}));
  cache().abandon_fill(second);
  EXPECT_EQ(read(key(0), {4096, 4098}), "aa") << "an abandoned fill takes nothing away";
}

TEST_F(BlockCacheTest, AFillIsOfWholeUnitsCutAtTheEndOfTheFile) {
  BlockFill fill = cache().begin_fill(key(0), {4100, 5000}, 5000);
  EXPECT_THAT(fill.missing, ElementsAre(ByteRange{4096, 5000}));
  cache().abandon_fill(fill);
}

TEST_F(BlockCacheTest, AnAbandonedFillLeavesNoBlock) {
  BlockFill fill = cache().begin_fill(key(0), {0, 4096}, kBlock);
  cache().abandon_fill(fill);
  fill.pin.reset();
  EXPECT_EQ(cache().entries(), 0U);
}

TEST_F(BlockCacheTest, ASecondFillerGetsABlockOfItsOwn) {
  BlockFill first = cache().begin_fill(key(0), {0, 4096}, kBlock);
  BlockFill second = cache().begin_fill(key(0), {0, 4096}, kBlock);
  ASSERT_TRUE(first.pin && second.pin);
  EXPECT_NE(first.pin.data().data(), second.pin.data().data());
  std::memset(second.pin.data().data(), 'b', 4096);
  cache().finish_fill(second, second.missing);
  std::memset(first.pin.data().data(), 'a', 4096);
  cache().finish_fill(first, first.missing);
  EXPECT_EQ(read(key(0), {0, 2}), "bb");
  EXPECT_EQ(cache().entries(), 1U);
}

TEST_F(BlockCacheTest, ABlockOfAFileThatGrewKeepsItsUnits) {
  ASSERT_TRUE(fill(key(0), {0, 4096}, 4096, 'a'));
  ASSERT_TRUE(fill(key(0), {4096, kBlock}, kBlock, 'b'));
  EXPECT_EQ(read(key(0), {4094, 4098}), "aabb");
}

TEST_F(BlockCacheTest, AnUnfinishedFillIsNotFound) {
  BlockFill fill = cache().begin_fill(key(0), {0, kBlock}, kBlock);
  EXPECT_FALSE(has(key(0), {0, 1}));
  cache().abandon_fill(fill);
}

TEST_F(BlockCacheTest, EvictionTakesTheLeastRecentlyUsed) {
  for (uint64_t i = 0; i < 3; ++i) ASSERT_TRUE(fill(key(i), 'a'));
  EXPECT_TRUE(has(key(0)));
  ASSERT_TRUE(cache().evict_one());
  EXPECT_TRUE(has(key(0)));
  EXPECT_FALSE(has(key(1)));
  EXPECT_EQ(cache().evictions(), 1U);
}

TEST_F(BlockCacheTest, APinnedBlockIsNeverEvicted) {
  ASSERT_TRUE(fill(key(0), 'a'));
  ASSERT_TRUE(fill(key(1), 'b'));
  const BlockPin pin = cache().find(key(0), {0, kBlock});
  EXPECT_TRUE(cache().evict_one());
  EXPECT_FALSE(cache().evict_one());
  EXPECT_TRUE(has(key(0)));
  EXPECT_FALSE(has(key(1)));
}

TEST_F(BlockCacheTest, ADroppedBlockStaysReadableUnderItsPin) {
  ASSERT_TRUE(fill(key(0), 'a'));
  BlockPin pin = cache().find(key(0), {0, kBlock});
  EXPECT_EQ(cache().drop(kFile, UINT64_MAX), 1U);
  EXPECT_FALSE(has(key(0)));
  ASSERT_TRUE(fill(key(0), 'b'));
  EXPECT_EQ(text(pin, {0, kBlock}), std::string(kBlock, 'a'));
  const uint64_t with_pin = budget_.used();
  pin.reset();
  EXPECT_LE(budget_.used() + kBlock, with_pin) << "the last pin gives the memory back";
}

TEST_F(BlockCacheTest, AFillOfADroppedBlockIsNotPublished) {
  BlockFill fill = cache().begin_fill(key(0), {0, kBlock}, kBlock);
  cache().drop(kFile, UINT64_MAX);
  cache().finish_fill(fill, fill.missing);
  EXPECT_FALSE(has(key(0), {0, 1}));
}

TEST_F(BlockCacheTest, DropTakesOlderGenerationsOfThatFileOnly) {
  ASSERT_TRUE(fill(key(0, 1), 'a'));
  ASSERT_TRUE(fill(key(1, 2), 'b'));
  ASSERT_TRUE(fill(key(0, 3), 'c'));
  ASSERT_TRUE(fill(key(0, 1, FileId{8}), 'd'));
  EXPECT_EQ(cache().drop(kFile, 3), 2U);
  EXPECT_FALSE(has(key(0, 1)));
  EXPECT_FALSE(has(key(1, 2)));
  EXPECT_TRUE(has(key(0, 3)));
  EXPECT_TRUE(has(key(0, 1, FileId{8})));
}

TEST_F(BlockCacheTest, ResizeDropsFromTheBlockOfTheSmallerEnd) {
  for (uint64_t i = 0; i < 4; ++i) ASSERT_TRUE(fill(key(i), 'a'));
  cache().apply_resize(kFile, 1, 4 * kBlock, 2 * kBlock + 10);
  EXPECT_TRUE(has(key(1)));
  EXPECT_FALSE(has(key(2)));
  EXPECT_FALSE(has(key(3)));
}

TEST_F(BlockCacheTest, ManyBlocksGrowAndGiveBackTheTables) {
  for (uint64_t i = 0; i < 1000; ++i) ASSERT_TRUE(fill(key(i), {0, 1}, 1, 'x'));
  for (uint64_t i = 0; i < 1000; ++i) ASSERT_TRUE(has(key(i), {0, 1})) << i;
  EXPECT_EQ(cache().entries(), 1000U);
  cache().check_invariants();
}

TEST_F(BlockCacheTest, NewBlocksPushOutOldOnesAtTheLimit) {
  for (uint64_t i = 0; i < 6000; ++i) ASSERT_TRUE(fill(key(i), 'a'));
  EXPECT_LE(budget_.used(), budget_.limit());
  EXPECT_GT(budget_.used(), budget_.limit() / 10 * 9) << "the room is used";
  EXPECT_GT(cache().evictions(), 1900U);
  EXPECT_TRUE(has(key(5999)));
}

TEST_F(BlockCacheTest, WithEverythingPinnedThereIsNoRoomAndNoBlock) {
  std::vector<BlockPin> pins;
  for (uint64_t i = 0;; ++i) {
    if (!fill(key(i), 'a')) break;
    pins.push_back(cache().find(key(i), {0, kBlock}));
  }
  EXPECT_GT(pins.size(), 3000U);
  EXPECT_LE(budget_.used(), budget_.limit());
}

TEST_F(BlockCacheTest, MaxEntriesIsNeverExceeded) {
  make({.block_size = kBlock, .shard_count = 4, .max_entries = 5, .policy = *find_eviction_policy("fifo")});
  for (uint64_t i = 0; i < 200; ++i) {
    ASSERT_TRUE(fill(key(i), 'a'));
    ASSERT_LE(cache().entries(), 5U);
  }
  EXPECT_EQ(cache().evictions(), 195U);
}

TEST_F(BlockCacheTest, LargeBlocksKeepTheirUnitsToo) {
  constexpr uint32_t kLarge = 4 * 1024 * 1024;
  make({.block_size = kLarge, .shard_count = 1, .policy = *find_eviction_policy("lru")});
  ASSERT_TRUE(fill(key(0), {kLarge - 1, kLarge}, kLarge, 'z'));
  EXPECT_EQ(read(key(0), {kLarge - 3, kLarge}), "zzz");
  EXPECT_FALSE(has(key(0), {kLarge - 4097, kLarge}));
  ASSERT_TRUE(fill(key(0), {0, kLarge}, kLarge, 'y'));
  EXPECT_EQ(read(key(0), {kLarge - 4098, kLarge - 4094}), "yyzz");
}

}  // namespace
}  // namespace cachefs
