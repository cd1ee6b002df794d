#include "cache/block_cache.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/check.h"

namespace cachefs {
namespace {

/// Neighbouring blocks share a shard, so that a small file touches one shard and a large one spreads over
/// all.
constexpr uint64_t kBlocksPerGroup = 16;

/// Blocks whose time is over that go whenever one comes: more than one, so that they become fewer, and not so
/// many that others wait.
constexpr size_t kExpiredAtOnce = 4;

/// As many shards as asked for, if each has room for 64 blocks.
uint32_t choose_shard_count(const Budget& budget, const BlockCacheOptions& options) {
  constexpr uint64_t kBlocksPerShard = 64;
  const uint64_t room = std::max<uint64_t>(1, budget.limit() / (kBlocksPerShard * options.block_size));
  return static_cast<uint32_t>(std::bit_floor(std::min<uint64_t>(room, options.shard_count)));
}

}  // namespace

std::span<std::byte> BlockPin::data() const {
  return {slot_->buffer.data, cache_->layout_.data_capacity(*slot_)};
}

void BlockPin::reset() {
  if (cache_ != nullptr) std::exchange(cache_, nullptr)->unpin(*shard_, *slot_);
}

BlockCache::BlockCache(Budget& budget, SlabPool& pool, const BlockCacheOptions& options,
                       std::function<bool()> make_room)
    : pool_(pool),
      entries_(options.max_entries),
      layout_{.block_size = options.block_size},
      make_other_room_(std::move(make_room)) {
  const uint32_t count = choose_shard_count(budget, options);
  shards_.reserve(count);
  for (uint32_t i = 0; i < count; ++i) {
    shards_.push_back(std::make_unique<Shard>(budget, layout_, options.policy->make(), options.time));
  }
}

BlockCache::~BlockCache() { clear(); }

Shard& BlockCache::shard_of(const BlockKey& key) const {
  return *shards_[(hash_of(key.file) + key.index / kBlocksPerGroup) & (shards_.size() - 1)];
}

BlockPin BlockCache::pin(Shard& shard, Slot& slot) {
  slot.pins.fetch_add(1, std::memory_order_acq_rel);
  return {*this, shard, slot};
}

void BlockCache::unpin(Shard& shard, Slot& slot) {
  if (slot.pins.fetch_sub(1, std::memory_order_acq_rel) != (Slot::kDetached | 1)) return;
  ReleasedBuffers released;
  {
    MutexLock lock(shard.mutex);
    shard.recycle(slot, released);
  }
  free_all(released);
}

void BlockCache::free_all(const ReleasedBuffers& released) {
  for (const SlabBuffer& buffer : released) pool_.free(buffer);
}

void BlockCache::remove(Shard& shard, Slot& slot, Shard::Reason reason,
                        ReleasedBuffers& released) NO_THREAD_SAFETY_ANALYSIS {
  shard.detach(slot, reason, released);
  entries_.release(1);
}

BlockPin BlockCache::find(const BlockKey& key, ByteRange wanted) {
  Shard& shard = shard_of(key);
  MutexLock lock(shard.mutex);
  Slot* slot = shard.find(key);
  if (slot == nullptr || wanted.end > layout_.data_capacity(*slot) || shard.is_expired(*slot)) return {};
  if (!layout_.valid(*slot).all(wanted.first_unit(), wanted.end_unit())) return {};
  shard.note_hit(*slot);
  return pin(shard, *slot);
}

BlockFill BlockCache::begin_fill(const BlockKey& key, ByteRange wanted, uint32_t content_end,
                                 const Lifetime& lifetime) {
  Shard& shard = shard_of(key);
  BlockFill fill;
  SlabBuffer buffer;  // obtained outside the lock, in the second round
  ReleasedBuffers released;
  for (bool first = true; !fill.pin; first = false) {
    bool no_slot = false;
    {
      MutexLock lock(shard.mutex);
      Slot* slot = find_unexpired(shard, key, released);
      if (first && slot == nullptr) shard.note_miss(key);
      bool fits =
          slot != nullptr && layout_.data_capacity(*slot) >= content_end && !is_being_filled(*slot, wanted);
      if (!fits && buffer) {
        slot = replace(shard, slot, key, std::exchange(buffer, {}), lifetime, released);
        fits = slot != nullptr;
        no_slot = !fits;
      }
      if (fits) {
        fill.pin = pin(shard, *slot);
        fill.missing = claim_missing(*slot, wanted, content_end);
      }
    }
    free_all(std::exchange(released, {}));
    if (fill.pin) break;
    if (no_slot && !(entries_.used() < entries_.limit() ? make_room() : evict_one())) return fill;
    buffer = allocate(content_end);
    if (!buffer) return fill;
  }
  if (buffer) pool_.free(buffer);
  return fill;
}

std::vector<ByteRange> BlockCache::claim_missing(Slot& slot, ByteRange wanted, uint32_t content_end) {
  std::vector<ByteRange> missing;
  const UnitBits valid = layout_.valid(slot);
  UnitBits filling = layout_.filling(slot);
  for (uint32_t unit = wanted.first_unit(); unit < wanted.end_unit(); ++unit) {
    if (valid.test(unit)) continue;
    filling.set(unit, unit + 1);
    const ByteRange range{unit * kUnit, std::min((unit + 1) * kUnit, content_end)};
    if (!missing.empty() && missing.back().end == range.begin) {
      missing.back().end = range.end;
    } else {
      missing.push_back(range);
    }
  }
  ++slot.fillers;
  return missing;
}

bool BlockCache::is_being_filled(Slot& slot, ByteRange wanted) const {
  const UnitBits filling = layout_.filling(slot);
  for (uint32_t unit = wanted.first_unit(); unit < wanted.end_unit(); ++unit) {
    if (filling.test(unit)) return true;
  }
  return false;
}

Slot* BlockCache::replace(Shard& shard, Slot* old, const BlockKey& key, SlabBuffer buffer,
                          const Lifetime& lifetime, ReleasedBuffers& released) NO_THREAD_SAFETY_ANALYSIS {
  SlabBuffer old_buffer;
  std::vector<uint32_t> kept;
  if (old != nullptr) {
    // The old bytes stay readable until the lock is released: `released` is freed after it.
    old_buffer = old->buffer;
    // A reader whose view is of a smaller file brings a smaller buffer: a unit is taken over whole or not at
    // all.
    const auto room = std::min(static_cast<uint32_t>(SlabPool::capacity(buffer)), layout_.block_size);
    const uint32_t held = layout_.data_capacity(*old);
    for (uint32_t unit = 0; unit * kUnit < held; ++unit) {
      if (layout_.valid(*old).test(unit) && std::min((unit + 1) * kUnit, held) <= room) kept.push_back(unit);
    }
  }
  const uint32_t old_capacity = old == nullptr ? 0 : layout_.data_capacity(*old);
  // What is taken over is as old as it was.
  const auto place = kept.empty() ? std::nullopt : shard.expiry_place(*old);
  if (old != nullptr) remove(shard, *old, Shard::Reason::removed, released);
  const bool counted = entries_.try_reserve(1);
  Slot* slot = counted ? shard.insert(key, buffer, lifetime) : nullptr;
  if (slot == nullptr) {
    if (counted) entries_.release(1);
    released.push_back(buffer);
    return nullptr;
  }
  if (place) shard.take_place(*slot, *place);
  const uint32_t capacity = layout_.data_capacity(*slot);
  for (const uint32_t unit : kept) {
    const uint32_t begin = unit * kUnit;
    const uint32_t end = std::min({begin + kUnit, old_capacity, capacity});
    std::memcpy(buffer.data + begin, old_buffer.data + begin, end - begin);
    std::memset(buffer.data + end, 0, std::min(begin + kUnit, capacity) - end);
    layout_.valid(*slot).set(unit, unit + 1);
  }
  return slot;
}

void BlockCache::finish_fill(BlockFill& fill, std::span<const ByteRange> filled) {
  if (!fill.pin) return;
  Shard& shard = *fill.pin.shard_;
  Slot& slot = *fill.pin.slot_;
  ReleasedBuffers released;
  {
    MutexLock lock(shard.mutex);
    UnitBits filling = layout_.filling(slot);
    for (const ByteRange& range : fill.missing) filling.clear(range.first_unit(), range.end_unit());
    --slot.fillers;
    if ((slot.pins.load(std::memory_order_acquire) & Slot::kDetached) == 0) {
      UnitBits valid = layout_.valid(slot);
      for (const ByteRange& range : filled) valid.set(range.first_unit(), range.end_unit());
      fill.kept = filled.size() == fill.missing.size();
      if (valid.none() && slot.fillers == 0) remove(shard, slot, Shard::Reason::removed, released);
    }
  }
  free_all(released);
}

SlabBuffer BlockCache::allocate(uint32_t data_bytes) {
  for (;;) {
    if (const SlabBuffer buffer = pool_.allocate(data_bytes)) return buffer;
    if (!make_room()) return {};
  }
}

Slot* BlockCache::find_unexpired(Shard& shard, const BlockKey& key,
                                 ReleasedBuffers& released) NO_THREAD_SAFETY_ANALYSIS {
  expire(shard, kExpiredAtOnce, released);
  Slot* slot = shard.find(key);
  if (slot == nullptr || !shard.is_expired(*slot)) return slot;
  remove(shard, *slot, Shard::Reason::removed, released);
  expirations_.fetch_add(1, std::memory_order_relaxed);
  return nullptr;
}

size_t BlockCache::expire(Shard& shard, size_t most, ReleasedBuffers& released) NO_THREAD_SAFETY_ANALYSIS {
  const size_t count = shard.expire(most, released);
  if (count == 0) return 0;
  entries_.release(count);
  expirations_.fetch_add(count, std::memory_order_relaxed);
  return count;
}

size_t BlockCache::expire() {
  constexpr size_t kBatch = 64;  // others want the lock, too
  size_t count = 0;
  for (const auto& shard : shards_) {
    for (size_t dropped = kBatch; dropped == kBatch;) {
      ReleasedBuffers released;
      {
        MutexLock lock(shard->mutex);
        dropped = expire(*shard, kBatch, released);
      }
      free_all(released);
      count += dropped;
    }
  }
  return count;
}

bool BlockCache::make_room() { return evict_one() || make_other_room_(); }

bool BlockCache::evict_one() {
  // The shard furthest over its share; all shares are equal. When nothing in it may leave, the next one.
  std::vector<bool> tried(shards_.size());
  ReleasedBuffers released;
  for (size_t round = 0; round < shards_.size() && released.empty(); ++round) {
    size_t fullest = shards_.size();
    for (size_t i = 0; i < shards_.size(); ++i) {
      if (tried[i]) continue;
      if (fullest == shards_.size() || shards_[i]->weight() > shards_[fullest]->weight()) fullest = i;
    }
    tried[fullest] = true;
    Shard& shard = *shards_[fullest];
    if (shard.entries() == 0) continue;
    MutexLock lock(shard.mutex);
    expire(shard, kExpiredAtOnce, released);
    Slot* slot = released.empty() ? shard.victim() : nullptr;
    if (slot == nullptr) continue;
    remove(shard, *slot, Shard::Reason::evicted, released);
    evictions_.fetch_add(1, std::memory_order_relaxed);
  }
  if (released.empty()) return false;
  free_all(released);
  return true;
}

ByteRange BlockCache::range_in_block(const OwnWrite& write, uint64_t block_index) const {
  const uint64_t block_begin = block_index * layout_.block_size;
  const uint64_t begin = std::max(write.offset, block_begin) - block_begin;
  const uint64_t end =
      std::min(write.offset + write.data.size(), block_begin + layout_.block_size) - block_begin;
  return {static_cast<uint32_t>(begin), static_cast<uint32_t>(end)};
}

void BlockCache::apply_write(const OwnWrite& write) {
  if (write.data.empty()) return;
  // A gap behind the old end reads as zeros: the block of the old end does not know them.
  if (write.offset > write.old_size)
    drop_from(write.file, write.generation, write.old_size / layout_.block_size);
  const uint64_t last = (write.offset + write.data.size() - 1) / layout_.block_size;
  for (uint64_t i = write.offset / layout_.block_size; i <= last; ++i) write_block(write, i);
}

void BlockCache::write_block(const OwnWrite& write, uint64_t block_index) {
  const BlockKey key{write.file, write.generation, block_index};
  const ByteRange range = range_in_block(write, block_index);
  const uint64_t block_begin = block_index * layout_.block_size;
  const auto content_end =
      static_cast<uint32_t>(std::min<uint64_t>(write.new_size - block_begin, layout_.block_size));
  const bool whole_unit = range.end_unit() - range.first_unit() > 2 || range.begin % kUnit == 0 ||
                          block_begin + range.begin >= write.old_size;

  Shard& shard = shard_of(key);
  SlabBuffer buffer;
  ReleasedBuffers released;
  for (bool allocated = false;; allocated = true) {
    {
      MutexLock lock(shard.mutex);
      Slot* slot = find_unexpired(shard, key, released);
      const bool in_place = slot != nullptr && slot->pins.load(std::memory_order_acquire) == 0 &&
                            layout_.data_capacity(*slot) >= content_end;
      if (slot == nullptr && !whole_unit) break;
      if (slot == nullptr && !allocated) shard.note_miss(key);
      if (allocated && !in_place) {
        // Somebody reads or fills the block, or it is too small, or new: the bytes go into a copy of its own.
        if (buffer) {
          slot = replace(shard, slot, key, std::exchange(buffer, {}), write.lifetime, released);
        } else if (slot != nullptr) {
          remove(shard, *slot, Shard::Reason::removed, released);
          slot = nullptr;
        }
      }
      if (in_place || allocated) {
        if (slot != nullptr) copy_into(*slot, write, block_index);
        if (slot != nullptr && layout_.valid(*slot).none())
          remove(shard, *slot, Shard::Reason::removed, released);
        break;
      }
    }
    buffer = allocate(content_end);
  }
  if (buffer) released.push_back(buffer);
  free_all(released);
}

/// Under the shard's lock, nobody else reading or writing the buffer.
void BlockCache::copy_into(Slot& slot, const OwnWrite& write, uint64_t block_index) {
  const ByteRange range = range_in_block(write, block_index);
  const uint64_t block_begin = block_index * layout_.block_size;
  const uint32_t capacity = layout_.data_capacity(slot);
  std::byte* bytes = slot.buffer.data;
  UnitBits valid = layout_.valid(slot);
  for (uint32_t unit = range.first_unit(); unit < range.end_unit(); ++unit) {
    const uint32_t unit_begin = unit * kUnit;
    const uint32_t unit_end = std::min(unit_begin + kUnit, capacity);
    if (valid.test(unit)) continue;
    // Invalid before: valid now if what the write does not cover lies behind the end of the file, and so is
    // zeros. What lies before it, even behind the old end, may be somebody else's.
    const bool head_known = range.begin <= unit_begin;
    const bool tail_known = range.end >= unit_end || block_begin + range.end >= write.new_size;
    if (!head_known || !tail_known) continue;
    if (range.end < unit_end) std::memset(bytes + range.end, 0, unit_end - range.end);
    valid.set(unit, unit + 1);
  }
  const std::byte* source = write.data.data() + (block_begin + range.begin - write.offset);
  std::memcpy(bytes + range.begin, source, range.size());
}

void BlockCache::apply_resize(FileId file, uint64_t generation, uint64_t old_size, uint64_t new_size) {
  if (old_size != new_size) drop_from(file, generation, std::min(old_size, new_size) / layout_.block_size);
}

void BlockCache::drop_from(FileId file, uint64_t generation, uint64_t first_block) {
  for (const auto& shard : shards_) {
    if (shard->entries() == 0) continue;
    ReleasedBuffers released;
    {
      MutexLock lock(shard->mutex);
      shard->for_each_of(file, [&](Slot& slot) {
        if (slot.key.generation != generation || slot.key.index < first_block) return;
        remove(*shard, slot, Shard::Reason::removed, released);
      });
    }
    free_all(released);
  }
}

size_t BlockCache::drop(FileId file, uint64_t below_generation) {
  size_t count = 0;
  for (const auto& shard : shards_) {
    if (shard->entries() == 0) continue;
    ReleasedBuffers released;
    {
      MutexLock lock(shard->mutex);
      shard->for_each_of(file, [&](Slot& slot) {
        if (slot.key.generation >= below_generation) return;
        remove(*shard, slot, Shard::Reason::removed, released);
        ++count;
      });
    }
    free_all(released);
  }
  return count;
}

void BlockCache::clear() {
  for (const auto& shard : shards_) {
    ReleasedBuffers released;
    {
      MutexLock lock(shard->mutex);
      shard->for_each([&](Slot& slot) { remove(*shard, slot, Shard::Reason::removed, released); });
      shard->release_tables_if_empty();
    }
    free_all(released);
  }
  pool_.trim();
}

uint64_t BlockCache::entries() const {
  uint64_t count = 0;
  for (const auto& shard : shards_) count += shard->entries();
  return count;
}

void BlockCache::check_invariants() const {
  uint64_t entries = 0;
  for (const auto& shard : shards_) {
    MutexLock lock(shard->mutex);
    shard->check_invariants();
    entries += shard->entries();
  }
  CACHEFS_CHECK(entries == entries_.used(), "B6: every block is counted in max_entries");
}

}  // namespace cachefs
