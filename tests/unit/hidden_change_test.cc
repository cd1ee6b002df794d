// Sources whose versions hide changes for a while, or always.
#include <thread>

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

TEST_F(CoarseTimestamps, AChangeRightAfterOursIsSeenLaterThoughTheAnswerWasSlow) {
  given("/f", "aaaa");
  pass(seconds(3));
  EXPECT_EQ(cached("/f"), "aaaa");
  auto file = open_cached("/f", test::kReadWrite);
  std::atomic<int> questions{0};
  faults().hang_if(
      [&](Operation operation) { return operation == Operation::attributes && ++questions == 2; });
  std::jthread writer([&] { EXPECT_TRUE(test::write_text(*file, 0, "bbbb")); });
  ASSERT_TRUE(faults().wait_for_hanging(1, std::chrono::steady_clock::now() + seconds(20)));
  given("/f", "cccc");  // the same size, and the same time as ours
  pass(seconds(3));
  faults().recover();
  writer.join();
  pass(seconds(3));
  EXPECT_EQ(cached("/f"), "cccc");
}

class ForeignCoarseClock : public test::CacheStackTest {
 protected:
  ForeignCoarseClock()
      : CacheStackTest({.max_bytes = 8 * kMiB, .coherence = {}}, {.version_source = VersionSource::timestamps,
                                                                  .timestamp_granule = seconds(2),
                                                                  .local_clock = false}) {}
};

TEST_F(ForeignCoarseClock, AVersionIsNotOlderThanTheAnswerThatShowedIt) {
  given("/f", "aaaa");
  EXPECT_EQ(attributes_of("/f").size, 4U);
  pass(seconds(10));
  faults().hang_if([](Operation operation) { return operation == Operation::open; });
  std::unique_ptr<File> file;
  std::jthread opener([&] { file = open_cached("/f"); });
  ASSERT_TRUE(faults().wait_for_hanging(1, std::chrono::steady_clock::now() + seconds(20)));
  pass(seconds(3));
  given("/f", "bbbb");
  faults().recover();
  opener.join();
  ASSERT_NE(file, nullptr);
  EXPECT_EQ(test::read_text(*file, 0, 4), "bbbb");
  given("/f", "cccc");  // the same size, and the same time
  pass(seconds(3));
  EXPECT_EQ(cached("/f"), "cccc");
}

class CoarseTtl : public test::CacheStackTest {
 protected:
  CoarseTtl()
      : CacheStackTest(
            {.max_bytes = 8 * kMiB, .block_size = 16 * kKiB, .coherence = test::for_ttl(seconds(60))},
            {.version_source = VersionSource::timestamps, .timestamp_granule = seconds(2)}) {}
};

TEST_F(CoarseTtl, FetchesDoNotPutOffTheCheckOfWhatIsUnsettled) {
  given("/f", std::string(50'000, 'a'));
  auto file = open_cached("/f");
  EXPECT_EQ(test::read_text(*file, 0, 1), "a");  // unsettled: the file is new
  given("/f", std::string(50'000, 'b'));         // the same size and time
  pass(seconds(50));
  test::read_text(*file, 40'000, 1);  // of another block
  pass(seconds(11));
  EXPECT_EQ(test::read_text(*file, 0, 1), "b");
}

TEST_F(CoarseTtl, WritesOfOursDoNotPutOffTheCheckOfWhatIsUnsettled) {
  given("/f", std::string(50'000, 'a'));
  auto file = open_cached("/f", test::kReadWrite);
  EXPECT_EQ(test::read_text(*file, 0, 1), "a");
  given("/f", std::string(50'000, 'b'));
  pass(seconds(50));
  ASSERT_TRUE(test::write_text(*file, 40'000, "c"));
  pass(seconds(11));
  EXPECT_EQ(test::read_text(*file, 0, 1), "b");
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
