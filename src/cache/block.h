// What a cached block is: its key, its units, the slot that holds it.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/hash.h"
#include "base/slab_pool.h"

namespace cachefs {

/// A file, for as long as the process lives; never used again for another one.
enum class FileId : uint64_t {};
inline constexpr FileId kNoFile{0};

/// A block of one content of one file. A changed file gets a new generation, so that old and new bytes cannot
/// mix.
struct BlockKey {
  FileId file{};
  uint64_t generation = 0;
  uint64_t index = 0;  ///< offset in the file / block size

  friend bool operator==(const BlockKey&, const BlockKey&) = default;
};

inline uint64_t hash_of(FileId file) { return mix64(static_cast<uint64_t>(file)); }
inline uint64_t hash_of(const BlockKey& key) {
  return combine_hashes(combine_hashes(static_cast<uint64_t>(key.file), key.generation), key.index);
}

/// Validity and dirtiness are kept per unit.
inline constexpr uint32_t kUnit = 4096;

/// A half-open range of bytes within a block.
struct ByteRange {
  uint32_t begin = 0;
  uint32_t end = 0;

  [[nodiscard]] bool empty() const { return begin >= end; }
  [[nodiscard]] uint32_t size() const { return end - begin; }
  [[nodiscard]] uint32_t first_unit() const { return begin / kUnit; }
  [[nodiscard]] uint32_t end_unit() const { return (end + kUnit - 1) / kUnit; }
};

/// A view of a bitmap with a bit for each unit.
class UnitBits {
 public:
  explicit UnitBits(std::span<uint64_t> words) : words_(words) {}

  [[nodiscard]] bool test(uint32_t unit) const { return (words_[unit / 64] >> (unit % 64) & 1) != 0; }
  [[nodiscard]] bool all(uint32_t first, uint32_t end) const {
    for (uint32_t unit = first; unit < end; ++unit) {
      if (!test(unit)) return false;
    }
    return true;
  }
  [[nodiscard]] bool none() const {
    return std::all_of(words_.begin(), words_.end(), [](uint64_t word) { return word == 0; });
  }
  void set(uint32_t first, uint32_t end) {
    for (uint32_t unit = first; unit < end; ++unit) words_[unit / 64] |= uint64_t{1} << (unit % 64);
  }
  void clear_all() { std::fill(words_.begin(), words_.end(), 0); }
  void clear(uint32_t first, uint32_t end) {
    for (uint32_t unit = first; unit < end; ++unit) words_[unit / 64] &= ~(uint64_t{1} << (unit % 64));
  }

 private:
  std::span<uint64_t> words_;
};

/// An entry of a shard's table. All fields but `pins` belong to the shard's lock; the buffer's bytes of valid
/// units may be read under a pin, those of a unit in `filling` written by the one filler that has it.
struct Slot {
  static constexpr uint32_t kDetached = 1U << 31;  ///< in pins: out of the table, freed by the last pin
  static constexpr uint32_t kNone = UINT32_MAX;

  BlockKey key;
  SlabBuffer buffer;
  std::atomic<uint32_t> pins{0};
  uint32_t hash_next = kNone;      ///< in a bucket, or in the list of free slots
  uint32_t file_previous = kNone;  ///< in the list of a bucket of files
  uint32_t file_next = kNone;
  uint64_t valid = 0;  ///< bitmaps of units, unless a block has more than 64: then in more_bits
  uint64_t dirty = 0;
  uint64_t filling = 0;           ///< units that a pin of the block writes
  uint64_t* more_bits = nullptr;  ///< the three, one after the other; of the shard
  uint32_t index = 0;             ///< of this slot in its shard
  uint32_t fillers = 0;           ///< pins that write units
  bool in_use = false;
};

}  // namespace cachefs
