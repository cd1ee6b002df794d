// Sources whose versions hide changes for a while, or always.
#include "unit/cache_stack.h"

namespace cachefs {
namespace {

using std::chrono::seconds;

class CoarseTimestamps : public test::CacheStackTest {
 protected:
  CoarseTimestamps()
      : CacheStackTest({.max_bytes = 8 * kMiB, .coherence = {}},
                       {.version_source = VersionSource::timestamps, .timestamp_granule = seconds(2)}) {}
};

TEST_F(CoarseTimestamps, AChangeWithinTheGranuleIsSeenAGranuleLater) {
  given("/f", "aaaa");
  EXPECT_EQ(cached("/f"), "aaaa");
  given("/f", "bbbb");  // the same size, the same time: it cannot be seen
  pass(seconds(3));
  EXPECT_EQ(cached("/f"), "bbbb");
}

TEST_F(CoarseTimestamps, SettledContentIsNotReadAgain) {
  given("/f", "aaaa");
  pass(seconds(3));
  EXPECT_EQ(cached("/f"), "aaaa");
  pass(seconds(3));
  requests().reset();
  EXPECT_EQ(cached("/f"), "aaaa");
  EXPECT_EQ(requests().reads(), 0U);
}

TEST_F(CoarseTimestamps, UnsettledContentIsReadAgainOnce) {
  given("/f", "aaaa");
  EXPECT_EQ(cached("/f"), "aaaa");
  pass(seconds(3));
  requests().reset();
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(cached("/f"), "aaaa");
    pass(seconds(3));
  }
  EXPECT_EQ(requests().reads(), 1U);
}

TEST_F(CoarseTimestamps, AHiddenChangeIsSeenLaterThoughWeWroteToo) {
  given("/f", "aaaaaaaa");
  EXPECT_EQ(cached("/f"), "aaaaaaaa");
  given("/f", "bbbbbbbb");
  ASSERT_TRUE(test::write_text(*open_cached("/f", test::kReadWrite), 0, "cc"));
  pass(seconds(3));
  EXPECT_EQ(cached("/f"), "ccbbbbbb");
}

class SizeOnly : public test::CacheStackTest {
 protected:
  SizeOnly()
      : CacheStackTest({.max_bytes = 8 * kMiB, .coherence = {}},
                       {.version_source = VersionSource::size_only}) {}
};

TEST_F(SizeOnly, EveryCheckReadsAnew) {
  given("/f", "aaaa");
  EXPECT_EQ(cached("/f"), "aaaa");
  given("/f", "bbbb");
  EXPECT_EQ(cached("/f"), "bbbb");
}

}  // namespace
}  // namespace cachefs
