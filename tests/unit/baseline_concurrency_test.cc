// Races that a cache gets wrong easily, and requests made once for many.
#include <atomic>
#include <semaphore>
#include <thread>
#include <vector>

#include "support/scale.h"
#include "unit/cache_stack.h"
#include "unit/thread_states.h"

namespace cachefs {
namespace {

using test::errno_of;
using test::kReadWrite;
using test::read_text;
using test::write_text;

std::chrono::steady_clock::time_point deadline() {
  return std::chrono::steady_clock::now() + std::chrono::seconds(20);
}
auto only(Operation which) {
  return [which](Operation operation) { return operation == which; };
}

constexpr uint64_t kReaders = 32;

class ConcurrencyBehaviour : public test::CacheStackTest {
 protected:
  ConcurrencyBehaviour() : CacheStackTest({.max_bytes = 8 * kMiB, .coherence = {}}) {}
  void SetUp() override { given("/f", std::string(100'000, 'a')); }

  /// Runs `request` in many threads while the source hangs at `at`; once all have begun, it goes on.
  template <typename Request>
  std::vector<int> run_together(Operation at, Request request) {
    faults().hang_if(only(at));
    requests().reset();
    cache().reset_stats();
    std::vector<int> errors(kReaders, -1);
    std::vector<std::jthread> threads;
    for (uint64_t i = 0; i < kReaders; ++i) threads.emplace_back([&, i] { errors[i] = errno_of(request()); });
    EXPECT_TRUE(faults().wait_for_hanging(1, deadline()));
    wait_until_all_wait();
    faults().recover();
    threads.clear();
    return errors;
  }
  /// Each has counted its miss, and by now waits for the one who asks.
  void wait_until_all_wait() {
    const auto until = deadline();
    const auto misses = [&] { return cache().stats().misses + cache().stats().metadata_misses; };
    while ((misses() < kReaders || !test::all_other_threads_sleep()) &&
           std::chrono::steady_clock::now() < until) {
      std::this_thread::yield();
    }
    EXPECT_GE(misses(), kReaders);
  }
};

TEST_F(ConcurrencyBehaviour, ManyReadersOfOneColdBlockMakeOneRead) {
  auto file = open_cached("/f");
  const auto errors = run_together(Operation::read, [&]() -> Result<void> {
    if (read_text(*file, 0, 100'000) == std::string(100'000, 'a')) return {};
    return fail(std::errc::io_error);
  });
  EXPECT_EQ(errors, std::vector<int>(kReaders, 0));
  EXPECT_EQ(requests().reads(), 1U);
  EXPECT_EQ(requests().read_bytes(), 100'000U);
  EXPECT_EQ(cache().stats().entries, 1U) << "the bytes are counted once";
}

TEST_F(ConcurrencyBehaviour, ManyLookUpsOfOneNameMakeOne) {
  const auto errors = run_together(Operation::lookup, [&] { return stat(cache(), "/f"); });
  EXPECT_EQ(errors, std::vector<int>(kReaders, 0));
  EXPECT_EQ(requests().count(Operation::lookup), 1U);
}

TEST_F(ConcurrencyBehaviour, ManyLookUpsOfAMissingNameMakeOne) {
  const auto errors = run_together(Operation::lookup, [&] { return stat(cache(), "/missing"); });
  EXPECT_EQ(errors, std::vector<int>(kReaders, ENOENT));
  EXPECT_EQ(requests().count(Operation::lookup), 1U);
}

TEST_F(ConcurrencyBehaviour, ManyQuestionsForAttributesMakeOne) {
  const auto entry = resolve(cache(), "/f");
  ASSERT_TRUE(entry);
  outlive_attributes();
  const auto errors =
      run_together(Operation::attributes, [&] { return cache().attributes(*entry->node, Caller{}); });
  EXPECT_EQ(errors, std::vector<int>(kReaders, 0));
  EXPECT_EQ(requests().count(Operation::attributes), 1U);
}

TEST_F(ConcurrencyBehaviour, ManyListingsOfOneDirectoryMakeOne) {
  ASSERT_TRUE(mkdir(source(), "/d"));
  given("/d/x", "");
  const auto entry = resolve(cache(), "/d");
  ASSERT_TRUE(entry);
  std::atomic<uint64_t> complete{0};
  const auto errors = run_together(Operation::open_directory, [&]() -> Result<void> {
    auto stream = cache().open_directory(*entry->node, Caller{});
    if (!stream) return std::unexpected(stream.error());
    const auto batch = (*stream)->next_batch();
    if (batch && batch->size() == 1) ++complete;
    return {};
  });
  EXPECT_EQ(errors, std::vector<int>(kReaders, 0));
  EXPECT_EQ(complete, kReaders);
  EXPECT_EQ(requests().count(Operation::open_directory), 1U);
}

TEST_F(ConcurrencyBehaviour, ManyReadersOfOneSymlinkMakeOneRequest) {
  ASSERT_TRUE(symlink(source(), "target", "/link"));
  const auto entry = resolve(cache(), "/link", FollowLast::no);
  ASSERT_TRUE(entry);
  std::atomic<uint64_t> right{0};
  run_together(Operation::read_link, [&] {
    auto target = cache().read_link(*entry->node, Caller{});
    if (target && *target == "target") ++right;
    return target;
  });
  EXPECT_EQ(right, kReaders);
  EXPECT_EQ(requests().count(Operation::read_link), 1U);
}

TEST_F(ConcurrencyBehaviour, TheErrorOfTheOneReadReachesAll) {
  auto file = open_cached("/f");
  cache().reset_stats();
  requests().reset();
  std::binary_semaphore go(0);
  const auto wait_and_fail = [&](Operation operation) {
    if (operation == Operation::read) go.acquire();
    return operation == Operation::read;
  };
  faults().fail_if(wait_and_fail, std::errc::io_error);
  std::atomic<uint64_t> failed{0};
  std::vector<std::jthread> threads;
  for (uint64_t i = 0; i < kReaders; ++i) {
    threads.emplace_back(
        [&] { failed += read_text(*file, 0, 10).starts_with("error: Input/output") ? 1 : 0; });
  }
  wait_until_all_wait();
  go.release();
  threads.clear();
  EXPECT_EQ(failed, kReaders);
  EXPECT_EQ(requests().reads(), 1U);
  faults().recover();
  EXPECT_EQ(read_text(*file, 0, 3), "aaa") << "an error is not remembered";
}

TEST_F(ConcurrencyBehaviour, AHungReadDoesNotBlockHitsOfOtherFiles) {
  given("/g", "hit");
  cached("/g");
  auto cold = open_cached("/f");
  auto warm = open_cached("/g");
  faults().hang_if(only(Operation::read));
  std::jthread hanging([&] { EXPECT_EQ(read_text(*cold, 0, 1), "a"); });
  ASSERT_TRUE(faults().wait_for_hanging(1, deadline()));
  EXPECT_EQ(read_text(*warm, 0, 3), "hit");
  EXPECT_EQ(cached("/g"), "hit");
  faults().recover();
}

TEST_F(ConcurrencyBehaviour, AHungReadDoesNotBlockHitsOfTheSameFile) {
  given("/big", std::string(400'000, 'b'));
  auto file = open_cached("/big");
  EXPECT_EQ(read_text(*file, 0, 1), "b");
  faults().hang_if(only(Operation::read));
  std::jthread hanging([&] { EXPECT_EQ(read_text(*file, 300'000, 1), "b"); });
  ASSERT_TRUE(faults().wait_for_hanging(1, deadline()));
  EXPECT_EQ(read_text(*file, 0, 1), "b");
  faults().recover();
}

/// A read that misses is stopped after its bytes came from the source and before they are published; `change`
/// comes in between.
class MissRace : public ConcurrencyBehaviour {
 protected:
  template <typename Change>
  void race(Change change) {
    auto file = open_cached("/f");
    faults().hang_if(only(Operation::attributes));  // the check of the version after the read
    std::jthread reader([&] { old_ = read_text(*file, 0, 100'000); });
    ASSERT_TRUE(faults().wait_for_hanging(1, deadline()));
    faults().hang_if({});
    change();
    faults().recover();
  }
  std::string old_;
};

TEST_F(MissRace, WithAWriteLeavesNoStaleEntry) {
  race([&] { ASSERT_TRUE(write_text(*open_cached("/f", kReadWrite), 5, "NEW")); });
  EXPECT_EQ(cached("/f").substr(0, 10), "aaaaaNEWaa");
}

TEST_F(MissRace, WithATruncationLeavesNoStaleEntry) {
  race([&] { ASSERT_TRUE(truncate(cache(), "/f", 3)); });
  EXPECT_EQ(cached("/f"), "aaa");
}

TEST_F(MissRace, WithARenameOverLeavesNoStaleEntry) {
  given("/g", "other");
  race([&] { ASSERT_TRUE(rename(cache(), "/g", "/f")); });
  EXPECT_EQ(cached("/f"), "other");
}

TEST_F(MissRace, WithAnUnlinkAndANewFileLeavesNoStaleEntry) {
  race([&] {
    ASSERT_TRUE(remove(cache(), "/f"));
    ASSERT_TRUE(write_file(cache(), "/f", "second"));
  });
  EXPECT_EQ(cached("/f"), "second");
}

TEST_F(MissRace, WithAForeignChangeLeavesNoStaleEntry) {
  race([&] { given("/f", "foreign"); });
  EXPECT_EQ(cached("/f"), "foreign");
}

TEST_F(MissRace, WithAnInvalidationStillReadsRight) {
  race([&] { cache().invalidate("/f"); });
  EXPECT_EQ(old_, std::string(100'000, 'a'));
  EXPECT_EQ(cached("/f"), std::string(100'000, 'a'));
}

TEST_F(MissRace, WithAClearLeavesNothingCounted) {
  race([&] { cache().clear(); });
  EXPECT_EQ(old_, std::string(100'000, 'a'));
  cache().clear();
  EXPECT_EQ(cache().stats().bytes_used, 0U);
}

/// Each file is full of its own letter at all times, so that a byte of another file shows.
TEST_F(ConcurrencyBehaviour, AReaderNeverGetsAnotherFilesBytes) {
  test::CacheStack small({.max_bytes = 256 * 1024, .block_size = 16 * 1024, .coherence = {}});
  for (int i = 0; i < 26; ++i) {
    ASSERT_TRUE(
        write_file(*small.memory, "/f" + std::to_string(i), std::string(50'000, static_cast<char>('a' + i))));
  }
  const uint64_t seed = test::seed();
  std::atomic<int> wrong{0};
  std::vector<std::jthread> threads;
  for (uint64_t i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      for (uint64_t step = 0; step < 300; ++step) {
        const uint64_t which = (seed + i * 7919 + step * step) % 26;
        const auto content = read_file(*small.cache, "/f" + std::to_string(which));
        if (!content || *content != std::string(50'000, static_cast<char>('a' + which))) ++wrong;
      }
    });
  }
  threads.clear();
  EXPECT_EQ(wrong, 0);
  EXPECT_GT(small.cache->stats().evictions, 0U);
  small.cache->clear();
  EXPECT_EQ(small.cache->stats().bytes_used, 0U);
}

TEST_F(ConcurrencyBehaviour, ConcurrentAppendsAllArrive) {
  given("/log", "");
  std::vector<std::jthread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      auto file = open_cached("/log", kReadWrite);
      for (int step = 0; step < 50; ++step) EXPECT_TRUE(test::append_text(*file, "0123456789"));
    });
  }
  threads.clear();
  std::string expected;
  for (int i = 0; i < 400; ++i) expected += "0123456789";
  EXPECT_EQ(cached("/log"), expected);
  EXPECT_EQ(on_source("/log"), expected);
}

}  // namespace
}  // namespace cachefs
