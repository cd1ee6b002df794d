// One part of the block cache: a table of slots under a lock, and the policy that orders them.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/budget.h"
#include "base/mutex.h"
#include "cache/block.h"
#include "cachefs/clock.h"
#include "cachefs/coherence.h"
#include "cachefs/eviction_policy.h"
#include "policy/expiry_queues.h"

namespace cachefs {

/// How blocks are divided, and where what is known of their units is kept.
struct BlockLayout {
  uint32_t block_size = 128 * 1024;

  [[nodiscard]] uint32_t units() const { return block_size / kUnit; }
  /// Words of one bitmap that do not fit into the slot; 0 where it does.
  [[nodiscard]] uint32_t more_words() const { return units() <= 64 ? 0 : units() / 64; }
  [[nodiscard]] uint32_t more_words_of_slot() const { return kBitmaps * more_words(); }
  /// Bytes of file content that the slot's buffer has room for.
  [[nodiscard]] uint32_t data_capacity(const Slot& slot) const {
    return std::min(static_cast<uint32_t>(SlabPool::capacity(slot.buffer)), block_size);
  }
  [[nodiscard]] UnitBits valid(Slot& slot) const { return bits(slot, slot.valid, 0); }
  [[nodiscard]] UnitBits dirty(Slot& slot) const { return bits(slot, slot.dirty, 1); }
  [[nodiscard]] UnitBits filling(Slot& slot) const { return bits(slot, slot.filling, 2); }

 private:
  static constexpr uint32_t kBitmaps = 3;
  [[nodiscard]] UnitBits bits(Slot& slot, uint64_t& inline_word, size_t which) const {
    const size_t count = more_words();
    return count == 0 ? UnitBits({&inline_word, 1}) : UnitBits({slot.more_bits + which * count, count});
  }
};

/// For how long a block is good once it has been put in.
struct Lifetime {
  static constexpr std::chrono::nanoseconds kForever = std::chrono::nanoseconds::max();
  uint8_t queue = 0;  ///< of ExpiryQueues; those of one queue have the same ttl
  std::chrono::nanoseconds ttl = kForever;
};

struct ShardClock {
  const Clock* clock = &Clock::system();
  TtlStart ttl_start = TtlStart::insert;
};

/// Buffers that left the table under the lock, to be freed after it.
using ReleasedBuffers = std::vector<SlabBuffer>;

/// Slots are named by index and never move; tables grow by reserving first. All methods but the constructor
/// and weight() need the lock; none does I/O, frees large memory or touches another shard.
class Shard {
 public:
  Shard(Budget& budget, const BlockLayout& layout, std::unique_ptr<EvictionPolicy> policy,
        const ShardClock& time = {});
  ~Shard();
  Shard(const Shard&) = delete;
  Shard& operator=(const Shard&) = delete;

  Mutex mutex;

  /// The slot of that block, or null.
  Slot* find(const BlockKey& key) REQUIRES(mutex);
  void note_hit(const Slot& slot) REQUIRES(mutex);

  /// A block that is not here is going to be put in, once there is room for it.
  void note_miss(const BlockKey& key) REQUIRES(mutex);

  /// Puts `buffer` in as a new block, nothing valid. Null if a table would have to grow and the budget has no
  /// room; then `buffer` is still the caller's.
  Slot* insert(const BlockKey& key, SlabBuffer buffer, const Lifetime& lifetime = {}) REQUIRES(mutex);
  /// Whether the block's time is over: it must not be served, and is to be detached.
  [[nodiscard]] bool is_expired(const Slot& slot) const REQUIRES(mutex);
  /// When the block expires, so that another one may do so in its stead: nothing if never.
  [[nodiscard]] std::optional<ExpiryQueues::Place> expiry_place(const Slot& slot) const REQUIRES(mutex);
  /// The block, just inserted, expires there. No other has been inserted or detached since expiry_place().
  void take_place(const Slot& slot, const ExpiryQueues::Place& place) REQUIRES(mutex);
  /// Detaches up to `most` blocks whose time is over. Returns how many.
  size_t expire(size_t most, ReleasedBuffers& released) REQUIRES(mutex);
  enum class Reason : uint8_t { removed, evicted };
  /// Takes the block out of the table. Its buffer goes to `released`, or is freed by the last pin.
  void detach(Slot& slot, Reason reason, ReleasedBuffers& released) REQUIRES(mutex);
  /// Frees a detached slot whose last pin is gone.
  void recycle(Slot& slot, ReleasedBuffers& released) REQUIRES(mutex);

  /// The next block to evict, or null.
  Slot* victim() REQUIRES(mutex);

  /// Calls `visit(Slot&)` for each block of `file`; it may detach the slot that it is given.
  template <typename Visit>
  void for_each_of(FileId file, Visit visit) REQUIRES(mutex) {
    if (file_buckets_.empty()) return;
    for (uint32_t i = file_buckets_[hash_of(file) & bucket_mask()]; i != Slot::kNone;) {
      Slot& slot = at(i);
      i = slot.file_next;
      if (slot.key.file == file) visit(slot);
    }
  }
  template <typename Visit>
  void for_each(Visit visit) REQUIRES(mutex) {
    for (uint32_t i = 0; i < capacity(); ++i) {
      if (at(i).in_use && (at(i).pins.load(std::memory_order_relaxed) & Slot::kDetached) == 0) visit(at(i));
    }
  }

  /// Gives the tables back if no slot is in use.
  void release_tables_if_empty() REQUIRES(mutex);

  /// Bytes of the buffers in the table, for choosing a shard to evict from. Any thread, no lock.
  [[nodiscard]] uint64_t weight() const { return weight_.load(std::memory_order_relaxed); }
  [[nodiscard]] uint32_t entries() const { return entries_.load(std::memory_order_relaxed); }

  void check_invariants() REQUIRES(mutex);

 private:
  static constexpr uint32_t kChunk = 64;  ///< slots that are allocated at once
  static constexpr uint32_t kHitBatch = 64;

  [[nodiscard]] uint32_t capacity() const REQUIRES(mutex) {
    return static_cast<uint32_t>(chunks_.size()) * kChunk;
  }
  [[nodiscard]] uint64_t bucket_mask() const REQUIRES(mutex) { return buckets_.size() - 1; }
  Slot& at(uint32_t index) REQUIRES(mutex) { return chunks_[index / kChunk][index % kChunk]; }
  [[nodiscard]] uint64_t table_bytes(uint32_t slots) const;
  bool grow() REQUIRES(mutex);
  void rebuild_buckets(uint32_t count) REQUIRES(mutex);
  void link(Slot& slot) REQUIRES(mutex);
  void unlink(Slot& slot) REQUIRES(mutex);
  void flush_hits() REQUIRES(mutex);
  void put_on_free_list(Slot& slot) REQUIRES(mutex);
  void add_chunk() REQUIRES(mutex);

  void set_expiry(const Slot& slot, std::chrono::nanoseconds ttl, uint8_t queue) REQUIRES(mutex);

  Budget& budget_;
  const ShardClock time_;
  const BlockLayout& layout_;
  const std::unique_ptr<EvictionPolicy> policy_ PT_GUARDED_BY(mutex);
  std::vector<std::unique_ptr<Slot[]>> chunks_ GUARDED_BY(mutex);
  std::vector<std::unique_ptr<uint64_t[]>> more_bits_ GUARDED_BY(mutex);  ///< of each chunk, if there are any
  std::vector<uint32_t> buckets_ GUARDED_BY(mutex);
  std::vector<uint32_t> file_buckets_ GUARDED_BY(mutex);
  std::vector<SlotIndex> hits_ GUARDED_BY(mutex);
  ExpiryQueues expiry_ GUARDED_BY(mutex);
  std::array<std::chrono::nanoseconds, ExpiryQueues::kCount> ttls_ GUARDED_BY(mutex){};  ///< of its queues
  uint32_t free_ GUARDED_BY(mutex) = Slot::kNone;
  uint32_t in_use_ GUARDED_BY(mutex) = 0;  ///< detached ones with a pin included
  uint64_t reserved_ GUARDED_BY(mutex) = 0;
  std::atomic<uint64_t> weight_{0};
  std::atomic<uint32_t> entries_{0};
};

}  // namespace cachefs
