// The blocks of all files in memory, under one hard limit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "base/budget.h"
#include "base/slab_pool.h"
#include "cache/block.h"
#include "cache/shard.h"
#include "cachefs/eviction_policy.h"

namespace cachefs {

class BlockCache;

/// A block held in memory: while it lives, the buffer is neither recycled nor are its valid bytes changed.
/// Movable.
class BlockPin {
 public:
  BlockPin() = default;
  BlockPin(BlockPin&& other) noexcept
      : cache_(std::exchange(other.cache_, nullptr)), shard_(other.shard_), slot_(other.slot_) {}
  BlockPin& operator=(BlockPin&& other) noexcept {
    if (this != &other) {
      reset();
      cache_ = std::exchange(other.cache_, nullptr);
      shard_ = other.shard_;
      slot_ = other.slot_;
    }
    return *this;
  }
  ~BlockPin() { reset(); }

  explicit operator bool() const { return cache_ != nullptr; }
  /// The block's bytes, from the start of the block to the end of its buffer.
  [[nodiscard]] std::span<std::byte> data() const;
  void reset();

 private:
  friend class BlockCache;
  BlockPin(BlockCache& cache, Shard& shard, Slot& slot) : cache_(&cache), shard_(&shard), slot_(&slot) {}

  BlockCache* cache_ = nullptr;
  Shard* shard_ = nullptr;
  Slot* slot_ = nullptr;
};

struct BlockCacheOptions {
  uint32_t block_size = 128 * 1024;
  uint32_t shard_count = 32;  ///< a maximum: a shard has room for at least 64 blocks
  uint64_t max_entries = UINT64_MAX;
  const EvictionPolicyInfo* policy = nullptr;
  ShardClock time{};
};

/// A block to be filled: which of the wanted units are missing, and the pin through which they are written.
struct BlockFill {
  BlockPin pin;  ///< empty: no room, read past the cache
  /// Whole units within the wanted range, the last one cut at the end of file. Nobody else fills them.
  std::vector<ByteRange> missing;
  bool kept = false;  ///< after finish_fill(): what was filled could be found
};

/// A change of a file's bytes by us, to be carried over to its cached blocks.
struct OwnWrite {
  FileId file{};
  uint64_t generation = 0;
  uint64_t offset = 0;
  std::span<const std::byte> data;
  uint64_t old_size =
      0;  ///< of the file before the write; UINT64_MAX: not known, and nothing of it is cached
  uint64_t new_size = 0;  ///< after it
  Lifetime lifetime{};
};

/// Thread-safe. Locks: one shard's at a time, then those of the pool. Whether a generation is the newest of
/// its file is the caller's business, who bumps it before drop().
class BlockCache {
 public:
  /// `budget` counts everything and is the limit. `make_room` frees something else than blocks; false if it
  /// cannot.
  BlockCache(Budget& budget, SlabPool& pool, const BlockCacheOptions& options,
             std::function<bool()> make_room);
  ~BlockCache();

  [[nodiscard]] uint32_t block_size() const { return layout_.block_size; }
  [[nodiscard]] uint32_t shard_count() const { return static_cast<uint32_t>(shards_.size()); }

  /// The block, if all of `wanted` is valid; counts as a hit for the policy.
  BlockPin find(const BlockKey& key, ByteRange wanted);

  /// Finds or makes the block and says what of `wanted` is missing. `content_end`: bytes of this block before
  /// the file's end. The buffer is made large enough for them. Of a block, several may fill units at a time,
  /// each others; who wants units that somebody else is filling gets a block of its own.
  BlockFill begin_fill(const BlockKey& key, ByteRange wanted, uint32_t content_end,
                       const Lifetime& lifetime = {});
  /// Makes `filled` (some of what was missing) valid, unless the block was dropped meanwhile. Bytes of the
  /// last unit behind content_end must be zero.
  void finish_fill(BlockFill& fill, std::span<const ByteRange> filled);
  /// Ends a fill that brought nothing.
  void abandon_fill(BlockFill& fill) { finish_fill(fill, {}); }

  /// Carries the bytes of a write over to the blocks it touches. Serialised per file by the caller.
  void apply_write(const OwnWrite& write);
  /// Forgets all that a change of size touches: blocks from the smaller of the sizes on.
  void apply_resize(FileId file, uint64_t generation, uint64_t old_size, uint64_t new_size);

  /// Removes all blocks of `file` with a generation below that. Returns their number.
  size_t drop(FileId file, uint64_t below_generation);
  void clear();

  /// Drops all blocks whose time is over (none of them is served in any case). Returns their number.
  size_t expire();

  /// Evicts one block; false if nothing can be evicted.
  bool evict_one();

  [[nodiscard]] uint64_t entries() const;
  [[nodiscard]] uint64_t evictions() const { return evictions_.load(std::memory_order_relaxed); }
  /// Blocks that were dropped since their time was over.
  [[nodiscard]] uint64_t expirations() const { return expirations_.load(std::memory_order_relaxed); }
  void check_invariants() const;

 private:
  friend class BlockPin;

  Shard& shard_of(const BlockKey& key) const;
  /// The range of the write within that block.
  [[nodiscard]] ByteRange range_in_block(const OwnWrite& write, uint64_t block_index) const;
  /// Under the shard's lock.
  BlockPin pin(Shard& shard, Slot& slot);
  void unpin(Shard& shard, Slot& slot);
  SlabBuffer allocate(uint32_t data_bytes);
  /// Under the shard's lock: what of `wanted` is not valid is the caller's to fill from now on.
  std::vector<ByteRange> claim_missing(Slot& slot, ByteRange wanted, uint32_t content_end);
  /// Whether somebody else is filling some of it.
  bool is_being_filled(Slot& slot, ByteRange wanted) const;
  bool make_room();
  /// Inserts a block that takes over the valid units of the block that it replaces, if there is one. Null: no
  /// room.
  Slot* replace(Shard& shard, Slot* old, const BlockKey& key, SlabBuffer buffer, const Lifetime& lifetime,
                ReleasedBuffers& released);
  /// Under the shard's lock: the block, if its time is not over. Drops it, and some others, if it is.
  Slot* find_unexpired(Shard& shard, const BlockKey& key, ReleasedBuffers& released);
  /// Under the shard's lock.
  size_t expire(Shard& shard, size_t most, ReleasedBuffers& released);
  void remove(Shard& shard, Slot& slot, Shard::Reason reason, ReleasedBuffers& released);
  void write_block(const OwnWrite& write, uint64_t block_index);
  void copy_into(Slot& slot, const OwnWrite& write, uint64_t block_index);
  void drop_from(FileId file, uint64_t generation, uint64_t first_block);
  void free_all(const ReleasedBuffers& released);

  SlabPool& pool_;
  Budget entries_;
  BlockLayout layout_;
  std::vector<std::unique_ptr<Shard>> shards_;
  std::function<bool()> make_other_room_;
  std::atomic<uint64_t> evictions_{0};
  std::atomic<uint64_t> expirations_{0};
};

}  // namespace cachefs
