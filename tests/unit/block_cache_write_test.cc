// Writes of our own, carried over to the blocks that they touch; and random operations against plain strings.
#include <map>
#include <random>

#include "support/scale.h"
#include "unit/block_cache_fixture.h"

namespace cachefs {
namespace {

using test::kBlock;
using test::key;
using test::kFile;

class BlockCacheWriteTest : public test::BlockCacheTest {
 protected:
  void SetUp() override {
    make({.block_size = kBlock, .shard_count = 1, .policy = *find_eviction_policy("lru")});
  }
};

TEST_F(BlockCacheWriteTest, AValidUnitIsChangedInPlace) {
  ASSERT_TRUE(fill(key(0), 'a'));
  const std::byte* before = cache().find(key(0), {0, kBlock}).data().data();
  write({.offset = 10, .data = "BB", .old_size = kBlock, .new_size = kBlock});
  EXPECT_EQ(read(key(0), {9, 13}), "aBBa");
  EXPECT_EQ(cache().find(key(0), {0, kBlock}).data().data(), before);
}

TEST_F(BlockCacheWriteTest, AReaderKeepsTheBytesThatItPinned) {
  ASSERT_TRUE(fill(key(0), 'a'));
  const BlockPin pin = cache().find(key(0), {0, kBlock});
  write({.offset = 10, .data = "BB", .old_size = kBlock, .new_size = kBlock});
  EXPECT_EQ(text(pin, {9, 13}), "aaaa");
  EXPECT_EQ(read(key(0), {9, 13}), "aBBa");
  EXPECT_EQ(read(key(0), {kBlock - 2, kBlock}), "aa");
}

TEST_F(BlockCacheWriteTest, PartOfAnUnknownUnitIsNotCached) {
  write({.offset = 10, .data = "BB", .old_size = kBlock, .new_size = kBlock});
  EXPECT_FALSE(has(key(0), {10, 12}));
}

TEST_F(BlockCacheWriteTest, WholeUnitsAreCachedWithoutAFetch) {
  write({.offset = 4096, .data = std::string(8192, 'w'), .old_size = kBlock, .new_size = kBlock});
  EXPECT_EQ(read(key(0), {4096, 4098}), "ww");
  EXPECT_TRUE(has(key(0), {4096, 12288}));
  EXPECT_FALSE(has(key(0), {4095, 4097}));
}

TEST_F(BlockCacheWriteTest, ANewFilesBytesAreCachedUpToItsEnd) {
  write({.offset = 0, .data = "hello", .old_size = 0, .new_size = 5});
  EXPECT_EQ(read(key(0), {0, 5}), "hello");
}

TEST_F(BlockCacheWriteTest, AnAppendGoesOnInTheCachedUnit) {
  write({.offset = 0, .data = "hello", .old_size = 0, .new_size = 5});
  write({.offset = 5, .data = " you", .old_size = 5, .new_size = 9});
  EXPECT_EQ(read(key(0), {0, 9}), "hello you");
}

TEST_F(BlockCacheWriteTest, TheGapBehindTheOldEndReadsAsZerosOrNotAtAll) {
  ASSERT_TRUE(fill(key(0), {0, 100}, 100, 'a'));
  write({.offset = 5000, .data = "B", .old_size = 100, .new_size = 5001});
  const std::string gap = read(key(0), {100, 5001});
  EXPECT_TRUE(gap == "absent" || gap == std::string(4900, '\0') + "B");
}

TEST_F(BlockCacheWriteTest, BytesOfAnUnknownOldSizeAreOnlyCachedWhereTheyCoverTheUnit) {
  write({.offset = 0, .data = std::string(5000, 'w'), .old_size = UINT64_MAX, .new_size = 9000});
  EXPECT_EQ(read(key(0), {0, 2}), "ww");
  EXPECT_FALSE(has(key(0), {4096, 5000}));
}

TEST_F(BlockCacheWriteTest, AWriteDuringAFillIsNotLost) {
  BlockFill fill = cache().begin_fill(key(0), {0, kBlock}, kBlock);
  std::memset(fill.pin.data().data(), 'o', kBlock);
  write({.offset = 0, .data = std::string(kBlock, 'n'), .old_size = kBlock, .new_size = kBlock});
  cache().finish_fill(fill, fill.missing);
  EXPECT_EQ(read(key(0), {0, 2}), "nn");
}

TEST_F(BlockCacheWriteTest, WithoutRoomTheOldBytesGoRatherThanStay) {
  ASSERT_TRUE(fill(key(0), {0, 4096}, 4096, 'a'));
  std::vector<BlockPin> pins;
  for (uint64_t i = 1; fill(key(i), 'x'); ++i) pins.push_back(cache().find(key(i), {0, kBlock}));
  const BlockPin pin = cache().find(key(0), {0, 4096});
  write({.offset = 0, .data = std::string(4096, 'b'), .old_size = 4096, .new_size = 4096});
  EXPECT_NE(read(key(0), {0, 2}), "aa");
}

/// A file as plain bytes, and what of it was cached once.
class RandomWorkload : public BlockCacheWriteTest {
 protected:
  static constexpr uint64_t kSizeMax = 6 * kBlock;

  void change_size(uint64_t size) {
    cache().apply_resize(kFile, generation_, content_.size(), size);
    content_.resize(size);
  }
  void overwrite(uint64_t offset, std::string data) {
    const uint64_t old_size = content_.size();
    content_.resize(std::max<uint64_t>(old_size, offset + data.size()));
    content_.replace(offset, data.size(), data);
    write({.offset = offset, .data = std::move(data), .old_size = old_size, .new_size = content_.size()},
          generation_);
  }
  void replace_content() {
    std::ranges::fill(content_, static_cast<char>('a' + ++generation_ % 26));
    cache().drop(kFile, generation_);
  }
  /// Fills the missing units of a block from the content.
  void fetch(uint64_t index, ByteRange wanted) {
    const auto end = static_cast<uint32_t>(std::min<uint64_t>(content_.size() - index * kBlock, kBlock));
    BlockFill fill = cache().begin_fill(key(index, generation_), wanted, end);
    if (!fill.pin) return;
    for (const ByteRange& range : fill.missing) {
      std::memcpy(fill.pin.data().data() + range.begin, content_.data() + index * kBlock + range.begin,
                  range.size());
      const size_t rest = std::min<size_t>(range.end_unit() * kUnit, fill.pin.data().size()) - range.end;
      std::memset(fill.pin.data().data() + range.end, 0, rest);
    }
    cache().finish_fill(fill, fill.missing);
  }
  ByteRange random_range(uint64_t index) {
    const uint64_t end = std::min<uint64_t>(content_.size() - index * kBlock, kBlock);
    const auto begin = static_cast<uint32_t>(random_() % end);
    return {begin, begin + 1 + static_cast<uint32_t>(random_() % (end - begin))};
  }
  void step(std::vector<BlockPin>& pins) {
    const uint64_t index = content_.empty() ? 0 : random_() % content_.size() / kBlock;
    switch (random_() % 10) {
      case 0:
        return change_size(random_() % kSizeMax);
      case 1:
      case 2:
        return overwrite(random_() % kSizeMax,
                         std::string(1 + random_() % kBlock, static_cast<char>('A' + random_() % 26)));
      case 3:
        return random_() % 8 == 0 ? replace_content() : void();
      case 4:
        return static_cast<void>(cache().evict_one());
      case 5:
        return random_() % 4 == 0 ? pins.clear() : void();
      case 6:
        if (!content_.empty()) fetch(index, random_range(index));
        return;
      default:
        break;
    }
    if (content_.empty()) return;
    const ByteRange range = random_range(index);
    BlockPin pin = cache().find(key(index, generation_), range);
    if (!pin) return;
    ++found_;
    ASSERT_EQ(text(pin, range), content_.substr(index * kBlock + range.begin, range.size()));
    if (random_() % 4 == 0) pins.push_back(std::move(pin));
  }

  std::mt19937_64 random_{test::seed()};
  std::string content_;
  uint64_t generation_ = 1;
  uint64_t found_ = 0;
};

TEST_F(RandomWorkload, WhatIsFoundIsWhatTheFileHolds) {
  std::vector<BlockPin> pins;
  for (int i = 0; i < 20'000 && !HasFatalFailure(); ++i) step(pins);
  EXPECT_GT(found_, 200U) << "the test saw hits";
}

class BlockCacheWriteRace : public test::BlockCacheTest {};

/// A reader whose view is of before an append of ours, and one of after it, fill one block.
TEST_F(BlockCacheWriteRace, ALateFillerOfASmallerFileDoesNotCutWhatIsKnownOfTheLargerOne) {
  make({.block_size = test::kBlock, .shard_count = 1, .policy = find_eviction_policy("lru").value()});
  const BlockKey at = test::key(0);
  write({.offset = 8192, .data = std::string(4096, 'w'), .old_size = 8200, .new_size = 12288});
  BlockFill newer = cache().begin_fill(at, {0, 4096}, 12288);  // unit 0 is being filled
  BlockFill late = cache().begin_fill(at, {0, 100}, 8200);     // its view: the file has 8200 bytes
  cache().abandon_fill(late);
  late.pin.reset();
  cache().abandon_fill(newer);
  newer.pin.reset();
  // A reader of now: a block large enough is made again.
  BlockFill now = cache().begin_fill(at, {4096, 8192}, 12288);
  cache().abandon_fill(now);
  now.pin.reset();
  const std::string unit = read(at, {8192, 12288});
  EXPECT_TRUE(unit == "absent" || unit == std::string(4096, 'w')) << "bytes at 10240: " << int{unit[2048]};
}

TEST_F(BlockCacheWriteRace, ALateFillerOfATinyFileDoesNotCrash) {
  make({.block_size = test::kBlock, .shard_count = 1, .policy = find_eviction_policy("lru").value()});
  const BlockKey at = test::key(0);
  write({.offset = 12288, .data = std::string(4096, 'w'), .old_size = 100, .new_size = test::kBlock});
  BlockFill newer = cache().begin_fill(at, {0, 4096}, test::kBlock);
  BlockFill late = cache().begin_fill(at, {0, 100}, 100);
  cache().abandon_fill(late);
  late.pin.reset();
  cache().abandon_fill(newer);
  newer.pin.reset();
}

}  // namespace
}  // namespace cachefs
