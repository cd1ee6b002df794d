// Times to live, of all data and by patterns of paths.
#include "core/path_ttls.h"
#include "unit/cache_stack.h"

namespace cachefs {
namespace {

using std::chrono::hours;
using std::chrono::seconds;

/// Whether the pattern matches that path, found name by name from the root.
bool matches(std::string_view pattern, std::string_view path) {
  PathTtls ttls;
  EXPECT_TRUE(ttls.add(pattern, seconds(1))) << pattern;
  PathTtls::Step step{.below = ttls.start(), .pattern = 0};
  for (path.remove_prefix(1); !path.empty();) {
    const size_t end = std::min(path.find('/'), path.size());
    step = ttls.step(step.below, path.substr(0, end));
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  return step.pattern != 0;
}

TEST(PathTtls, PatternsMatchWholePaths) {
  EXPECT_TRUE(matches("/static/*", "/static/a"));
  EXPECT_FALSE(matches("/static/*", "/static/a/b"));
  EXPECT_FALSE(matches("/static/*", "/static"));
  EXPECT_FALSE(matches("/static/*", "/statics/a"));
  EXPECT_FALSE(matches("/static/*", "/b/static/a"));
  EXPECT_TRUE(matches("static/?.[ch]", "/static/a.c"));
  EXPECT_TRUE(matches("//static//./a", "/static/a"));
}

TEST(PathTtls, TwoStarsMatchAnyDepth) {
  EXPECT_TRUE(matches("/static/**", "/static/a"));
  EXPECT_TRUE(matches("/static/**", "/static/a/b/c"));
  EXPECT_FALSE(matches("/static/**", "/static"));
  EXPECT_TRUE(matches("**/*.o", "/a.o"));
  EXPECT_TRUE(matches("**/*.o", "/x/y/a.o"));
  EXPECT_FALSE(matches("**/*.o", "/x/y/a.c"));
  EXPECT_TRUE(matches("/a/**/b/**/c", "/a/b/c"));
  EXPECT_TRUE(matches("/a/**/b/**/c", "/a/x/b/y/z/b/c"));
  EXPECT_FALSE(matches("/a/**/b/**/c", "/a/x/y/c"));
}

TEST(PathTtls, OfSeveralTheShortestCounts) {
  PathTtls ttls;
  ASSERT_TRUE(ttls.add("/*", seconds(9)));
  ASSERT_TRUE(ttls.add("/a", seconds(3)));
  ASSERT_TRUE(ttls.add("/**", seconds(5)));
  EXPECT_EQ(ttls.ttl(ttls.step(ttls.start(), "a").pattern), seconds(3));
  EXPECT_EQ(ttls.ttl(ttls.step(ttls.start(), "b").pattern), seconds(5));
}

TEST(PathTtls, WhatIsWrongIsNamed) {
  PathTtls ttls;
  const auto why = [&](std::string_view pattern, std::chrono::nanoseconds ttl) {
    const Result<void> added = ttls.add(pattern, ttl);
    return added ? "nothing" : added.error().message();
  };
  EXPECT_NE(why("/", seconds(1)).find("it names no file"), std::string::npos);
  EXPECT_NE(why("/a/../b", seconds(1)).find("'..'"), std::string::npos);
  EXPECT_NE(why("/a", seconds(0)).find("above 0"), std::string::npos);
  ASSERT_TRUE(ttls.add("/a", seconds(1)));
  EXPECT_NE(why("/a", seconds(2)).find("already"), std::string::npos);
  std::string deep;
  for (int i = 0; i < 64; ++i) deep += "/x";
  EXPECT_NE(why(deep, seconds(1)).find("64 components"), std::string::npos);
}

class TimeToLive : public test::CacheStackTest {
 protected:
  TimeToLive()
      : TimeToLive(CacheOptions{.max_bytes = 8 * kMiB, .coherence = {.mode = CoherenceMode::immutable}}) {}
  explicit TimeToLive(const CacheOptions& options) : CacheStackTest(options) {}
  /// Whether a read asks the source for data.
  bool reads_source(const std::string& path) {
    const uint64_t before = cache().stats().source_reads;
    EXPECT_TRUE(read_file(cache(), path)) << path;
    return cache().stats().source_reads != before;
  }
};

TEST_F(TimeToLive, ByPathDropsDataThatNeverChanges) {
  ASSERT_TRUE(mkdir(source(), "/static"));
  given("/static/a", "data");
  given("/other", "data");
  ASSERT_TRUE(cache().set_path_ttl("/static/*", seconds(10)));
  EXPECT_TRUE(reads_source("/static/a"));
  EXPECT_TRUE(reads_source("/other"));
  pass(seconds(9));
  EXPECT_FALSE(reads_source("/static/a"));
  pass(seconds(1));
  EXPECT_TRUE(reads_source("/static/a"));
  EXPECT_FALSE(reads_source("/other"));
  pass(seconds(10));
  EXPECT_EQ(cache().clean_expired(), 1U);
  EXPECT_EQ(cache().stats().entries, 1U);
  EXPECT_EQ(cache().stats().expirations, 2U);
}

TEST_F(TimeToLive, ByPathCountsForWhatWasKnownBefore) {
  given("/a", "data");
  ASSERT_TRUE(read_file(cache(), "/a"));
  ASSERT_TRUE(cache().set_path_ttl("/a", seconds(10)));
  ASSERT_TRUE(stat(cache(), "/a"));
  cache().invalidate("/a");  // what is cached already keeps its time
  ASSERT_TRUE(read_file(cache(), "/a"));
  pass(seconds(10));
  EXPECT_TRUE(reads_source("/a"));
}

TEST_F(TimeToLive, OfAFileWithTwoNamesIsTheShorter) {
  ASSERT_TRUE(mkdir(source(), "/static"));
  given("/static/a", "data");
  ASSERT_TRUE(link(source(), "/static/a", "/b"));
  ASSERT_TRUE(cache().set_path_ttl("/static/*", seconds(10)));
  ASSERT_TRUE(stat(cache(), "/static/a"));
  ASSERT_TRUE(read_file(cache(), "/b"));
  pass(seconds(10));
  EXPECT_TRUE(reads_source("/b"));
}

TEST_F(TimeToLive, FollowsADirectoryThatIsRenamed) {
  ASSERT_TRUE(mkdir(source(), "/d"));
  ASSERT_TRUE(mkdir(source(), "/d/e"));
  given("/d/e/a", "data");
  ASSERT_TRUE(cache().set_path_ttl("/static/**", seconds(10)));
  ASSERT_TRUE(stat(cache(), "/d/e/a"));
  ASSERT_TRUE(rename(cache(), "/d", "/static"));
  ASSERT_TRUE(read_file(cache(), "/static/e/a"));
  pass(seconds(10));
  EXPECT_TRUE(reads_source("/static/e/a"));
}

TEST_F(TimeToLive, CountsForWhatIsWrittenToo) {
  ASSERT_TRUE(cache().set_path_ttl("/a", seconds(10)));
  ASSERT_TRUE(write_file(cache(), "/a", "data"));
  EXPECT_FALSE(reads_source("/a"));
  pass(seconds(10));
  EXPECT_TRUE(reads_source("/a"));
}

class GlobalTimeToLive : public TimeToLive {
 protected:
  GlobalTimeToLive()
      : TimeToLive({.max_bytes = 8 * kMiB,
                    .coherence = {.mode = CoherenceMode::immutable},
                    .ttl = seconds(10),
                    .ttl_start = TtlStart::last_use}) {}
};

TEST_F(GlobalTimeToLive, SlidesWithEachUseAndIsOverridenByNoLongerOne) {
  given("/a", "data");
  given("/b", "data");
  ASSERT_TRUE(cache().set_path_ttl("/b", hours(1)));
  EXPECT_TRUE(reads_source("/a"));
  EXPECT_TRUE(reads_source("/b"));
  pass(seconds(9));
  EXPECT_FALSE(reads_source("/a"));
  pass(seconds(9));
  EXPECT_FALSE(reads_source("/a"));
  EXPECT_TRUE(reads_source("/b"));
}

TEST(TimeToLiveOption, MustBeAboveZero) {
  const auto memory = make_mem_fs({});
  const auto made = CacheFs::create(*memory, {.ttl = seconds(0)});
  ASSERT_FALSE(made);
  EXPECT_NE(made.error().message().find("ttl must be above 0"), std::string::npos);
}

}  // namespace
}  // namespace cachefs
