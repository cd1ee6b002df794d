// SlabPool: size classes, the account of its memory, what happens at the limit.
#include "base/slab_pool.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <set>
#include <thread>

#include "support/scale.h"

namespace cachefs {
namespace {

constexpr uint64_t kPlenty = 1UL << 30;

/// How many pages of the buffer are in memory.
size_t resident_pages(const SlabBuffer& buffer) {
  constexpr size_t kPage = 4096;
  std::vector<unsigned char> pages(SlabPool::capacity(buffer) / kPage);
  if (mincore(buffer.data, pages.size() * kPage, pages.data()) != 0) return SIZE_MAX;
  return static_cast<size_t>(
      std::count_if(pages.begin(), pages.end(), [](unsigned char page) { return (page & 1) != 0; }));
}

TEST(SlabPool, SizeClassesAreAtMostAQuarterApart) {
  for (size_t size = SlabPool::kSmallestClass; size < SlabPool::kLargestBuffer;) {
    const size_t next = SlabPool::capacity_for(size + 1);
    ASSERT_LE(next * 4, size * 5) << "after the class of " << size;
    size = next;
  }
}

TEST(SlabPool, ABufferHasAtLeastTheBytesAskedFor) {
  Budget budget(kPlenty);
  SlabPool pool(budget, 0);
  for (const size_t size :
       {size_t{1}, size_t{64}, size_t{65}, size_t{4096}, size_t{16385}, SlabPool::kLargestBuffer}) {
    const SlabBuffer buffer = pool.allocate(size);
    ASSERT_TRUE(buffer);
    EXPECT_GE(SlabPool::capacity(buffer), size);
    EXPECT_EQ(SlabPool::capacity(buffer), SlabPool::capacity_for(size));
    pool.free(buffer);
  }
}

TEST(SlabPool, BuffersAreAlignedLargeOnesToAPage) {
  Budget budget(kPlenty);
  SlabPool pool(budget, kPlenty);
  for (size_t size = 64; size <= (1U << 20); size = SlabPool::capacity_for(size + 1)) {
    const SlabBuffer first = pool.allocate(size);
    const SlabBuffer second = pool.allocate(size);
    const size_t alignment = size >= 16 * 1024 ? 4096 : 16;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(first.data) % alignment, 0U) << size;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(second.data) % alignment, 0U) << size;
    pool.free(first);
    pool.free(second);
  }
}

TEST(SlabPool, BuffersDoNotOverlap) {
  Budget budget(kPlenty);
  SlabPool pool(budget, 0);
  std::vector<SlabBuffer> buffers;
  for (int i = 0; i < 200; ++i) {
    buffers.push_back(pool.allocate(100));
    std::memset(buffers.back().data, i, SlabPool::capacity(buffers.back()));
  }
  for (int i = 0; i < 200; ++i) {
    const SlabBuffer& buffer = buffers[static_cast<size_t>(i)];
    EXPECT_EQ(std::to_integer<int>(buffer.data[0]), i);
    EXPECT_EQ(std::to_integer<int>(buffer.data[SlabPool::capacity(buffer) - 1]), i);
    pool.free(buffer);
  }
}

TEST(SlabPool, TheBudgetCoversTheBuffersAndIsEmptyAfterTheLast) {
  Budget budget(kPlenty);
  SlabPool pool(budget, 0);
  std::vector<SlabBuffer> buffers;
  uint64_t bytes = 0;
  for (size_t size = 64; size <= (1U << 20); size *= 2) {
    buffers.push_back(pool.allocate(size));
    bytes += SlabPool::capacity(buffers.back());
    EXPECT_GE(budget.used(), bytes);
  }
  for (const SlabBuffer& buffer : buffers) pool.free(buffer);
  EXPECT_EQ(budget.used(), 0U);
  pool.check_invariants();
}

TEST(SlabPool, ALargeBufferCostsItsBytesAndATableEntry) {
  Budget budget(kPlenty);
  SlabPool pool(budget, 0);
  const SlabBuffer buffer = pool.allocate(128 * 1024);
  EXPECT_GE(budget.used(), 128U * 1024);
  EXPECT_LT(budget.used(), 128U * 1024 + 64);
  pool.free(buffer);
}

TEST(SlabPool, WithoutRoomTheHandleIsEmptyAndNothingIsReserved) {
  Budget budget(200UL * 1024);
  SlabPool pool(budget, 0);
  const SlabBuffer first = pool.allocate(128 * 1024);
  ASSERT_TRUE(first);
  const uint64_t used = budget.used();
  EXPECT_FALSE(pool.allocate(128 * 1024));
  EXPECT_EQ(budget.used(), used);
  pool.free(first);
}

TEST(SlabPool, SpareSlabsStayCountedUntilTrimmed) {
  Budget budget(kPlenty);
  SlabPool pool(budget, kPlenty);
  pool.free(pool.allocate(128 * 1024));
  EXPECT_EQ(pool.spare_bytes(), budget.used());
  EXPECT_GT(budget.used(), 0U);
  pool.check_invariants();
  pool.trim();
  EXPECT_EQ(pool.spare_bytes(), 0U);
  EXPECT_EQ(budget.used(), 0U);
}

TEST(SlabPool, SpareSlabsOfOneClassMakeRoomForAnother) {
  Budget budget(200UL * 1024);
  SlabPool pool(budget, kPlenty);
  pool.free(pool.allocate(128 * 1024));
  const SlabBuffer other = pool.allocate(160 * 1024);
  EXPECT_TRUE(other);
  pool.free(other);
}

TEST(SlabPool, SparesAreAtMostWhatWasAllowed) {
  Budget budget(kPlenty);
  SlabPool pool(budget, 300UL * 1024);
  std::vector<SlabBuffer> buffers;
  for (int i = 0; i < 8; ++i) buffers.push_back(pool.allocate(128 * 1024));
  for (const SlabBuffer& buffer : buffers) pool.free(buffer);
  EXPECT_LE(budget.used(), 300U * 1024);
}

TEST(SlabPool, MemoryOfFreedBuffersGoesBackToTheSystem) {
  Budget budget(kPlenty);
  SlabPool pool(budget, 0);
  const SlabBuffer buffer = pool.allocate(1024UL * 1024);
  std::memset(buffer.data, 1, 1024UL * 1024);
  EXPECT_EQ(resident_pages(buffer), 256U);
  pool.free(buffer);
  EXPECT_EQ(resident_pages(buffer), 0U);
}

TEST(SlabPool, TheAccountIsExactUnderManyThreads) {
  Budget budget(8UL << 20);
  SlabPool pool(budget, 1UL << 20);
  const uint64_t seed = test::seed();
  std::vector<std::jthread> threads;
  for (uint64_t i = 0; i < 4; ++i) {
    threads.emplace_back([&pool, seed, i] {
      std::mt19937_64 random(seed + i);
      std::vector<SlabBuffer> held;
      for (int step = 0; step < 4000; ++step) {
        if (const SlabBuffer buffer = pool.allocate(1 + random() % (256 * 1024))) held.push_back(buffer);
        while (held.size() > random() % 16) {
          pool.free(held.back());
          held.pop_back();
        }
      }
      for (const SlabBuffer& buffer : held) pool.free(buffer);
    });
  }
  threads.clear();
  pool.check_invariants();
  pool.trim();
  EXPECT_EQ(budget.used(), 0U);
}

TEST(SlabPoolDeathTest, FreeingTwiceAborts) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Budget budget(kPlenty);
  SlabPool pool(budget, kPlenty);
  const SlabBuffer buffer = pool.allocate(1000);
  pool.free(buffer);
  EXPECT_DEATH(pool.free(buffer), "freed twice");
}

TEST(SlabPoolDeathTest, ATooLargeBufferAborts) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Budget budget(kPlenty);
  SlabPool pool(budget, 0);
  EXPECT_DEATH(static_cast<void>(pool.allocate(SlabPool::kLargestBuffer + 1)), "too large");
}

}  // namespace
}  // namespace cachefs
