// The limit is never passed, whatever happens at once; and the cache stays right when almost nothing fits.
#include <atomic>
#include <random>
#include <thread>

#include "support/scale.h"
#include "unit/cache_stack.h"

namespace cachefs {
namespace {

using test::kReadWrite;
using test::read_text;
using test::write_text;

constexpr uint64_t kFiles = 12;
constexpr uint64_t kNamesMax = 20;

std::string path_of(uint64_t which) {
  return "/d" + std::to_string(which % 3) + "/file" + std::to_string(which);
}
/// Every byte of a file is its letter, whoever wrote it.
char letter_of(uint64_t which) { return static_cast<char>('a' + which); }

/// Reads, writes, renames, lists and invalidates at random; counts bytes that are not of their file.
class Worker {
 public:
  Worker(CacheFs& cache, uint64_t seed) : cache_(cache), random_(seed) {}
  void step() {
    const uint64_t which = random_() % kFiles;
    switch (random_() % 12) {
      case 0:
        return ignore(truncate(cache_, path_of(which), random_() % 60'000),
                      "another thread may have moved it");
      case 1:
        return move_there_and_back(which);
      case 2:
        return static_cast<void>(cache_.invalidate(path_of(which)));
      case 3:
        return static_cast<void>(cache_.invalidate_prefix("/d" + std::to_string(random_() % 3)));
      case 4:
        return random_() % 8 == 0 ? cache_.clear() : void();
      case 5:
        return ignore(read_directory(cache_, "/d0"), "for its effect on the cache");
      case 6:
        return ignore(stat(cache_, "/d1/none" + std::to_string(random_() % 50)),
                      "for its effect on the cache");
      case 7:
      case 8:
        return write_some(which);
      default:
        return read_some(which);
    }
  }
  [[nodiscard]] uint64_t wrong() const { return wrong_; }
  [[nodiscard]] uint64_t bytes_read() const { return bytes_read_; }

 private:
  void move_there_and_back(uint64_t which) {
    const std::string away = path_of(which) + ".away";
    if (rename(cache_, path_of(which), away))
      ignore(rename(cache_, away, path_of(which)), "somebody else may have");
  }
  void write_some(uint64_t which) {
    auto file = open(cache_, path_of(which), kReadWrite);
    if (file)
      ignore(write_text(**file, random_() % 40'000, std::string(1 + random_() % 20'000, letter_of(which))),
             "may fail");
  }
  void read_some(uint64_t which) {
    auto file = open(cache_, path_of(which));
    if (!file) return;
    const std::string text = read_text(**file, random_() % 40'000, 1 + random_() % 40'000);
    bytes_read_ += text.size();
    for (const char byte : text)
      wrong_ += byte != letter_of(which) && byte != '\0' ? 1 : 0;  // a gap is zeros
  }

  CacheFs& cache_;
  std::mt19937_64 random_;
  uint64_t wrong_ = 0;
  uint64_t bytes_read_ = 0;
};

struct Limit {
  const char* name;
  uint64_t bytes;
  uint32_t block_size;
};

class LimitTest : public ::testing::TestWithParam<Limit> {
 protected:
  LimitTest()
      : stack_({.max_bytes = GetParam().bytes,
                .metadata_max_entries = kNamesMax,
                .block_size = GetParam().block_size,
                .coherence = {}}) {}
  void SetUp() override {
    for (const char* directory : {"/d0", "/d1", "/d2"}) ASSERT_TRUE(mkdir(*stack_.memory, directory));
    for (uint64_t i = 0; i < kFiles; ++i) {
      ASSERT_TRUE(write_file(*stack_.memory, path_of(i), std::string(50'000, letter_of(i))));
    }
  }
  /// Looks at the gauges until told to stop; true if one was ever over its limit.
  bool sample(const std::stop_token& stop) {
    bool over = false;
    while (!stop.stop_requested()) {
      const CacheStats stats = stack_.cache->stats();
      over = over || stats.bytes_used > stats.bytes_limit || stats.names > kNamesMax;
      ++samples_;
    }
    return over;
  }
  test::CacheStack stack_;
  std::atomic<uint64_t> samples_{0};
};

TEST_P(LimitTest, IsNeverPassedByManyThreadsAndTheBytesAreRight) {
  const uint64_t seed = test::seed();
  std::atomic<bool> over{false};
  std::atomic<uint64_t> wrong{0};
  std::atomic<uint64_t> bytes_read{0};
  {
    const std::jthread sampler([&](const std::stop_token& stop) { over = sample(stop); });
    std::vector<std::jthread> threads;
    for (uint64_t i = 0; i < 8; ++i) {
      threads.emplace_back([&, i] {
        Worker worker(*stack_.cache, seed * 1000 + i);
        for (int step = 0; step < test::scaled(400); ++step) worker.step();
        wrong += worker.wrong();
        bytes_read += worker.bytes_read();
      });
    }
  }
  EXPECT_FALSE(over);
  EXPECT_GT(samples_, 100U);
  EXPECT_EQ(wrong, 0U);
  EXPECT_GT(bytes_read, 0U);
  stack_.cache->check_invariants();
  stack_.cache->clear();
  EXPECT_EQ(stack_.cache->stats().bytes_used, 0U);
}

TEST_P(LimitTest, ReadsAreRightAndBoundedWithoutAnyConcurrency) {
  for (uint64_t i = 0; i < kFiles * 2; ++i) {
    const uint64_t which = i % kFiles;
    EXPECT_EQ(read_file(*stack_.cache, path_of(which)).value_or("?"), std::string(50'000, letter_of(which)));
    EXPECT_LE(stack_.cache->stats().bytes_used, GetParam().bytes);
    EXPECT_LE(stack_.cache->stats().names, kNamesMax);
  }
  stack_.cache->check_invariants();
}

INSTANTIATE_TEST_SUITE_P(Limits, LimitTest,
                         ::testing::Values(Limit{"OneKib", 1024, 16 * 1024},
                                           Limit{"TwentyKib", 20 * 1024, 16 * 1024},
                                           Limit{"OneBlock", 128 * 1024, 128 * 1024},
                                           Limit{"OneMib", 1024 * 1024, 16 * 1024},
                                           Limit{"EightMib", 8 * 1024 * 1024, 128 * 1024}),
                         [](const auto& limit) { return std::string(limit.param.name); });

class LimitsTest : public test::CacheStackTest {
 protected:
  LimitsTest()
      : CacheStackTest({.max_bytes = 4 * kMiB,
                        .metadata_max_entries = 50,
                        .coherence = test::for_ttl(std::chrono::hours(1))}) {}
};

TEST_F(LimitsTest, NodesAndNamesAreBounded) {
  for (int i = 0; i < 300; ++i) given("/f" + std::to_string(i), "x");
  for (int i = 0; i < 300; ++i) {
    ASSERT_TRUE(stat(cache(), "/f" + std::to_string(i)));
    ASSERT_LE(cache().stats().names, 50U);
    ASSERT_LE(cache().stats().nodes, 51U) << "the root is referenced for ever";
  }
}

TEST_F(LimitsTest, NodesInUseBeyondTheBoundWorkAndLeaveAtOnceWhenDropped) {
  for (int i = 0; i < 300; ++i) given("/f" + std::to_string(i), std::to_string(i));
  std::vector<std::unique_ptr<File>> files;
  for (int i = 0; i < 300; ++i) files.push_back(open_cached("/f" + std::to_string(i)));
  for (size_t i = 0; i < 300; ++i) EXPECT_EQ(read_text(*files[i], 0, 9), std::to_string(i));
  EXPECT_GT(cache().stats().nodes, 250U);
  files.clear();
  EXPECT_LE(cache().stats().nodes, 51U);
}

TEST_F(LimitsTest, LookingAtManyFilesDoesNotCostTheDataOfOthers) {
  given("/data", "cached");
  EXPECT_EQ(cached("/data"), "cached");
  for (int i = 0; i < 300; ++i) {
    given("/f" + std::to_string(i), "x");
    ASSERT_TRUE(stat(cache(), "/f" + std::to_string(i)));
  }
  requests().reset();
  EXPECT_EQ(cached("/data"), "cached");
  EXPECT_EQ(requests().reads(), 0U);
}

TEST_F(LimitsTest, FilesWithDataLeaveRoomForAttributesOfOthers) {
  for (int i = 0; i < 100; ++i) {
    given("/data" + std::to_string(i), "x");
    EXPECT_EQ(cached("/data" + std::to_string(i)), "x");
  }
  for (int i = 0; i < 5; ++i) given("/f" + std::to_string(i), "x");
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(stat(cache(), "/f" + std::to_string(i)));
  requests().reset();
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(stat(cache(), "/f" + std::to_string(i)));
  EXPECT_EQ(requests().metadata(), 0U);
}

TEST_F(LimitsTest, AFileThatWasForgottenHasOtherGenerationsThanBefore) {
  given("/f", "x");
  EXPECT_EQ(cached("/f"), "x");
  const uint64_t before = cache().validity(*resolve(cache(), "/f")->node).data_generation;
  for (int i = 0; i < 300; ++i) {
    given("/data" + std::to_string(i), "x");
    EXPECT_EQ(cached("/data" + std::to_string(i)), "x");
  }
  EXPECT_NE(cache().validity(*resolve(cache(), "/f")->node).data_generation, before)
      << "a layer above would believe that it has the same data";
}

TEST_F(LimitsTest, MetadataLeavesRoomForData) {
  for (int i = 0; i < 40; ++i)
    given("/" + std::string(200, 'n') + std::to_string(i), std::string(40'000, 'x'));
  for (int i = 0; i < 40; ++i) cached("/" + std::string(200, 'n') + std::to_string(i));
  EXPECT_GT(cache().stats().entries, 10U);
}

TEST_F(LimitsTest, ListingsOfDirectoriesInUseLeaveForOthers) {
  constexpr int kDirectories = 40;
  std::vector<NodeRef> in_use;
  for (int i = 0; i < kDirectories; ++i) {
    const std::string path = "/d" + std::to_string(i);
    ASSERT_TRUE(mkdir(source(), path));
    for (int j = 0; j < 500; ++j) given(path + "/a name that is long " + std::to_string(j), "");
    in_use.push_back(resolve(cache(), path)->node);
    ASSERT_EQ(read_directory(cache(), path).value().size(), 500U);
  }
  ASSERT_LT(cache().stats().bytes_used, kMiB + 64 * kKiB) << "a quarter of the limit";
  requests().reset();
  ASSERT_EQ(read_directory(cache(), "/d39").value().size(), 500U);
  EXPECT_EQ(requests().total(), 0U) << "the newest is kept";
  given("/f", "");
  ASSERT_TRUE(stat(cache(), "/f"));
  requests().reset();
  ASSERT_TRUE(stat(cache(), "/f"));
  EXPECT_EQ(requests().total(), 0U) << "there is room for names and attributes";
}

TEST_F(LimitsTest, AnUnfittingListingIsStreamedWhole) {
  test::CacheStack small({.max_bytes = 8 * 1024, .coherence = {}});
  for (int i = 0; i < 2000; ++i)
    ASSERT_TRUE(write_file(*small.memory, "/a long name of a file " + std::to_string(i), ""));
  for (int round = 0; round < 2; ++round) EXPECT_EQ(read_directory(*small.cache, "/").value().size(), 2000U);
  EXPECT_LE(small.cache->stats().bytes_used, 8U * 1024);
}

TEST_F(LimitsTest, BadOptionsAreRefusedWithTheWayOut) {
  const std::pair<CacheOptions, std::string_view> table[] = {
      {{.max_bytes = 0, .coherence = {}}, "max_bytes"},
      {{.max_entries = 0, .coherence = {}}, "max_entries"},
      {{.block_size = 100'000, .coherence = {}}, "block_size"},
      {{.block_size = 8 * 1024, .coherence = {}}, "block_size"},
      {{.shard_count = 3, .coherence = {}}, "shard_count"},
      {{.policy = "lur", .coherence = {}}, "did you mean 'lru'"},
      {{.coherence = {}, .clock = nullptr}, "clock"},
  };
  for (const auto& [options, named] : table) {
    const auto made = CacheFs::create(source(), options);
    ASSERT_FALSE(made) << named;
    EXPECT_TRUE(made.error().is(std::errc::invalid_argument));
    EXPECT_NE(made.error().message().find(named), std::string::npos) << made.error().message();
  }
}

TEST_F(LimitsTest, MaxEntriesIsNeverPassed) {
  test::CacheStack few({.max_entries = 3, .block_size = 16 * 1024, .coherence = {}});
  ASSERT_TRUE(write_file(*few.memory, "/f", std::string(200'000, 'x')));
  EXPECT_EQ(read_file(*few.cache, "/f").value_or(""), std::string(200'000, 'x'));
  EXPECT_LE(few.cache->stats().entries, 3U);
  auto file = open(*few.cache, "/f").value();
  for (uint64_t i = 0; i < 12; ++i) {
    EXPECT_EQ(read_text(*file, i * 16 * 1024, 10),
              std::string(10, 'x').substr(0, std::min<uint64_t>(10, 200'000 - i * 16 * 1024)));
    EXPECT_LE(few.cache->stats().entries, 3U);
  }
}

TEST_F(LimitsTest, ALackOfEntriesDoesNotPushOutNames) {
  test::CacheStack few(
      {.max_entries = 2, .block_size = 16 * 1024, .coherence = test::for_ttl(std::chrono::hours(1))});
  ASSERT_TRUE(write_file(*few.memory, "/f", std::string(200'000, 'x')));
  for (int i = 0; i < 30; ++i) ASSERT_FALSE(stat(*few.cache, "/none" + std::to_string(i)));
  EXPECT_EQ(read_text(*open(*few.cache, "/f").value(), 0, 200'000), std::string(200'000, 'x'));
  EXPECT_GE(few.cache->stats().names, 30U);
}

}  // namespace
}  // namespace cachefs
