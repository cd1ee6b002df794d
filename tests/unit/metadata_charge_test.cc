// What the cache counts covers what it allocates: the heap as it really grows, against bytes_used.
#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "unit/cache_stack.h"

namespace {

std::atomic<int64_t> heap_bytes{0};

void* counted_allocate(std::size_t size) {
  void* memory = std::malloc(size);
  if (memory == nullptr) throw std::bad_alloc();
  heap_bytes += static_cast<int64_t>(malloc_usable_size(memory) + sizeof(size_t));
  return memory;
}

void counted_free(void* memory) noexcept {
  if (memory == nullptr) return;
  heap_bytes -= static_cast<int64_t>(malloc_usable_size(memory) + sizeof(size_t));
  std::free(memory);
}

}  // namespace

void* operator new(std::size_t size) { return counted_allocate(size); }
void* operator new[](std::size_t size) { return counted_allocate(size); }
void operator delete(void* memory) noexcept { counted_free(memory); }
void operator delete[](void* memory) noexcept { counted_free(memory); }
void operator delete(void* memory, std::size_t /*size*/) noexcept { counted_free(memory); }
void operator delete[](void* memory, std::size_t /*size*/) noexcept { counted_free(memory); }

namespace cachefs {
namespace {

constexpr int kCount = 10'000;
/// What does not grow with the number of things cached.
constexpr int64_t kConstant = 64L * 1024;

std::string long_name(int i) {
  return "a name that does not fit into the string itself " + std::to_string(i);
}

class ChargeTest : public test::CacheStackTest {
 protected:
  ChargeTest()
      : CacheStackTest({.max_bytes = 1024 * kMiB, .coherence = test::for_ttl(std::chrono::hours(1))}) {}
  void SetUp() override {
    ASSERT_TRUE(mkdir(source(), "/d"));
    ASSERT_TRUE(stat(cache(), "/d"));
  }
  /// Runs what fills the cache; the heap must grow by no more than what was charged.
  template <typename Fill>
  void expect_charged(Fill fill) {
    const int64_t heap_before = heap_bytes;
    const auto used_before = static_cast<int64_t>(cache().stats().bytes_used);
    fill();
    const int64_t heap = heap_bytes - heap_before;
    const int64_t charged = static_cast<int64_t>(cache().stats().bytes_used) - used_before;
    EXPECT_LE(heap, charged + kConstant);
    EXPECT_GE(heap * 3, charged) << "nor is much more charged than is used";
    RecordProperty("heap", std::to_string(heap));
    RecordProperty("charged", std::to_string(charged));
  }
};

TEST_F(ChargeTest, TheCountingSeesTheHeap) {
  const int64_t before = heap_bytes;
  const auto memory = std::make_unique<std::string>(1000, 'x');
  EXPECT_GE(heap_bytes - before, 1000);
}

TEST_F(ChargeTest, CoversFilesWithTheirNames) {
  for (int i = 0; i < kCount; ++i) given("/d/" + std::to_string(i), "");
  expect_charged([&] {
    for (int i = 0; i < kCount; ++i) ASSERT_TRUE(stat(cache(), "/d/" + std::to_string(i)));
  });
  EXPECT_GE(cache().stats().nodes, static_cast<uint64_t>(kCount));
}

TEST_F(ChargeTest, CoversLongNames) {
  for (int i = 0; i < kCount; ++i) given("/d/" + long_name(i), "");
  expect_charged([&] {
    for (int i = 0; i < kCount; ++i) ASSERT_TRUE(stat(cache(), "/d/" + long_name(i)));
  });
}

TEST_F(ChargeTest, CoversNamesThatDoNotExist) {
  expect_charged([&] {
    for (int i = 0; i < kCount; ++i) ASSERT_FALSE(stat(cache(), "/d/" + std::to_string(i)));
  });
  EXPECT_GE(cache().stats().names, static_cast<uint64_t>(kCount));
}

TEST_F(ChargeTest, CoversOneNameInEachOfManyDirectories) {
  for (int i = 0; i < kCount; ++i) ASSERT_TRUE(mkdir(source(), "/d/" + std::to_string(i)));
  expect_charged([&] {
    for (int i = 0; i < kCount; ++i) ASSERT_FALSE(stat(cache(), "/d/" + std::to_string(i) + "/x"));
  });
}

TEST_F(ChargeTest, CoversListings) {
  for (int i = 0; i < kCount; ++i) given("/d/" + (i % 2 == 0 ? long_name(i) : std::to_string(i)), "");
  expect_charged(
      [&] { ASSERT_EQ(read_directory(cache(), "/d").value().size(), static_cast<size_t>(kCount)); });
}

TEST_F(ChargeTest, CoversTargetsOfSymlinks) {
  for (int i = 0; i < 1000; ++i)
    ASSERT_TRUE(symlink(source(), std::string(2000, 't'), "/d/" + std::to_string(i)));
  expect_charged([&] {
    for (int i = 0; i < 1000; ++i) ASSERT_TRUE(read_link(cache(), "/d/" + std::to_string(i)));
  });
}

TEST_F(ChargeTest, ClearGivesTheHeapBack) {
  for (int i = 0; i < kCount; ++i) given("/d/" + std::to_string(i), "");
  const int64_t before = heap_bytes;
  for (int i = 0; i < kCount; ++i) ASSERT_TRUE(stat(cache(), "/d/" + std::to_string(i)));
  cache().clear();
  EXPECT_EQ(cache().stats().bytes_used, 0U);
  EXPECT_LE(heap_bytes - before, 8 * kConstant) << "buckets of the tables may stay";
}

/// Where files are known by their paths, each key holds a name too.
class PathIdentityChargeTest : public test::CacheStackTest {
 protected:
  PathIdentityChargeTest()
      : CacheStackTest({.max_bytes = 1024 * kMiB, .coherence = test::for_ttl(std::chrono::hours(1))},
                       {.inode_numbers = InodeNumbers::none}) {}
};

TEST_F(PathIdentityChargeTest, CoversFilesKnownByTheirPaths) {
  for (int i = 0; i < kCount; ++i) given("/" + long_name(i), "");
  const int64_t before = heap_bytes;
  for (int i = 0; i < kCount; ++i) ASSERT_TRUE(stat(cache(), "/" + long_name(i)));
  EXPECT_LE(heap_bytes - before, static_cast<int64_t>(cache().stats().bytes_used) + kConstant);
}

}  // namespace
}  // namespace cachefs
