// Readers of one file beside each other, and beside writers and removers of it.
#include <array>
#include <atomic>
#include <semaphore>
#include <thread>
#include <vector>

#include "support/scale.h"
#include "unit/cache_stack.h"
#include "unit/thread_states.h"

namespace cachefs {
namespace {

using test::kReadWrite;
using test::read_text;
using test::write_text;

std::chrono::steady_clock::time_point deadline() {
  return std::chrono::steady_clock::now() + std::chrono::seconds(20);
}
auto only(Operation which) {
  return [which](Operation operation) { return operation == which; };
}

class ReadRace : public test::CacheStackTest {
 protected:
  ReadRace() : CacheStackTest({.max_bytes = 8 * kMiB, .block_size = 16 * kKiB, .coherence = {}}) {}
  explicit ReadRace(const Coherence& coherence)
      : CacheStackTest({.max_bytes = 8 * kMiB, .block_size = 16 * kKiB, .coherence = coherence}) {}
};

TEST_F(ReadRace, AReadOverSeveralBlocksSeesAWriteOfOursWholeOrNotAtAll) {
  constexpr size_t kSize = 128 * 1024;
  const std::array<std::string, 2> contents{std::string(kSize, 'a'), std::string(kSize, 'b')};
  given("/f", contents[0]);
  cached("/f");
  std::atomic<bool> done{false};
  std::atomic<int> mixed{0};
  std::vector<std::jthread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      auto file = open_cached("/f");
      while (!done) {
        const std::string read = read_text(*file, 0, kSize);
        if (read != contents[0] && read != contents[1]) ++mixed;
      }
    });
  }
  auto writer = open_cached("/f", kReadWrite);
  for (size_t i = 1; i <= static_cast<size_t>(test::scaled(2000)); ++i)
    ASSERT_TRUE(write_text(*writer, 0, contents[i % 2]));
  done = true;
  readers.clear();
  EXPECT_EQ(mixed, 0);
}

TEST_F(ReadRace, WhatWasCopiedBeforeAWriteOfOursIsNotJoinedToWhatIsFetchedAfterIt) {
  constexpr size_t kSize = 32 * 1024;
  given("/f", std::string(kSize, 'a'));
  auto file = open_cached("/f");
  EXPECT_EQ(read_text(*file, 0, 1), "a");  // of the first block
  EXPECT_EQ(read_text(*file, 4096, 12288), std::string(12288, 'a'));
  faults().hang_if(only(Operation::read));
  std::string read;
  std::jthread reader([&] { read = read_text(*file, 0, kSize); });
  ASSERT_TRUE(faults().wait_for_hanging(1, deadline()));
  faults().hang_if({});
  ASSERT_TRUE(write_text(*open_cached("/f", kReadWrite), 0, std::string(kSize, 'b')));
  faults().recover();
  reader.join();
  EXPECT_EQ(read, std::string(kSize, 'b'));
}

TEST_F(ReadRace, AReadIntoSeveralBuffersIsOneRead) {
  constexpr size_t kSize = 16 * 1024;
  given("/f", std::string(2 * kSize, 'a'));
  auto file = open_cached("/f");
  EXPECT_EQ(read_text(*file, 0, kSize), std::string(kSize, 'a'));
  faults().hang_if(only(Operation::read));
  std::string first(kSize, '?'), second(kSize, '?');
  std::jthread reader([&] {
    const std::array buffers{std::as_writable_bytes(std::span(first)),
                             std::as_writable_bytes(std::span(second))};
    EXPECT_EQ(file->read_at(0, buffers).value_or(0), 2 * kSize);
  });
  ASSERT_TRUE(faults().wait_for_hanging(1, deadline()));
  faults().hang_if({});
  ASSERT_TRUE(write_text(*open_cached("/f", kReadWrite), 0, std::string(2 * kSize, 'b')));
  faults().recover();
  reader.join();
  EXPECT_EQ(first + second, std::string(2 * kSize, 'b'));
}

TEST_F(ReadRace, AReadSeesAnExtendingWriteWithItsSize) {
  const std::string before(1000, 'a'), after(2000, 'b');
  given("/f", before);
  cached("/f");
  std::atomic<bool> done{false};
  std::atomic<int> mixed{0};
  std::jthread reader([&] {
    auto file = open_cached("/f");
    while (!done) {
      const std::string read = read_text(*file, 0, 4000);
      // Between the truncation and the write it is short.
      if (read != before && read != after && read != after.substr(0, 0)) ++mixed;
    }
  });
  auto writer = open_cached("/f", kReadWrite);
  for (int i = 0; i < test::scaled(5000); ++i) {
    ASSERT_TRUE(write_text(*writer, 0, after));
    ASSERT_TRUE(writer->set_attributes({.size = 0}, Caller{}));
    ASSERT_TRUE(write_text(*writer, 0, before));
  }
  done = true;
  reader.join();
  EXPECT_EQ(mixed, 0);
}

TEST_F(ReadRace, DifferentUnitsOfOneBlockAreFetchedAtTheSameTime) {
  given("/f", std::string(16 * 1024, 'a'));
  auto file = open_cached("/f");
  faults().hang_if(only(Operation::read));
  std::jthread first([&] { EXPECT_EQ(read_text(*file, 0, 1), "a"); });
  std::jthread second([&] { EXPECT_EQ(read_text(*file, 4096, 1), "a"); });
  EXPECT_TRUE(faults().wait_for_hanging(2, deadline()));
  faults().recover();
  first.join();
  second.join();
  requests().reset();
  EXPECT_EQ(read_text(*file, 0, 8192), std::string(8192, 'a'));
  EXPECT_EQ(requests().reads(), 0U) << "both were kept, in one block";
  EXPECT_EQ(cache().stats().entries, 1U);
}

TEST_F(ReadRace, OverlappingReadsFetchEachUnitOnce) {
  given("/f", std::string(16 * 1024, 'a'));
  auto file = open_cached("/f");
  requests().reset();
  faults().hang_if(only(Operation::read));
  std::jthread first([&] { EXPECT_EQ(read_text(*file, 0, 8192), std::string(8192, 'a')); });
  ASSERT_TRUE(faults().wait_for_hanging(1, deadline()));
  std::jthread second([&] { EXPECT_EQ(read_text(*file, 4096, 8192), std::string(8192, 'a')); });
  EXPECT_TRUE(faults().wait_for_hanging(2, deadline()));
  faults().recover();
  first.join();
  second.join();
  EXPECT_EQ(requests().read_bytes(), 12288U);
}

TEST_F(ReadRace, AnErrorThatOnlyConcernsTheLeaderStaysWithHim) {
  given("/f", std::string(40'000, 'a'));
  {
    EXPECT_EQ(read_text(*open_cached("/f"), 0, 1), "a");
  }
  auto one = open_cached("/f");  // from the cache: the source's file is opened at the first miss
  cache().reset_stats();
  std::binary_semaphore go(0);
  std::atomic<int> opens{0};
  faults().fail_if(
      [&](Operation operation) {
        if (operation != Operation::open || opens++ != 0) return false;
        go.acquire();
        return true;
      },
      std::errc::too_many_files_open);
  std::atomic<int> failed{0};
  std::vector<std::jthread> readers;
  for (int i = 0; i < 2; ++i) {
    readers.emplace_back([&] { failed += read_text(*one, 30'000, 1) == "a" ? 0 : 1; });
  }
  const auto until = deadline();
  while ((cache().stats().misses < 2 || !test::all_other_threads_sleep()) &&
         std::chrono::steady_clock::now() < until) {
    std::this_thread::yield();
  }
  go.release();
  readers.clear();
  EXPECT_EQ(failed, 1);
}

class TtlReadRace : public ReadRace {
 protected:
  TtlReadRace() : ReadRace(test::for_ttl(std::chrono::seconds(60))) {}
};

TEST_F(TtlReadRace, AHandleMadeDuringARemovalReadsWhatWasNeverCached) {
  given("/f", std::string(40'000, 'a'));
  {
    EXPECT_EQ(read_text(*open_cached("/f"), 0, 1), "a");
  }
  faults().hang_if(only(Operation::remove));
  std::jthread remover([&] { EXPECT_TRUE(remove(cache(), "/f")); });
  ASSERT_TRUE(faults().wait_for_hanging(1, deadline()));
  auto file = open_cached("/f");
  faults().recover();
  remover.join();
  faults().fail_if(only(Operation::open),
                   std::errc::no_such_file_or_directory);  // as many sources answer then
  EXPECT_EQ(read_text(*file, 30'000, 1), "a");
}

}  // namespace
}  // namespace cachefs
