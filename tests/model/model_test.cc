// Random operations on random files, over every kind of source and tiny to ample limits. CACHEFS_TEST_SEED
// repeats a run.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "cachefs/posix_fs.h"
#include "model/model_world.h"
#include "support/scale.h"
#include "support/temporary_directory.h"

namespace cachefs::model {
namespace {

struct Case {
  std::string name;
  MemFsOptions source{};
  uint64_t max_bytes = 4 * kMiB;
  std::string coherence = "close-to-open";
  std::string policy = "lru";
  bool posix = false;
};

/// Fifteen cases of this make more than a million operations.
constexpr int kSteps = 80'000;

class Model : public ::testing::TestWithParam<Case> {};

TEST_P(Model, AgreesWithAPlainFileSystem) {
  const Case& param = GetParam();
  const uint64_t seed = test::seed();
  ManualClock clock;
  test::TemporaryDirectory directory;
  MemFsOptions source_options = param.source;
  source_options.clock = &clock;
  umask(0);
  std::unique_ptr<FileSystem> source;
  if (param.posix) {
    auto posix = make_posix_fs(directory.string());
    ASSERT_TRUE(posix) << posix.error().message();
    source = std::move(*posix);
  } else {
    source = make_mem_fs(source_options);
  }
  WorldOptions options;
  options.clock = param.posix ? nullptr : &clock;
  options.cache.max_bytes = param.max_bytes;
  options.cache.block_size = 16 * kKiB;
  options.cache.policy = param.policy;
  options.cache.coherence = *parse_coherence(param.coherence);
  if (param.posix) {
    options.cache.coherence.attribute_ttl = {};  // the machine's clock cannot be turned
  } else {
    options.cache.clock = &clock;
  }
  World world(*source, options, seed);
  const int count = test::scaled(param.posix ? kSteps / 4 : kSteps);
  for (int i = 0; i < count; ++i) {
    ASSERT_TRUE(world.step()) << "step " << i << ", seed " << seed << ": " << world.failure();
    if (i % 5000 == 0) world.cache().check_invariants();
  }
  EXPECT_TRUE(world.compare_all()) << "seed " << seed << ": " << world.failure();
  world.cache().check_invariants();
}

constexpr uint64_t kOneBlock = 18 * kKiB;

INSTANTIATE_TEST_SUITE_P(
    Sources, Model,
    ::testing::Values(
        Case{.name = "Plenty"}, Case{.name = "OneBlock", .max_bytes = kOneBlock},
        Case{.name = "NoRoom", .max_bytes = kKiB},
        Case{.name = "FewBlocks", .max_bytes = 100 * kKiB, .policy = "fifo"},
        Case{.name = "Ttl", .coherence = "ttl=60s"},
        Case{.name = "TtlFewBlocks", .max_bytes = 100 * kKiB, .coherence = "ttl=60s"},
        Case{.name = "ReusedInodes", .source = {.inode_numbers = InodeNumbers::reused}},
        Case{.name = "RandomInodes", .source = {.inode_numbers = InodeNumbers::random}},
        Case{.name = "NoInodes", .source = {.inode_numbers = InodeNumbers::none}, .max_bytes = 100 * kKiB},
        Case{.name = "CoarseTimes",
             .source = {.version_source = VersionSource::timestamps,
                        .timestamp_granule = std::chrono::seconds(2)}},
        Case{.name = "CoarseForeignClock",
             .source = {.version_source = VersionSource::timestamps,
                        .timestamp_granule = std::chrono::seconds(2),
                        .local_clock = false}},
        Case{.name = "NoTimes", .source = {.version_source = VersionSource::size_only}},
        Case{.name = "AnyCase", .source = {.case_sensitive = false}}, Case{.name = "Posix", .posix = true},
        Case{.name = "PosixOneBlock", .max_bytes = kOneBlock, .posix = true}),
    [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace cachefs::model
