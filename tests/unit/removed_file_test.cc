// What the cache knows of a file must not keep it alive, and what it does not know it must ask for.
#include <gtest/gtest.h>

#include <string>

#include "cachefs/cache_fs.h"
#include "cachefs/decorators.h"
#include "cachefs/mem_fs.h"
#include "cachefs/path_operations.h"

namespace cachefs {
namespace {

constexpr uint64_t kCapacity = kMiB;
constexpr size_t kMostOfIt = 700'000;

TEST(RemovedFile, GivesItsSpaceBack) {
  const auto source = make_mem_fs({.capacity_bytes = kCapacity});
  const auto cache = std::move(*CacheFs::create(*source));
  ASSERT_TRUE(write_file(*cache, "/first", std::string(kMostOfIt, 'x')));
  ASSERT_TRUE(remove(*cache, "/first"));
  EXPECT_TRUE(write_file(*cache, "/second", std::string(kMostOfIt, 'y')));
}

TEST(RemovedFile, ReplacedByARenameGivesItsSpaceBack) {
  const auto source = make_mem_fs({.capacity_bytes = kCapacity});
  const auto cache = std::move(*CacheFs::create(*source));
  ASSERT_TRUE(write_file(*cache, "/old", std::string(kMostOfIt, 'x')));
  ASSERT_TRUE(write_file(*cache, "/new", "y"));
  ASSERT_TRUE(rename(*cache, "/new", "/old"));
  EXPECT_TRUE(write_file(*cache, "/other", std::string(kMostOfIt, 'z')));
}

TEST(RemovedFile, StaysReadableWhileItIsOpen) {
  const auto source = make_mem_fs();
  const auto cache = std::move(*CacheFs::create(*source));
  ASSERT_TRUE(write_file(*cache, "/file", "still here"));
  auto opened = open(*cache, "/file");
  ASSERT_TRUE(opened);
  ASSERT_TRUE(remove(*cache, "/file"));
  cache->clear();
  std::string text(10, '\0');
  const auto count = (*opened)->read_at(0, std::as_writable_bytes(std::span(text)));
  ASSERT_TRUE(count) << count.error().message();
  EXPECT_EQ(text, "still here");
}

TEST(Sync, ReachesTheSourceThroughAHandleThatOnlyReads) {
  const auto base = make_mem_fs();
  OperationCounter counter;
  const auto source = make_hooked_fs(*base, counter);
  const auto cache = std::move(*CacheFs::create(*source));
  ASSERT_TRUE(write_file(*cache, "/file", "text"));
  auto opened = open(*cache, "/file");
  ASSERT_TRUE(opened);
  EXPECT_TRUE((*opened)->sync(SyncKind::all));
  EXPECT_EQ(counter.count(Operation::sync), 1U);
}

}  // namespace
}  // namespace cachefs
