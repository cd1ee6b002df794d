// Fails the first, second, third ... request to the source, once or until it recovers, until the scenario
// passes: after each, the cache and the source agree, and no failure was kept from the caller.
#include <tuple>
#include <vector>

#include "fault/fault_scenario.h"
#include "unit/cache_stack.h"

namespace cachefs {
namespace {

using test::snapshot;
using test::Step;

enum class Lasting : bool { once, until_recovery };
using Axis = std::tuple<std::errc, Lasting, CoherenceMode, InodeNumbers>;

CacheOptions options_for(CoherenceMode mode) {
  return {.max_bytes = 256 * 1024,
          .block_size = 16 * 1024,
          .coherence = mode == CoherenceMode::ttl ? test::for_ttl(std::chrono::hours(1)) : Coherence{}};
}

/// A fresh source and cache, some of it cached already.
std::unique_ptr<test::CacheStack> make_world(CoherenceMode mode, InodeNumbers inode_numbers) {
  auto world =
      std::make_unique<test::CacheStack>(options_for(mode), MemFsOptions{.inode_numbers = inode_numbers});
  test::make_initial_tree(*world->memory);
  EXPECT_TRUE(read_file(*world->cache, "/d/warm"));
  EXPECT_TRUE(read_directory(*world->cache, "/d"));
  return world;
}

/// Runs all steps. Returns the name of a step that told success without having done it, or "".
std::string run_steps(test::CacheStack& world, std::span<const Step> steps, uint64_t& failed) {
  for (const Step& step : steps) {
    const Result<void> result = step.run(*world.cache);
    failed += result ? 0 : 1;
    if (result && !step.happened(*world.memory)) return step.name;
    world.clock.advance(std::chrono::milliseconds(1));
  }
  return {};
}

/// Where files are known by their paths, two links are two files: then the scenario makes none.
std::vector<Step> steps_for(InodeNumbers inode_numbers) {
  std::vector<Step> steps(test::scenario_steps().begin(), test::scenario_steps().end());
  if (inode_numbers == InodeNumbers::none) {
    std::erase_if(steps, [](const Step& step) { return std::string_view(step.name) == "link"; });
  }
  return steps;
}

class FaultSweep : public ::testing::TestWithParam<Axis> {};

TEST_P(FaultSweep, AfterEachFailureCacheAndSourceAgreeAndTheCallerWasTold) {
  const auto [error, lasting, mode, inode_numbers] = GetParam();
  const std::vector<Step> steps = steps_for(inode_numbers);
  for (uint64_t n = 1;; ++n) {
    auto world = make_world(mode, inode_numbers);
    const uint64_t before = world->faults.requests();
    world->faults.fail_nth(n, error, lasting == Lasting::until_recovery);
    uint64_t failed = 0;
    EXPECT_EQ(run_steps(*world, steps, failed), "") << "swallowed the failure of request " << n;
    const bool reached = world->faults.requests() - before >= n;
    world->faults.recover();
    const std::string through_cache = snapshot(*world->cache);
    ASSERT_EQ(through_cache, snapshot(*world->memory)) << "after request " << n << " failed";
    const CacheStats stats = world->cache->stats();
    ASSERT_LE(stats.bytes_used, stats.bytes_limit);
    world->cache->check_invariants();
    if (!reached) {
      EXPECT_EQ(failed, 0U) << "without a fault every step succeeds";
      EXPECT_GT(n, 50U) << "the sweep covered the scenario";
      return;
    }
  }
}

std::string axis_name(const ::testing::TestParamInfo<Axis>& info) {
  const auto [error, lasting, mode, inode_numbers] = info.param;
  std::string name = "Errno" + std::to_string(static_cast<int>(error));
  name += lasting == Lasting::once ? "Once" : "UntilRecovery";
  name += mode == CoherenceMode::ttl ? "Ttl" : "CloseToOpen";
  return name + (inode_numbers == InodeNumbers::none ? "ByPath" : "");
}

INSTANTIATE_TEST_SUITE_P(
    Errors, FaultSweep,
    ::testing::Combine(::testing::Values(std::errc::io_error, std::errc::no_space_on_device,
                                         std::errc::interrupted, static_cast<std::errc>(ESTALE),
                                         std::errc::timed_out),
                       ::testing::Values(Lasting::once, Lasting::until_recovery),
                       ::testing::Values(CoherenceMode::close_to_open, CoherenceMode::ttl),
                       ::testing::Values(InodeNumbers::unique)),
    axis_name);
INSTANTIATE_TEST_SUITE_P(ByPath, FaultSweep,
                         ::testing::Combine(::testing::Values(std::errc::io_error),
                                            ::testing::Values(Lasting::once, Lasting::until_recovery),
                                            ::testing::Values(CoherenceMode::close_to_open,
                                                              CoherenceMode::ttl),
                                            ::testing::Values(InodeNumbers::none)),
                         axis_name);

// --- Controls: what the sweep must notice

TEST(FaultSweepControl, AStaleCacheIsNoticed) {
  auto world = make_world(CoherenceMode::ttl, InodeNumbers::unique);
  ASSERT_TRUE(write_file(*world->memory, "/d/warm", "foreign, and not yet to be seen"));
  EXPECT_NE(snapshot(*world->cache), snapshot(*world->memory));
}

TEST(FaultSweepControl, AChangedModeIsNoticed) {
  auto world = make_world(CoherenceMode::ttl, InodeNumbers::unique);
  ASSERT_TRUE(chmod(*world->memory, "/d/warm", 0));
  EXPECT_NE(snapshot(*world->cache), snapshot(*world->memory));
}

TEST(FaultSweepControl, ASwallowedErrorIsNoticed) {
  auto world = make_world(CoherenceMode::close_to_open, InodeNumbers::unique);
  std::vector<Step> steps = steps_for(InodeNumbers::unique);
  steps.front().run = [](FileSystem& fs) {
    ignore(write_file(fs, "/d/new", "first"), "that is the fault");
    return Result<void>();
  };
  world->faults.fail_if([](Operation operation) { return operation == Operation::write; },
                        std::errc::io_error);
  uint64_t failed = 0;
  EXPECT_EQ(run_steps(*world, steps, failed), steps.front().name);
}

}  // namespace
}  // namespace cachefs
