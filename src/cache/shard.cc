#include "cache/shard.h"

#include <bit>

#include "base/check.h"

namespace cachefs {
namespace {

bool is_detached(const Slot& slot) {
  return (slot.pins.load(std::memory_order_acquire) & Slot::kDetached) != 0;
}

}  // namespace

Shard::Shard(Budget& budget, const BlockLayout& layout, std::unique_ptr<EvictionPolicy> policy,
             const ShardClock& time)
    : budget_(budget), time_(time), layout_(layout), policy_(std::move(policy)) {}

Shard::~Shard() { budget_.release(reserved_); }

Slot* Shard::find(const BlockKey& key) {
  if (buckets_.empty()) return nullptr;
  for (uint32_t i = buckets_[hash_of(key) & bucket_mask()]; i != Slot::kNone; i = at(i).hash_next) {
    if (at(i).key == key) return &at(i);
  }
  return nullptr;
}

void Shard::note_hit(const Slot& slot) {
  hits_.push_back(SlotIndex{slot.index});
  if (time_.ttl_start == TtlStart::last_use && expiry_.contains(SlotIndex{slot.index})) {
    const uint8_t queue = expiry_.expiry_of(SlotIndex{slot.index}).queue;
    set_expiry(slot, ttls_[queue], queue);
  }
  if (hits_.size() >= kHitBatch) flush_hits();
}

void Shard::note_miss(const BlockKey& key) {
  flush_hits();
  policy_->on_miss(hash_of(key));
}

/// Before any slot changes hands: a hit must not count for the next block in the same slot.
void Shard::flush_hits() {
  if (hits_.empty()) return;
  policy_->on_hits(hits_);
  hits_.clear();
}

void Shard::set_expiry(const Slot& slot, std::chrono::nanoseconds ttl, uint8_t queue) {
  const SlotIndex index{slot.index};
  const MonotonicTime now = time_.clock->now();
  // A time that no clock reaches.
  const MonotonicTime at = ttl < MonotonicTime::max() - now ? now + ttl : MonotonicTime::max();
  ttls_[queue] = ttl;
  expiry_.remove(index);
  expiry_.insert(index, {.queue = queue, .at = at});
  policy_->on_expiry(index, {.queue = queue, .at = at});
}

bool Shard::is_expired(const Slot& slot) const {
  const SlotIndex index{slot.index};
  return expiry_.size() != 0 && expiry_.contains(index) && expiry_.expiry_of(index).at <= time_.clock->now();
}

std::optional<ExpiryQueues::Place> Shard::expiry_place(const Slot& slot) const {
  const SlotIndex index{slot.index};
  return expiry_.contains(index) ? std::optional(expiry_.place_of(index)) : std::nullopt;
}

void Shard::take_place(const Slot& slot, const ExpiryQueues::Place& place) {
  const SlotIndex index{slot.index};
  expiry_.remove(index);
  expiry_.insert(index, place);
  policy_->on_expiry(index, place.expiry);
}

size_t Shard::expire(size_t most, ReleasedBuffers& released) {
  size_t count = 0;
  for (; count < most; ++count) {
    const std::optional<SlotIndex> first = expiry_.first();
    if (!first || !is_expired(at(static_cast<uint32_t>(*first)))) break;
    detach(at(static_cast<uint32_t>(*first)), Reason::removed, released);
  }
  return count;
}

Slot* Shard::insert(const BlockKey& key, SlabBuffer buffer, const Lifetime& lifetime) {
  if (free_ == Slot::kNone && !grow()) return nullptr;
  flush_hits();
  Slot& slot = at(free_);
  free_ = slot.hash_next;
  slot.key = key;
  slot.buffer = buffer;
  slot.pins.store(0, std::memory_order_relaxed);
  slot.in_use = true;
  slot.fillers = 0;
  layout_.valid(slot).clear_all();
  layout_.dirty(slot).clear_all();
  layout_.filling(slot).clear_all();
  link(slot);
  ++in_use_;
  const auto weight = static_cast<uint32_t>(SlabPool::capacity(buffer));
  weight_.fetch_add(weight, std::memory_order_relaxed);
  entries_.fetch_add(1, std::memory_order_relaxed);
  policy_->on_insert(SlotIndex{slot.index}, hash_of(key), weight);
  if (lifetime.ttl != Lifetime::kForever) set_expiry(slot, lifetime.ttl, lifetime.queue);
  return &slot;
}

void Shard::detach(Slot& slot, Reason reason, ReleasedBuffers& released) {
  flush_hits();
  if (reason == Reason::evicted) {
    policy_->on_evict(SlotIndex{slot.index});
  } else {
    policy_->on_remove(SlotIndex{slot.index});
  }
  expiry_.remove(SlotIndex{slot.index});
  unlink(slot);
  weight_.fetch_sub(SlabPool::capacity(slot.buffer), std::memory_order_relaxed);
  entries_.fetch_sub(1, std::memory_order_relaxed);
  if (slot.pins.fetch_or(Slot::kDetached, std::memory_order_acq_rel) == 0) recycle(slot, released);
}

void Shard::recycle(Slot& slot, ReleasedBuffers& released) {
  released.push_back(std::exchange(slot.buffer, {}));
  put_on_free_list(slot);
  --in_use_;
}

void Shard::put_on_free_list(Slot& slot) {
  slot.in_use = false;
  slot.hash_next = free_;
  free_ = slot.index;
}

Slot* Shard::victim() {
  flush_hits();
  const auto chosen = policy_->victim([this](SlotIndex index) NO_THREAD_SAFETY_ANALYSIS {
    Slot& slot = at(static_cast<uint32_t>(index));
    return slot.pins.load(std::memory_order_acquire) == 0 && layout_.dirty(slot).none();
  });
  return chosen ? &at(static_cast<uint32_t>(*chosen)) : nullptr;
}

void Shard::link(Slot& slot) {
  uint32_t& bucket = buckets_[hash_of(slot.key) & bucket_mask()];
  slot.hash_next = std::exchange(bucket, slot.index);
  uint32_t& file_bucket = file_buckets_[hash_of(slot.key.file) & bucket_mask()];
  slot.file_previous = Slot::kNone;
  slot.file_next = std::exchange(file_bucket, slot.index);
  if (slot.file_next != Slot::kNone) at(slot.file_next).file_previous = slot.index;
}

void Shard::unlink(Slot& slot) {
  uint32_t* next = &buckets_[hash_of(slot.key) & bucket_mask()];
  while (*next != slot.index) next = &at(*next).hash_next;
  *next = slot.hash_next;
  if (slot.file_previous == Slot::kNone) {
    file_buckets_[hash_of(slot.key.file) & bucket_mask()] = slot.file_next;
  } else {
    at(slot.file_previous).file_next = slot.file_next;
  }
  if (slot.file_next != Slot::kNone) at(slot.file_next).file_previous = slot.file_previous;
}

/// Bytes of all tables for that many slots: slots, bitmaps, both arrays of buckets, chunk pointers, batched
/// hits, the nodes of the policy and of the queues of expiry.
uint64_t Shard::table_bytes(uint32_t slots) const NO_THREAD_SAFETY_ANALYSIS {
  if (slots == 0) return 0;
  return uint64_t{slots} * (sizeof(Slot) + layout_.more_words_of_slot() * sizeof(uint64_t)) +
         std::bit_ceil(slots) * 2 * sizeof(uint32_t) + slots / kChunk * 2 * sizeof(std::unique_ptr<Slot[]>) +
         kHitBatch * sizeof(SlotIndex) + policy_->bytes_for(slots) + ExpiryQueues::bytes_for(slots);
}

bool Shard::grow() {
  constexpr uint32_t kLargestStep = 4096;
  const uint32_t step = std::clamp(capacity() / 4 / kChunk * kChunk, kChunk, kLargestStep);
  const uint32_t target = capacity() + step;
  // While tables are copied, old and new ones exist side by side: both are reserved.
  const uint64_t bytes = table_bytes(target);
  if (!budget_.try_reserve(bytes)) return false;
  chunks_.reserve(target / kChunk);
  more_bits_.reserve(target / kChunk);
  hits_.reserve(kHitBatch);
  policy_->resize(target);
  expiry_.resize(target);
  const uint32_t old_capacity = capacity();
  while (capacity() < target) add_chunk();
  for (uint32_t i = target; i-- > old_capacity;) {
    at(i).index = i;
    put_on_free_list(at(i));
  }
  if (std::bit_ceil(target) != buckets_.size()) rebuild_buckets(std::bit_ceil(target));
  budget_.release(std::exchange(reserved_, bytes));
  return true;
}

void Shard::add_chunk() {
  chunks_.push_back(std::make_unique<Slot[]>(kChunk));
  const size_t words = layout_.more_words_of_slot();
  if (words == 0) return;
  more_bits_.push_back(std::make_unique<uint64_t[]>(kChunk * words));
  for (size_t i = 0; i < kChunk; ++i) chunks_.back()[i].more_bits = &more_bits_.back()[i * words];
}

void Shard::rebuild_buckets(uint32_t count) {
  std::vector<uint32_t>(count, Slot::kNone).swap(buckets_);
  std::vector<uint32_t>(count, Slot::kNone).swap(file_buckets_);
  for (uint32_t i = 0; i < capacity(); ++i) {
    if (at(i).in_use && !is_detached(at(i))) link(at(i));
  }
}

void Shard::release_tables_if_empty() {
  if (in_use_ != 0) return;
  flush_hits();
  // By swap: assigning {} would keep the memory.
  std::vector<std::unique_ptr<Slot[]>>().swap(chunks_);
  std::vector<std::unique_ptr<uint64_t[]>>().swap(more_bits_);
  std::vector<uint32_t>().swap(buckets_);
  std::vector<uint32_t>().swap(file_buckets_);
  std::vector<SlotIndex>().swap(hits_);
  policy_->resize(0);
  expiry_.resize(0);
  free_ = Slot::kNone;
  budget_.release(std::exchange(reserved_, 0));
}

void Shard::check_invariants() {
  uint64_t weight = 0;
  uint32_t entries = 0;
  for_each([&](Slot& slot) NO_THREAD_SAFETY_ANALYSIS {
    CACHEFS_CHECK(find(slot.key) == &slot, "B1: a block in use is found by its key, once");
    CACHEFS_CHECK(slot.buffer.data != nullptr, "B2: a block in use has a buffer");
    CACHEFS_CHECK(slot.fillers != 0 || layout_.filling(slot).none(),
                  "B7: a unit is being filled only while there is a filler");
    weight += SlabPool::capacity(slot.buffer);
    ++entries;
  });
  CACHEFS_CHECK(weight == weight_.load(), "B3: weight is the sum of the buffers");
  CACHEFS_CHECK(entries == entries_.load(), "B4: entries counts the blocks");
  uint32_t free_slots = 0;
  for (uint32_t i = free_; i != Slot::kNone; i = at(i).hash_next) ++free_slots;
  CACHEFS_CHECK(free_slots + in_use_ == capacity(), "B5: a slot is free or in use");
  policy_->check_invariants();
  expiry_.check_invariants(ExpiryQueues::Order::by_expiry);
}

}  // namespace cachefs
