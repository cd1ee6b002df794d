#include "simulate/simulation.h"

#include <algorithm>
#include <set>
#include <utility>

namespace cachefs::simulate {
namespace {

constexpr uint64_t kTell = 1 << 16;

uint32_t weight_of(const Access& access, Unit unit) { return unit == Unit::objects ? 1 : access.size; }

/// Counts one access, and tells of the progress. False: stop.
class Counter {
 public:
  explicit Counter(const Progress& progress) : progress_(progress) {}
  [[nodiscard]] bool count(const Access& access, bool hit) {
    ++misses_.requests;
    misses_.bytes += access.size;
    if (!hit) {
      ++misses_.misses;
      misses_.missed_bytes += access.size;
    }
    return misses_.requests % kTell != 0 || progress_(kTell);
  }
  Misses end() {
    progress_(misses_.requests % kTell);
    return misses_;
  }

 private:
  const Progress& progress_;
  Misses misses_;
};

/// Objects in slots, as a shard has blocks.
class Cache {
 public:
  Cache(uint32_t objects, const CacheSize& size, EvictionPolicy& policy)
      : capacity_(size.capacity), policy_(policy), slots_(objects, kNoSlot) {}

  [[nodiscard]] bool has(uint32_t object) const { return slots_[object] != kNoSlot; }
  void hit(uint32_t object, uint32_t weight) {
    const SlotIndex slot = slots_[object];
    policy_.on_hits({&slot, 1});
    if (weight <= capacity_) return change_weight(object, weight);
    policy_.on_remove(slot);  // it has grown too large to be kept
    free(slot);
  }
  void miss(uint32_t object, uint64_t key_hash, uint32_t weight) {
    if (weight > capacity_) return;
    policy_.on_miss(key_hash);
    while (used_ + weight > capacity_) evict();
    const SlotIndex slot = free_slot();
    contents_[static_cast<uint32_t>(slot)] = {.object = object, .weight = weight};
    slots_[object] = slot;
    used_ += weight;
    policy_.on_insert(slot, key_hash, weight);
  }

 private:
  struct Content {
    uint32_t object = 0;
    uint32_t weight = 0;
  };

  void change_weight(uint32_t object, uint32_t weight) {
    const SlotIndex slot = slots_[object];
    Content& content = contents_[static_cast<uint32_t>(slot)];
    if (content.weight == weight) return;
    used_ = used_ - content.weight + weight;
    content.weight = weight;
    policy_.on_weight_change(slot, weight);
    while (used_ > capacity_) evict();
  }
  void evict() {
    const std::optional<SlotIndex> slot = policy_.victim([](SlotIndex) { return true; });
    policy_.on_evict(*slot);
    free(*slot);
  }
  void free(SlotIndex slot) {
    const Content& content = contents_[static_cast<uint32_t>(slot)];
    used_ -= content.weight;
    slots_[content.object] = kNoSlot;
    free_.push_back(slot);
  }
  SlotIndex free_slot() {
    if (free_.empty()) grow();
    const SlotIndex slot = free_.back();
    free_.pop_back();
    return slot;
  }
  void grow() {
    constexpr uint32_t kLeast = 64;
    const auto old_count = static_cast<uint32_t>(contents_.size());
    const auto most = static_cast<uint32_t>(std::min<uint64_t>(capacity_, slots_.size()));
    const uint32_t count = std::max(old_count + 1, std::min(std::max(kLeast, old_count * 2), most));
    contents_.resize(count);
    policy_.resize(count);
    for (uint32_t i = count; i-- > old_count;) free_.push_back(SlotIndex{i});
  }

  const uint64_t capacity_;
  EvictionPolicy& policy_;
  std::vector<SlotIndex> slots_;  ///< of the objects
  std::vector<Content> contents_;
  std::vector<SlotIndex> free_;
  uint64_t used_ = 0;
};

/// For each access when its object is wanted next; the number of accesses: never.
std::vector<uint32_t> next_accesses(const Trace& trace) {
  const auto never = static_cast<uint32_t>(trace.accesses.size());
  std::vector<uint32_t> next(trace.accesses.size());
  std::vector<uint32_t> later(trace.objects(), never);
  for (size_t i = trace.accesses.size(); i-- > 0;)
    next[i] = std::exchange(later[trace.accesses[i].object], static_cast<uint32_t>(i));
  return next;
}

}  // namespace

Misses simulate(const Trace& trace, const CacheSize& size, EvictionPolicy& policy, const Progress& progress) {
  Cache cache(trace.objects(), size, policy);
  Counter counter(progress);
  for (const Access& access : trace.accesses) {
    const uint32_t weight = weight_of(access, size.unit);
    const bool hit = cache.has(access.object);
    if (hit) {
      cache.hit(access.object, weight);
    } else {
      cache.miss(access.object, trace.key_hashes[access.object], weight);
    }
    if (!counter.count(access, hit)) break;
  }
  return counter.end();
}

Misses simulate_belady(const Trace& trace, const CacheSize& size, const Progress& progress) {
  const std::vector<uint32_t> next = next_accesses(trace);
  constexpr uint32_t kNotHere = UINT32_MAX;
  struct Held {
    uint32_t next = kNotHere;
    uint32_t weight = 0;
  };
  std::vector<Held> held(trace.objects());
  std::set<std::pair<uint32_t, uint32_t>> by_next;  // with the object
  uint64_t used = 0;
  const auto leave = [&](uint32_t object) {
    Held& entry = held[object];
    by_next.erase({entry.next, object});
    used -= entry.weight;
    entry = {};
  };
  Counter counter(progress);
  for (size_t i = 0; i < trace.accesses.size(); ++i) {
    const Access& access = trace.accesses[i];
    const bool hit = held[access.object].next != kNotHere;
    if (hit) leave(access.object);
    const uint32_t weight = weight_of(access, size.unit);
    if (weight <= size.capacity) {
      while (used + weight > size.capacity) leave(by_next.rbegin()->second);
      held[access.object] = {.next = next[i], .weight = weight};
      by_next.emplace(next[i], access.object);
      used += weight;
    }
    if (!counter.count(access, hit)) break;
  }
  return counter.end();
}

}  // namespace cachefs::simulate
