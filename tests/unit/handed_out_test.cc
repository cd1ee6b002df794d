// What was handed out to a layer above is content of its generation, whether or not it is cached here: who
// keeps it learns by another generation that it is old.
#include <thread>

#include "unit/overtaken_fixture.h"

namespace cachefs {
namespace {

using std::chrono::seconds;
using test::kReadWrite;
using test::Overtaken;
using test::read_text;
using test::write_text;

std::vector<std::string> names_of(DirectoryStream& stream) {
  std::vector<std::string> names;
  for (;;) {
    const auto batch = stream.next_batch();
    if (!batch || batch->empty()) return names;
    for (const DirectoryEntry& entry : *batch) names.push_back(entry.name);
  }
}

TEST_F(Overtaken, AListingFromBeforeAForeignChangeThatOursHidesIsOfNoGeneration) {
  make({});
  ASSERT_TRUE(mkdir(*memory_, "/d"));
  given("/d/a", "a");
  const NodeRef directory = resolve(*cache_, "/d").value().node;
  hook_.hold(Operation::read_directory);
  std::unique_ptr<DirectoryStream> early;
  std::jthread reader([&] { early = cache_->open_directory(*directory, Caller{}).value(); });
  hook_.wait_held();
  given("/d/foreign", "b");
  ASSERT_TRUE(cache_->set_attributes(*directory, {.mode = 0750}, Caller{}));  // nothing cached: nothing asked
  hook_.go();
  reader.join();
  ASSERT_EQ(names_of(*early), std::vector<std::string>{"a"});
  const auto later = cache_->open_directory(*directory, Caller{}).value();
  EXPECT_EQ(names_of(*later).size(), 2U);
  EXPECT_FALSE(cache_->generation_of(*early)) << "else who keeps it takes it for the listing of now";
  EXPECT_TRUE(cache_->generation_of(*later));
}

/// Reads a file of 16 KiB that changes elsewhere under each fetch, so that it is read past the cache.
class ReadPastTheCache : public test::CacheStackTest {
 protected:
  explicit ReadPastTheCache(const MemFsOptions& memory = {}) : CacheStackTest({.max_bytes = kMiB}, memory) {}
  void SetUp() override {
    given("/f", std::string(16384, 'a'));
    node_ = resolve(cache(), "/f").value().node;
    writer_ = open_cached("/f", kReadWrite);
    foreign_ = open(source(), "/f", kReadWrite).value();
    char next = 'b';
    faults().fail_if(
        [&](Operation operation) {
          if (operation != Operation::read) return false;
          pass(seconds(3));  // so that coarse times show it too
          change_elsewhere(next++);
          return false;
        },
        std::errc::io_error);
    auto reader = open_cached("/f");
    const std::string read = read_text(*reader, 0, 1);
    ASSERT_EQ(read, std::string(1, static_cast<char>(next - 1)));
    ASSERT_EQ(cache().stats().bypasses, 1U);
    faults().recover();
  }
  void TearDown() override {
    node_ = {};
    writer_.reset();
    test::CacheStackTest::TearDown();
  }
  void change_elsewhere(char to) { ASSERT_TRUE(write_text(*foreign_, 0, std::string(4096, to))); }
  uint64_t generation() { return cache().validity(*node_).data_generation; }

  NodeRef node_;
  std::unique_ptr<File> writer_;  // of ours, opened before
  std::unique_ptr<File> foreign_;
};

TEST_F(ReadPastTheCache, AWriteOfOursDoesNotHideAForeignOneFromWhoKeepsIt) {
  const uint64_t read_in = generation();
  change_elsewhere('z');
  ASSERT_TRUE(write_text(*writer_, 8192, "ours"));
  EXPECT_NE(generation(), read_in);
}

class ReadPastTheCacheOfCoarseTimes : public ReadPastTheCache {
 protected:
  ReadPastTheCacheOfCoarseTimes()
      : ReadPastTheCache({.version_source = VersionSource::timestamps, .timestamp_granule = seconds(2)}) {}
};

TEST_F(ReadPastTheCacheOfCoarseTimes, AHiddenChangeAfterItIsFoundByTheFirstCheckAGranuleLater) {
  const uint64_t read_in = generation();
  change_elsewhere('z');  // the same size, the same time
  pass(seconds(3));
  open_cached("/f");
  EXPECT_NE(generation(), read_in);
}

}  // namespace
}  // namespace cachefs
