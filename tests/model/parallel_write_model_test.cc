// Writers of one file beside each other: of bytes of their own, and of bytes that several write; readers;
// changes elsewhere; writes whose answer is lost. What a cell shows was written to it as a whole, is not
// older than what was there before the read began, and whenever all is at rest the cache has what the source
// has.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <functional>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "cachefs/cache_fs.h"
#include "cachefs/decorators.h"
#include "cachefs/mem_fs.h"
#include "cachefs/path_operations.h"
#include "support/scale.h"

namespace cachefs {
namespace {

constexpr size_t kWriters = 4;
constexpr size_t kReaders = 2;
constexpr size_t kUnit = 4096;

struct Cell {
  size_t offset = 0;
  size_t size = 0;
  size_t owner = 0;  ///< who alone writes it; kWriters: all do
};

/// Eight units that all write, parts of units that each has to himself, and whole units likewise.
std::vector<Cell> make_cells() {
  std::vector<Cell> cells;
  size_t offset = 0;
  const auto add = [&](size_t size, size_t owner) {
    cells.push_back({offset, size, owner});
    offset += size;
  };
  for (int i = 0; i < 8; ++i) add(kUnit, kWriters);
  for (size_t i = 0; i < 16; ++i) add(kUnit / 4, i % kWriters);
  for (size_t i = 0; i < 12; ++i) add(kUnit, i % kWriters);
  return cells;
}
constexpr size_t kShared = 8;
constexpr size_t kCells = 36;

/// Lets other threads go on amid a request, and loses the answer of some writes.
class Disturbance final : public OperationHook {
 public:
  Result<void> before(Operation operation, uint64_t /*bytes*/) override {
    pause();
    if (operation == Operation::write && landed) {
      landed();
      return fail(std::errc::io_error);
    }
    return {};
  }
  void after(Operation /*operation*/, uint64_t /*bytes*/, bool /*ok*/) override { pause(); }
  static thread_local std::function<void()> landed;  ///< does what the caller is told has failed

 private:
  void pause() {
    for (uint32_t i = pauses_.fetch_add(1, std::memory_order_relaxed) * 7 % 5; i > 0; --i)
      std::this_thread::yield();
  }
  std::atomic<uint32_t> pauses_{0};
};
thread_local std::function<void()> Disturbance::landed;

/// Many may write through the cache; then, alone, somebody changes the file elsewhere or compares.
class Rest {
 public:
  void begin_write() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !wanted_; });
    ++writing_;
  }
  void end_write() {
    const std::lock_guard lock(mutex_);
    if (--writing_ == 0) changed_.notify_all();
  }
  void begin() {
    std::unique_lock lock(mutex_);
    wanted_ = true;
    changed_.wait(lock, [&] { return writing_ == 0; });
  }
  void end() {
    const std::lock_guard lock(mutex_);
    wanted_ = false;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool wanted_ = false;
  int writing_ = 0;
};

class ParallelWriteModel : public ::testing::TestWithParam<uint64_t> {
 protected:
  void SetUp() override {
    memory_ = make_mem_fs();
    source_ = make_hooked_fs(*memory_, disturbance_);
    CacheOptions options;
    options.max_bytes = GetParam();
    options.block_size = 16 * kKiB;
    options.coherence.attribute_ttl = {};
    cache_ = std::move(*CacheFs::create(*source_, options));
    ASSERT_EQ(cells_.size(), kCells);
    ASSERT_TRUE(write_file(*memory_, "/f", std::string(cells_.back().offset + cells_.back().size, '\0')));
  }

  static std::vector<uint64_t> stamped(size_t bytes, uint64_t version) {
    return std::vector<uint64_t>(bytes / sizeof(uint64_t), version);
  }

  void write_cells(File& file, size_t first, size_t count, bool lose, bool through_cache) {
    const uint64_t version = next_version_++;
    const size_t offset = cells_[first].offset;
    const auto data =
        stamped(cells_[first + count - 1].offset + cells_[first + count - 1].size - offset, version);
    const auto bytes = std::as_bytes(std::span(data));
    if (lose) {
      Disturbance::landed = [&] {
        ASSERT_TRUE(open(*memory_, "/f", {.read = false, .write = true}).value()->write_at(offset, bytes));
      };
    }
    const auto written = file.write_at(offset, bytes);
    Disturbance::landed = nullptr;
    ASSERT_EQ(written.has_value(), !lose);
    for (size_t cell = first; cell < first + count; ++cell) {
      if (cells_[cell].owner == kWriters) continue;
      if (through_cache && !lose) acknowledged_[cell] = version;
      on_source_[cell] = version;
    }
  }

  void write_some(std::mt19937_64& rng, size_t self) {
    const auto file = open(*cache_, "/f", {.read = false, .write = true}).value();
    for (int i = 0; i < 8; ++i) {
      const bool shared = rng() % 2 == 0;
      size_t first = shared ? rng() % (kShared / 2) : kShared + rng() % (kCells - kShared);
      while (!shared && cells_[first].owner != self) first = kShared + rng() % (kCells - kShared);
      const size_t count = shared ? 1 + rng() % (kShared / 2) : 1;
      rest_.begin_write();
      write_cells(*file, first, count, rng() % 64 == 0, true);
      rest_.end_write();
    }
  }

  void read_some(std::mt19937_64& rng) {
    std::array<uint64_t, kCells> least{};
    for (size_t cell = 0; cell < kCells; ++cell) least[cell] = on_source_[cell];
    const auto file = open(*cache_, "/f").value();
    for (int again = 0; again < 3; ++again) {
      for (size_t cell = 0; cell < kCells; ++cell)
        least[cell] = std::max<uint64_t>(least[cell], acknowledged_[cell]);
      const size_t first = rng() % kCells;
      const size_t last = first + rng() % (kCells - first);
      const size_t offset = cells_[first].offset;
      std::vector<std::byte> data(cells_[last].offset + cells_[last].size - offset);
      const auto read = file->read_at(offset, std::span(data));
      ASSERT_TRUE(read && *read == data.size());
      for (size_t cell = first; cell <= last; ++cell)
        check(cell, std::span(data).subspan(cells_[cell].offset - offset, cells_[cell].size), least[cell]);
    }
  }

  void check(size_t cell, std::span<const std::byte> bytes, uint64_t& least) {
    std::vector<uint64_t> words(bytes.size() / sizeof(uint64_t));
    std::memcpy(words.data(), bytes.data(), bytes.size());
    for (const uint64_t word : words) ASSERT_EQ(word, words[0]) << "cell " << cell << " of two writes";
    if (cells_[cell].owner == kWriters) return;
    ASSERT_GE(words[0], least) << "cell " << cell << " is older than what was there before";
    least = words[0];
  }

  /// While nobody writes: compares, or changes the file elsewhere.
  void at_rest(std::mt19937_64& rng) {
    rest_.begin();
    if (rng() % 2 == 0) {
      const auto here = read_file(*cache_, "/f");
      const auto there = read_file(*memory_, "/f");
      EXPECT_TRUE(here && there && *here == *there) << "the cache has other bytes than the source";
    } else {
      const auto file = open(*memory_, "/f", {.read = false, .write = true}).value();
      write_cells(*file, rng() % kCells, 1, false, false);
    }
    rest_.end();
  }

  const std::vector<Cell> cells_ = make_cells();
  Disturbance disturbance_;
  std::unique_ptr<FileSystem> memory_, source_;
  std::unique_ptr<CacheFs> cache_;
  Rest rest_;
  std::atomic<uint64_t> next_version_{1};
  std::array<std::atomic<uint64_t>, kCells> acknowledged_{};  // by writes through the cache
  std::array<std::atomic<uint64_t>, kCells> on_source_{};     // by any write
};

TEST_P(ParallelWriteModel, WhatIsCachedIsWhatTheSourceHas) {
  const uint64_t seed = test::seed();
  const int rounds = test::scaled(4'000);
  std::vector<std::jthread> threads;
  for (size_t t = 0; t < kWriters + kReaders + 1; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 rng(seed * 100 + t);
      for (int i = 0; i < rounds && !HasFailure(); ++i) {
        if (t < kWriters) {
          write_some(rng, t);
        } else if (t < kWriters + kReaders) {
          read_some(rng);
        } else {
          at_rest(rng);
        }
      }
    });
  }
  threads.clear();
  std::mt19937_64 rng(seed);
  for (int i = 0; i < 4; ++i) at_rest(rng);
  cache_->check_invariants();
}

INSTANTIATE_TEST_SUITE_P(Limits, ParallelWriteModel, ::testing::Values(100 * kKiB, 8 * kMiB));

}  // namespace
}  // namespace cachefs
