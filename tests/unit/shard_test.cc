// A shard: its tables grow after reserving, slots are reused, pins hold buffers.
#include "cache/shard.h"

#include <gtest/gtest.h>

namespace cachefs {
namespace {

class ShardTest : public ::testing::Test {
 protected:
  ~ShardTest() override {
    MutexLock lock(shard_.mutex);
    shard_.check_invariants();
    ReleasedBuffers released;
    shard_.for_each([&](Slot& slot)
                        NO_THREAD_SAFETY_ANALYSIS { shard_.detach(slot, Shard::Reason::removed, released); });
    for (const SlabBuffer& buffer : released) pool_.free(buffer);
  }
  Slot* insert(uint64_t index, FileId file = FileId{1}) REQUIRES(shard_.mutex) {
    return shard_.insert({file, 1, index}, pool_.allocate(4096));
  }
  /// Detaches and frees what is free now.
  void detach(Slot& slot) REQUIRES(shard_.mutex) {
    ReleasedBuffers released;
    shard_.detach(slot, Shard::Reason::removed, released);
    for (const SlabBuffer& buffer : released) pool_.free(buffer);
  }
  static constexpr BlockLayout kLayout{.block_size = 16 * 1024};
  Budget memory_{1UL << 30};
  Budget tables_{1UL << 20};
  SlabPool pool_{memory_, 0};
  Shard shard_{tables_, kLayout, (*find_eviction_policy("lru"))->make()};
};

TEST_F(ShardTest, FindsABlockByItsWholeKey) {
  MutexLock lock(shard_.mutex);
  Slot* slot = insert(5);
  ASSERT_NE(slot, nullptr);
  EXPECT_EQ(shard_.find({FileId{1}, 1, 5}), slot);
  EXPECT_EQ(shard_.find({FileId{1}, 2, 5}), nullptr);
  EXPECT_EQ(shard_.find({FileId{2}, 1, 5}), nullptr);
  EXPECT_EQ(shard_.find({FileId{1}, 1, 6}), nullptr);
}

TEST_F(ShardTest, CountsEntriesAndWeight) {
  MutexLock lock(shard_.mutex);
  Slot* slot = insert(0);
  insert(1);
  EXPECT_EQ(shard_.entries(), 2U);
  EXPECT_EQ(shard_.weight(), 2 * SlabPool::capacity_for(4096));
  detach(*slot);
  EXPECT_EQ(shard_.entries(), 1U);
  EXPECT_EQ(shard_.weight(), SlabPool::capacity_for(4096));
}

TEST_F(ShardTest, SlotsNeverMoveWhenTablesGrow) {
  MutexLock lock(shard_.mutex);
  std::vector<Slot*> slots;
  for (uint64_t i = 0; i < 1000; ++i) slots.push_back(insert(i));
  for (uint64_t i = 0; i < 1000; ++i) ASSERT_EQ(shard_.find({FileId{1}, 1, i}), slots[i]);
  shard_.check_invariants();
}

TEST_F(ShardTest, TablesAreReservedAndGivenBackWhenEmpty) {
  MutexLock lock(shard_.mutex);
  EXPECT_EQ(tables_.used(), 0U);
  Slot* slot = insert(0);
  EXPECT_GE(tables_.used(), 64 * sizeof(Slot));
  shard_.release_tables_if_empty();
  EXPECT_GE(tables_.used(), 64 * sizeof(Slot)) << "not while a slot is in use";
  detach(*slot);
  shard_.release_tables_if_empty();
  EXPECT_EQ(tables_.used(), 0U);
  EXPECT_NE(insert(1), nullptr) << "and it can begin again";
}

TEST_F(ShardTest, WithoutRoomForTablesNothingIsInserted) {
  const Reservation all = Reservation::of(tables_, tables_.limit());
  MutexLock lock(shard_.mutex);
  const SlabBuffer buffer = pool_.allocate(4096);
  EXPECT_EQ(shard_.insert({FileId{1}, 1, 0}, buffer), nullptr);
  pool_.free(buffer);
}

TEST_F(ShardTest, TheLastPinFreesADetachedSlot) {
  MutexLock lock(shard_.mutex);
  Slot* slot = insert(0);
  slot->pins.fetch_add(1);
  ReleasedBuffers released;
  shard_.detach(*slot, Shard::Reason::removed, released);
  EXPECT_TRUE(released.empty());
  EXPECT_EQ(shard_.find({FileId{1}, 1, 0}), nullptr);
  EXPECT_EQ(slot->pins.fetch_sub(1), Slot::kDetached | 1);
  shard_.recycle(*slot, released);
  ASSERT_EQ(released.size(), 1U);
  pool_.free(released.front());
}

TEST_F(ShardTest, PinnedAndDirtyBlocksAreNoVictims) {
  MutexLock lock(shard_.mutex);
  Slot* pinned = insert(0);
  Slot* dirty = insert(1);
  Slot* free = insert(2);
  pinned->pins.fetch_add(1);
  kLayout.dirty(*dirty).set(0, 1);
  EXPECT_EQ(shard_.victim(), free);
  detach(*free);
  EXPECT_EQ(shard_.victim(), nullptr);
  pinned->pins.fetch_sub(1);
  EXPECT_EQ(shard_.victim(), pinned);
}

TEST_F(ShardTest, AHitDoesNotCountForTheNextBlockInTheSlot) {
  MutexLock lock(shard_.mutex);
  Slot* first = insert(0);
  Slot* second = insert(1);
  shard_.note_hit(*first);
  detach(*first);
  Slot* third = insert(2);  // takes the slot that became free
  ASSERT_EQ(third, first);
  EXPECT_EQ(shard_.victim(), second);
  shard_.note_hit(*second);
  EXPECT_EQ(shard_.victim(), third);
}

TEST_F(ShardTest, VisitsTheBlocksOfOneFile) {
  MutexLock lock(shard_.mutex);
  for (uint64_t i = 0; i < 30; ++i) insert(i, FileId{i % 3});
  size_t seen = 0;
  shard_.for_each_of(FileId{2}, [&](Slot& slot) NO_THREAD_SAFETY_ANALYSIS {
    EXPECT_EQ(slot.key.file, FileId{2});
    ++seen;
    detach(slot);
  });
  EXPECT_EQ(seen, 10U);
  EXPECT_EQ(shard_.entries(), 20U);
}

}  // namespace
}  // namespace cachefs
