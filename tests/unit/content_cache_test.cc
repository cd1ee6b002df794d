// Listings and targets: one for each file, of one generation, under a limit.
#include "cache/content_cache.h"

#include <gtest/gtest.h>

namespace cachefs {
namespace {

class ContentCacheTest : public ::testing::Test {
 protected:
  void TearDown() override {
    cache_.check_invariants();
    cache_.clear();
    EXPECT_EQ(budget_.used(), 0U);
    EXPECT_EQ(cache_.entries(), 0U);
  }
  bool put(uint64_t file, uint64_t generation, const std::string& target = "t") {
    auto content = std::make_shared<Content>();
    content->generation = generation;
    content->target = target;
    return cache_.put(FileId{file}, content);
  }
  std::string find(uint64_t file, uint64_t generation) {
    const ContentRef content = cache_.find(FileId{file}, generation);
    return content ? content->target : "absent";
  }

  Budget budget_{4000};
  ContentCache cache_{budget_, 4, [this](uint64_t) { return cache_.evict_one(); }};
};

TEST_F(ContentCacheTest, FindsTheContentOfThatGenerationAlone) {
  ASSERT_TRUE(put(1, 5, "target"));
  EXPECT_EQ(find(1, 5), "target");
  EXPECT_EQ(find(1, 6), "absent");
  EXPECT_EQ(find(2, 5), "absent");
}

TEST_F(ContentCacheTest, ANewContentTakesTheOldOnesPlace) {
  ASSERT_TRUE(put(1, 5, "old"));
  ASSERT_TRUE(put(1, 6, "new"));
  EXPECT_EQ(find(1, 5), "absent");
  EXPECT_EQ(find(1, 6), "new");
  EXPECT_EQ(cache_.entries(), 1U);
}

TEST_F(ContentCacheTest, EraseSparesTheGenerationAndLaterOnes) {
  ASSERT_TRUE(put(1, 5));
  cache_.erase(FileId{1}, 5);
  EXPECT_EQ(find(1, 5), "t");
  cache_.erase(FileId{1}, 6);
  EXPECT_EQ(find(1, 5), "absent");
}

TEST_F(ContentCacheTest, NeverHoldsMoreThanMaxEntries) {
  for (uint64_t i = 1; i <= 10; ++i) ASSERT_TRUE(put(i, 1));
  EXPECT_EQ(cache_.entries(), 4U);
}

TEST_F(ContentCacheTest, MakesRoomInItsBudget) {
  for (uint64_t i = 1; i <= 10; ++i) ASSERT_TRUE(put(i, 1, std::string(1000, 'x')));
  EXPECT_LE(budget_.used(), budget_.limit());
  EXPECT_GE(cache_.entries(), 1U);
}

TEST_F(ContentCacheTest, WhatCannotFitIsNotKept) {
  EXPECT_FALSE(put(1, 1, std::string(5000, 'x')));
  EXPECT_EQ(cache_.entries(), 0U);
}

TEST_F(ContentCacheTest, WhoReadsAnEvictedContentGoesOnReadingIt) {
  ASSERT_TRUE(put(1, 1, std::string(1000, 'x')));
  const ContentRef held = cache_.find(FileId{1}, 1);
  ASSERT_TRUE(cache_.evict_one());
  EXPECT_EQ(find(1, 1), "absent");
  EXPECT_EQ(held->target, std::string(1000, 'x'));
  EXPECT_GE(budget_.used(), 1000U) << "it counts as long as it is there";
}

}  // namespace
}  // namespace cachefs
