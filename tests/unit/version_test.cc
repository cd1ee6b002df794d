// What versions and identities show of changes elsewhere, and what is done where they show nothing at first.
// Each case over all modes that ask at an open.
#include <functional>
#include <thread>

#include "unit/cache_stack.h"

namespace cachefs {
namespace {

using std::chrono::hours;
using std::chrono::seconds;
using test::read_text;

MemFsOptions timestamps(std::chrono::nanoseconds granule, InodeNumbers inode_numbers = InodeNumbers::unique) {
  MemFsOptions options;
  options.inode_numbers = inode_numbers;
  options.version_source = VersionSource::timestamps;
  options.timestamp_granule = granule;
  return options;
}

constexpr auto kTick = seconds(2);

/// One source with a clock of its own.
struct World {
  explicit World(MemFsOptions options, Coherence coherence = {}) {
    options.clock = &source_clock;
    memory = make_mem_fs(options);
    faulty = make_hooked_fs(*memory, faults);
    counted = make_hooked_fs(*faulty, requests);
    cache =
        CacheFs::create(*counted, {.max_bytes = 32 * kMiB, .coherence = coherence, .clock = &clock}).value();
  }
  void pass(std::chrono::nanoseconds time) {
    clock.advance(time);
    source_clock.advance(time);
  }
  void given(std::string_view path, std::string_view content) const {
    ASSERT_TRUE(write_file(*memory, path, content));
  }
  [[nodiscard]] std::string cached(std::string_view path) const {
    return read_file(*cache, path).value_or("error");
  }

  ManualClock clock;
  ManualClock source_clock;
  std::unique_ptr<FileSystem> memory;
  FaultHook faults;
  OperationCounter requests;
  std::unique_ptr<FileSystem> faulty;
  std::unique_ptr<FileSystem> counted;
  std::unique_ptr<CacheFs> cache;
};

class Versions : public ::testing::TestWithParam<CoherenceMode> {
 protected:
  static Coherence coherence() { return {.mode = GetParam()}; }
};

TEST_P(Versions, ASameSizeChangeWithinATickIsSeenOnceTheTickIsOver) {
  World world(timestamps(kTick), coherence());
  world.given("/f", "aaaa");
  EXPECT_EQ(world.cached("/f"), "aaaa");
  world.given("/f", "bbbb");
  world.pass(kTick);
  EXPECT_EQ(world.cached("/f"), "bbbb");
}

TEST_P(Versions, ASameSizeChangeInTheLastInstantOfATickIsSeenToo) {
  World world(timestamps(kTick), coherence());
  world.pass(kTick - std::chrono::nanoseconds(1));
  world.given("/f", "aaaa");
  EXPECT_EQ(world.cached("/f"), "aaaa");
  world.given("/f", "bbbb");
  world.pass(std::chrono::nanoseconds(1));
  EXPECT_EQ(world.cached("/f"), "bbbb") << "the tick is over: no version of it hides anything any more";
}

/// Reads 2 MiB, which takes two requests, and overwrites the file between the two.
std::string read_overwritten(World& world, char old_byte, char new_byte) {
  constexpr size_t kSize = 2 * kMiB;
  world.given("/f", std::string(kSize, old_byte));
  int reads = 0;
  world.faults.hang_if(
      [&reads](Operation operation) { return operation == Operation::read && ++reads == 2; });
  std::string content;
  std::jthread reader([&] {
    const auto file = open(*world.cache, "/f").value();
    content = read_text(*file, 0, kSize);
  });
  EXPECT_TRUE(world.faults.wait_for_hanging(1, std::chrono::steady_clock::now() + seconds(20)));
  world.given("/f", std::string(kSize, new_byte));
  world.faults.recover();
  reader.join();
  return content;
}

TEST_P(Versions, AnOverwriteInPlaceDuringAFetchIsNotMixedWithIt) {
  for (const MemFsOptions& options : {MemFsOptions{}, timestamps(seconds(0)), timestamps(kTick)}) {
    World world(options, coherence());
    world.pass(seconds(1));
    world.given("/f", "");
    const bool hidden = options.timestamp_granule == kTick;
    const std::string content = read_overwritten(world, 'a', 'b');
    EXPECT_TRUE(hidden || content == std::string(2 * kMiB, 'b'));
    world.pass(kTick);  // what a tick hides is fetched anew after it
    EXPECT_EQ(world.cached("/f"), std::string(2 * kMiB, 'b')) << (hidden ? "hidden" : "shown");
  }
}

TEST_P(Versions, WhereThePathIsTheIdentityANewFileOfThatNameIsSeenOnceTheTickIsOver) {
  for (const InodeNumbers numbers : {InodeNumbers::none, InodeNumbers::random}) {
    World world(timestamps(kTick, numbers), coherence());
    world.given("/f", "aaaa");
    EXPECT_EQ(world.cached("/f"), "aaaa");
    ASSERT_TRUE(remove(*world.memory, "/f"));
    world.given("/f", "bbbb");  // the same size and time
    world.pass(kTick);
    EXPECT_EQ(world.cached("/f"), "bbbb");
  }
}

/// The clock of the source is ahead of ours (or behind, if negative).
void expect_ticks_of_another_clock(std::chrono::nanoseconds ahead, const Coherence& coherence) {
  MemFsOptions options = timestamps(kTick);
  options.local_clock = false;
  World world(options, coherence);
  world.pass(hours(48));
  (ahead.count() > 0 ? world.source_clock : world.clock).advance(ahead.count() > 0 ? ahead : -ahead);
  world.given("/f", "aaaa");
  EXPECT_EQ(world.cached("/f"), "aaaa");
  world.given("/f", "bbbb");
  world.pass(kTick + seconds(1));
  EXPECT_EQ(world.cached("/f"), "bbbb");
  world.pass(kTick + seconds(1));
  EXPECT_EQ(world.cached("/f"), "bbbb");
  world.requests.reset();
  for (int i = 0; i < 3; ++i) {
    world.pass(kTick + seconds(1));
    EXPECT_EQ(world.cached("/f"), "bbbb");
  }
  EXPECT_EQ(world.requests.reads(), 0U) << "it is settled, and not fetched again and again";
}

TEST_P(Versions, AClockOfTheSourceThatIsAheadHidesNothing) {
  expect_ticks_of_another_clock(hours(1), coherence());
  expect_ticks_of_another_clock(hours(24), coherence());
}

TEST_P(Versions, AClockOfTheSourceThatIsBehindHidesNothing) {
  expect_ticks_of_another_clock(-hours(1), coherence());
  expect_ticks_of_another_clock(-hours(24), coherence());
}

INSTANTIATE_TEST_SUITE_P(Mode, Versions,
                         ::testing::Values(CoherenceMode::strict, CoherenceMode::close_to_open),
                         [](const auto& test) {
                           return test.param == CoherenceMode::strict ? "Strict" : "CloseToOpen";
                         });

}  // namespace
}  // namespace cachefs
