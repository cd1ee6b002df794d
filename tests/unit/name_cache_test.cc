// The name cache: what it answers, its order of use, its bounds.
#include "cache/name_cache.h"

#include <gmock/gmock.h>

#include <random>
#include <thread>

#include "support/scale.h"

namespace cachefs {
namespace {

using ::testing::UnorderedElementsAre;

constexpr FileId kDirectory{1};
constexpr MonotonicTime kAskedAt{std::chrono::nanoseconds(5)};

class NameCacheTest : public ::testing::Test {
 protected:
  void TearDown() override {
    names_.check_invariants();
    names_.clear();
    EXPECT_EQ(budget_.used(), 0U);
    EXPECT_EQ(names_.entries(), 0U);
  }
  std::optional<FileId> file_of(std::string_view name, FileId directory = kDirectory) {
    const auto found = names_.find(directory, name);
    return found ? std::optional(found->file) : std::nullopt;
  }
  void put(std::string_view name, FileId file, FileId directory = kDirectory) {
    names_.put(directory, name, {file, kAskedAt});
  }
  Budget budget_{100'000};
  NameCache names_{budget_, 50, [this](uint64_t) { return names_.evict_one(); }};
};

TEST_F(NameCacheTest, AnswersWhatWasPut) {
  put("a", FileId{10});
  put("gone", kNoFile);
  EXPECT_EQ(file_of("a"), FileId{10});
  EXPECT_EQ(file_of("gone"), kNoFile) << "a negative answer is an answer";
  EXPECT_EQ(file_of("other"), std::nullopt);
  EXPECT_EQ(file_of("a", FileId{2}), std::nullopt) << "of another directory";
  EXPECT_EQ(names_.find(kDirectory, "a")->asked_at, kAskedAt);
}

TEST_F(NameCacheTest, ANewerAnswerReplacesTheOldOne) {
  put("a", FileId{10});
  put("a", FileId{11});
  EXPECT_EQ(file_of("a"), FileId{11});
  EXPECT_EQ(names_.entries(), 1U);
}

TEST_F(NameCacheTest, AnAnswerToAnEarlierQuestionReplacesNone) {
  names_.put(kDirectory, "a", {FileId{10}, kAskedAt, 2});
  names_.put(kDirectory, "a", {FileId{11}, kAskedAt, 1});
  EXPECT_EQ(file_of("a"), FileId{10});
}

TEST_F(NameCacheTest, NamesAreBytes) {
  const std::string odd("a\xff\n b", 5);
  put(odd, FileId{10});
  EXPECT_EQ(file_of(odd), FileId{10});
  EXPECT_EQ(file_of("a"), std::nullopt);
}

TEST_F(NameCacheTest, EraseTakesOneName) {
  put("a", FileId{10});
  put("ab", FileId{11});
  names_.erase(kDirectory, "a");
  names_.erase(kDirectory, "never there");
  EXPECT_EQ(file_of("a"), std::nullopt);
  EXPECT_EQ(file_of("ab"), FileId{11});
}

TEST_F(NameCacheTest, EraseAllTakesOneDirectory) {
  put("a", FileId{10});
  put("b", kNoFile);
  put("a", FileId{12}, FileId{2});
  names_.erase_all(kDirectory);
  EXPECT_EQ(file_of("a"), std::nullopt);
  EXPECT_EQ(file_of("b"), std::nullopt);
  EXPECT_EQ(file_of("a", FileId{2}), FileId{12});
}

TEST_F(NameCacheTest, ChildrenAreThoseOfTheDirectory) {
  put("a", FileId{10});
  put("b", FileId{11});
  put("c", FileId{12}, FileId{2});
  std::vector<std::string> children;
  for (const NameCache::Child& child : names_.children(kDirectory)) children.push_back(child.name);
  EXPECT_THAT(children, UnorderedElementsAre("a", "b"));
}

TEST_F(NameCacheTest, ThereAreNeverMoreThanTheMaximum) {
  for (int i = 0; i < 500; ++i) {
    put(std::to_string(i), FileId{10});
    ASSERT_LE(names_.entries(), 50U);
  }
  EXPECT_EQ(names_.entries(), 50U);
}

TEST_F(NameCacheTest, OfOneDirectoryTheLeastRecentlyUsedNameLeaves) {
  for (int i = 0; i < 50; ++i) put(std::to_string(i), FileId{10});
  EXPECT_TRUE(file_of("0"));
  put("new", FileId{11});
  EXPECT_TRUE(file_of("0"));
  EXPECT_FALSE(file_of("1"));
}

TEST(NameCache, TheBudgetBoundsItToo) {
  Budget budget(2000);
  NameCache names(budget, UINT64_MAX, [&names](uint64_t) { return names.evict_one(); });
  for (int i = 0; i < 500; ++i) {
    names.put(kDirectory, std::string(100, static_cast<char>('a' + i % 26)) + std::to_string(i),
              {FileId{10}, kAskedAt});
    ASSERT_LE(budget.used(), budget.limit());
  }
  EXPECT_GT(names.entries(), 0U);
  EXPECT_LT(names.entries(), 20U);
}

TEST(NameCache, WhatDoesNotFitIsNotKept) {
  Budget budget(100);
  NameCache names(budget, UINT64_MAX, [](uint64_t) { return false; });
  names.put(kDirectory, "a", {FileId{10}, kAskedAt});
  EXPECT_FALSE(names.find(kDirectory, "a"));
  EXPECT_EQ(budget.used(), 0U);
  EXPECT_EQ(names.entries(), 0U);
}

TEST_F(NameCacheTest, ManyThreadsLeaveItWhole) {
  const uint64_t seed = test::seed();
  std::vector<std::jthread> threads;
  for (uint64_t i = 0; i < 4; ++i) {
    threads.emplace_back([this, seed, i] {
      std::mt19937_64 random(seed + i);
      for (int step = 0; step < 20'000; ++step) {
        const FileId directory{1 + random() % 4};
        const std::string name = std::to_string(random() % 40);
        const auto choice = random() % 6;
        if (choice == 0) {
          names_.erase(directory, name);
        } else if (choice == 1) {
          if (random() % 50 == 0) names_.erase_all(directory);
        } else if (choice == 2) {
          const auto found = names_.find(directory, name);
          EXPECT_TRUE(!found || found->file == FileId{std::stoull(name) + 1});
        } else {
          names_.put(directory, name, {FileId{std::stoull(name) + 1}, kAskedAt});
        }
      }
    });
  }
}

}  // namespace
}  // namespace cachefs
