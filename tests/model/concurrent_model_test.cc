// Many readers and writers on shared files: what a read returns was written, is not older than what was
// acknowledged before it began, and never goes back.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cctype>
#include <mutex>
#include <ostream>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "cachefs/cache_fs.h"
#include "cachefs/eviction_policy.h"
#include "cachefs/mem_fs.h"
#include "cachefs/path_operations.h"
#include "support/scale.h"

namespace cachefs {
namespace {

constexpr size_t kUnitSize = 4096;
constexpr size_t kUnits = 24;  // six of the smallest blocks
constexpr size_t kFiles = 3;

/// A unit full of one stamp: file and version in each eight bytes.
std::vector<uint64_t> stamped(uint64_t file, uint64_t version) {
  return std::vector<uint64_t>(kUnitSize / sizeof(uint64_t), file << 48 | version);
}

struct SharedFile {
  std::string path;
  std::mutex writing;  // one writer at a time, through the cache or not: between two of them the source shows
                       // a version
  uint64_t next_version = 1;
  std::array<std::atomic<uint64_t>, kUnits> acknowledged{};  // by writes through the cache
  std::array<std::atomic<uint64_t>, kUnits> on_source{};     // by any write
};

struct Case {
  std::string name;
  uint64_t max_bytes = 18 * kKiB;
  std::string policy = "lru";
  int operations = 15'000;  ///< of each thread
  bool evicts = false;      ///< all the time
};

// NOLINTNEXTLINE(readability-identifier-naming): the name is GoogleTest's
void PrintTo(const Case& which, std::ostream* out) { *out << which.name; }

class ConcurrentModel : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    source_ = make_mem_fs();
    CacheOptions options;
    options.max_bytes = GetParam().max_bytes;
    options.policy = GetParam().policy;
    options.block_size = 16 * kKiB;
    options.coherence.attribute_ttl = {};
    cache_ = std::move(*CacheFs::create(*source_, options));
    for (size_t i = 0; i < kFiles; ++i) {
      files_[i].path = "/f" + std::to_string(i);
      std::string zero;
      for (size_t unit = 0; unit < kUnits; ++unit) {
        const auto stamp = stamped(i, 0);
        zero.append(reinterpret_cast<const char*>(stamp.data()), kUnitSize);
      }
      ASSERT_TRUE(write_file(*source_, files_[i].path, zero));
    }
  }

  void write_some(std::mt19937_64& rng, bool through_cache) {
    const size_t index = rng() % kFiles;
    SharedFile& file = files_[index];
    FileSystem& side = through_cache ? static_cast<FileSystem&>(*cache_) : *source_;
    auto opened = open(side, file.path, {.read = false, .write = true});
    ASSERT_TRUE(opened) << opened.error().message();
    const std::lock_guard lock(file.writing);
    const size_t first = rng() % kUnits;
    const size_t count = 1 + rng() % std::min<size_t>(6, kUnits - first);
    const uint64_t version = file.next_version++;
    std::vector<uint64_t> data;
    for (size_t i = 0; i < count; ++i) {
      const auto stamp = stamped(index, version);
      data.insert(data.end(), stamp.begin(), stamp.end());
    }
    ASSERT_TRUE((*opened)->write_at(first * kUnitSize, std::as_bytes(std::span(data))));
    for (size_t unit = first; unit < first + count; ++unit) {
      if (through_cache) file.acknowledged[unit] = version;
      file.on_source[unit] = version;
    }
  }

  /// Opens after noting what was acknowledged by anybody: close-to-open shows all of it.
  void read_some(std::mt19937_64& rng) {
    const size_t index = rng() % kFiles;
    SharedFile& file = files_[index];
    const size_t first = rng() % kUnits;
    const size_t count = 1 + rng() % (kUnits - first);
    std::array<uint64_t, kUnits> least{};
    for (size_t unit = 0; unit < kUnits; ++unit) least[unit] = file.on_source[unit];
    auto opened = open(*cache_, file.path);
    ASSERT_TRUE(opened) << opened.error().message();
    for (int again = 0; again < 3; ++again) {
      for (size_t unit = 0; unit < kUnits; ++unit)
        least[unit] = std::max<uint64_t>(least[unit], file.acknowledged[unit]);
      std::vector<uint64_t> data(count * kUnitSize / sizeof(uint64_t));
      const auto read = (*opened)->read_at(first * kUnitSize, std::as_writable_bytes(std::span(data)));
      ASSERT_TRUE(read) << read.error().message();
      ASSERT_EQ(*read, count * kUnitSize);
      check(index, first, data, least);
    }
  }

  static void check(size_t index, size_t first, const std::vector<uint64_t>& data,
                    std::array<uint64_t, kUnits>& least) {
    constexpr size_t kWords = kUnitSize / sizeof(uint64_t);
    for (size_t i = 0; i < data.size(); ++i) {
      ASSERT_EQ(data[i] >> 48, index) << "another file's bytes";
      const uint64_t version = data[i] & ((uint64_t{1} << 48) - 1);
      const size_t unit = first + i / kWords;
      ASSERT_GE(version, least[unit]) << "unit " << unit << " is older than what was acknowledged before";
      if (i % kWords == kWords - 1) least[unit] = version;
    }
  }

  std::unique_ptr<FileSystem> source_;
  std::unique_ptr<CacheFs> cache_;
  std::array<SharedFile, kFiles> files_;
};

TEST_P(ConcurrentModel, ReadsAreNeverOlderThanAcknowledgedWrites) {
  const uint64_t seed = test::seed();
  std::atomic<bool> over_limit{false};
  std::atomic<int> working{6};
  std::vector<std::thread> threads;
  for (int t = 0; t < 6; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 rng(seed * 100 + static_cast<uint64_t>(t));
      for (int i = 0; i < test::scaled(GetParam().operations) && !HasFatalFailure(); ++i) {
        if (t < 2) {
          write_some(rng, rng() % 3 != 0);
        } else if (rng() % 500 == 0) {
          cache_->invalidate(files_[rng() % kFiles].path);
        } else {
          read_some(rng);
        }
      }
      --working;
    });
  }
  while (working > 0) {
    const CacheStats stats = cache_->stats();
    if (stats.bytes_used > stats.bytes_limit) over_limit = true;
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(over_limit);
  if (GetParam().evicts) {
    EXPECT_GT(cache_->stats().evictions, 0U);
  }
  cache_->check_invariants();
}

std::string name_of(const testing::TestParamInfo<Case>& info) { return info.param.name; }

INSTANTIATE_TEST_SUITE_P(Limits, ConcurrentModel,
                         ::testing::Values(Case{.name = "NoRoom", .max_bytes = kKiB},
                                           Case{.name = "OneBlock", .max_bytes = 18 * kKiB},
                                           Case{.name = "FewBlocks", .max_bytes = 100 * kKiB},
                                           Case{.name = "AllFits", .max_bytes = 8 * kMiB}),
                         name_of);

/// With room for a third of the blocks, so that all the time somebody leaves.
std::vector<Case> every_policy() {
  std::vector<Case> cases;
  for (const EvictionPolicyInfo& policy : eviction_policies()) {
    std::string name(policy.name);
    std::erase_if(name, [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0; });
    cases.push_back({.name = name,
                     .max_bytes = 150 * kKiB,
                     .policy = std::string(policy.name),
                     .operations = 1500,
                     .evicts = true});
  }
  return cases;
}
INSTANTIATE_TEST_SUITE_P(Policy, ConcurrentModel, ::testing::ValuesIn(every_policy()), name_of);

}  // namespace
}  // namespace cachefs
