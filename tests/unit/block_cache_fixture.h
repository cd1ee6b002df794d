// A block cache with all that it needs, and short ways to fill and read it.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "cache/block_cache.h"

namespace cachefs::test {

inline constexpr uint32_t kBlock = 16 * 1024;
inline constexpr FileId kFile{7};

inline BlockKey key(uint64_t index, uint64_t generation = 1, FileId file = kFile) {
  return {file, generation, index};
}

class BlockCacheTest : public ::testing::Test {
 protected:
  void TearDown() override {
    if (cache_ == nullptr) return;
    cache_->check_invariants();
    pool_.check_invariants();
    cache_->clear();
    EXPECT_EQ(cache_->entries(), 0U);
    EXPECT_EQ(budget_.used(), 0U) << "clear() gives everything back";
  }

  BlockCache& cache() { return *cache_; }
  void make(const BlockCacheOptions& options) {
    cache_ = std::make_unique<BlockCache>(budget_, pool_, options, [] { return false; });
  }

  /// Fills what is missing of `wanted` with `value`; false if there was no room.
  bool fill(const BlockKey& at, ByteRange wanted, uint32_t content_end, char value) {
    BlockFill fill = cache_->begin_fill(at, wanted, content_end);
    if (!fill.pin) return false;
    for (const ByteRange& range : fill.missing) {
      const auto data = fill.pin.data().subspan(range.begin);
      std::memset(data.data(), value, range.size());
      const uint32_t unit_end =
          std::min<uint32_t>(range.end_unit() * kUnit - range.begin, static_cast<uint32_t>(data.size()));
      std::memset(data.data() + range.size(), 0, unit_end - range.size());
    }
    cache_->finish_fill(fill, fill.missing);
    return true;
  }
  bool fill(const BlockKey& at, char value) { return fill(at, {0, kBlock}, kBlock, value); }

  /// The bytes of that range, or "absent".
  std::string read(const BlockKey& at, ByteRange wanted) {
    const BlockPin pin = cache_->find(at, wanted);
    return pin ? text(pin, wanted) : "absent";
  }
  bool has(const BlockKey& at, ByteRange wanted = {0, kBlock}) {
    return static_cast<bool>(cache_->find(at, wanted));
  }
  static std::string text(const BlockPin& pin, ByteRange range) {
    const auto bytes = pin.data().subspan(range.begin, range.size());
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  struct Write {
    uint64_t offset;
    std::string data;
    uint64_t old_size;
    uint64_t new_size;
  };
  void write(const Write& write, uint64_t generation = 1) {
    cache_->apply_write({.file = kFile,
                         .generation = generation,
                         .offset = write.offset,
                         .data = std::as_bytes(std::span(write.data)),
                         .old_size = write.old_size,
                         .new_size = write.new_size});
  }

  Budget budget_{64UL << 20};
  SlabPool pool_{budget_, 0};
  std::unique_ptr<BlockCache> cache_;
};

}  // namespace cachefs::test
