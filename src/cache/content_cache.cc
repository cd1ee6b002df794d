#include "cache/content_cache.h"

#include "base/check.h"

namespace cachefs {
namespace {

constexpr uint64_t kAllocator = 16;
constexpr size_t kInlineText = 15;

uint64_t text_cost(const std::string& text) {
  return text.size() > kInlineText ? text.size() + 1 + kAllocator : 0;
}

}  // namespace

ContentCache::ContentCache(Budget& budget, uint64_t max_entries, std::function<bool(uint64_t)> make_room)
    : budget_(budget), entries_(max_entries), make_room_(std::move(make_room)) {}

ContentCache::~ContentCache() { clear(); }

uint64_t ContentCache::cost(const DirectoryEntry& entry) {
  return sizeof(DirectoryEntry) + text_cost(entry.name);
}

ContentRef ContentCache::find(FileId file, uint64_t generation) {
  Shard& shard = shard_of(file);
  MutexLock lock(shard.mutex);
  const auto at = shard.files.find(file);
  if (at == shard.files.end() || at->second->content->generation != generation) return nullptr;
  shard.recency.splice(shard.recency.begin(), shard.recency, at->second);
  return at->second->content;
}

bool ContentCache::put(FileId file, const std::shared_ptr<Content>& content) {
  if (!reserve_entry()) return false;
  if (!reserve_memory(*content)) {
    entries_.release(1);
    return false;
  }
  Recency dropped;  // destroyed after the lock
  Shard& shard = shard_of(file);
  MutexLock lock(shard.mutex);
  const auto at = shard.files.find(file);
  if (at != shard.files.end()) remove(shard, at->second, dropped);
  shard.recency.push_front({.file = file, .content = content});
  shard.files.emplace(file, shard.recency.begin());
  return true;
}

bool ContentCache::reserve_entry() {
  while (!entries_.try_reserve(1)) {
    if (!evict_one()) return false;
  }
  return true;
}

/// An upper bound of what the allocator hands out: the content with its reference count, what it holds, and
/// its places in the tables.
bool ContentCache::reserve_memory(Content& content) {
  constexpr uint64_t kContent = sizeof(Content) + 2 * sizeof(void*) + kAllocator;
  constexpr uint64_t kListNode = sizeof(Held) + 2 * sizeof(void*) + kAllocator;
  constexpr uint64_t kHashNode = sizeof(FileId) + 4 * sizeof(void*) + kAllocator;
  uint64_t bytes = kContent + kListNode + kHashNode + text_cost(content.target) + kAllocator;
  for (const DirectoryEntry& entry : content.entries) bytes += cost(entry);
  for (;;) {
    content.memory = Reservation::of(budget_, bytes);
    if (content.memory) return true;
    if (bytes > budget_.limit() || !make_room_(bytes)) return false;
  }
}

void ContentCache::remove(Shard& shard, Recency::iterator held, Recency& dropped) NO_THREAD_SAFETY_ANALYSIS {
  shard.files.erase(held->file);
  dropped.splice(dropped.begin(), shard.recency, held);
  entries_.release(1);
}

bool ContentCache::erase(FileId file, uint64_t below_generation) {
  Recency dropped;
  Shard& shard = shard_of(file);
  MutexLock lock(shard.mutex);
  const auto at = shard.files.find(file);
  if (at == shard.files.end() || at->second->content->generation >= below_generation) return false;
  remove(shard, at->second, dropped);
  return true;
}

bool ContentCache::evict_one() {
  static thread_local size_t next = 0;  // takes turns, so that no shard is emptied for the others
  Recency dropped;
  for (size_t i = 0; i < shards_.size(); ++i) {
    Shard& shard = shards_[next++ % shards_.size()];
    MutexLock lock(shard.mutex);
    if (shard.recency.empty()) continue;
    remove(shard, std::prev(shard.recency.end()), dropped);
    return true;
  }
  return false;
}

void ContentCache::clear() {
  for (Shard& shard : shards_) {
    Recency dropped;
    MutexLock lock(shard.mutex);
    while (!shard.recency.empty()) remove(shard, shard.recency.begin(), dropped);
    shard.files = {};
  }
}

void ContentCache::check_invariants() {
  uint64_t count = 0;
  for (Shard& shard : shards_) {
    MutexLock lock(shard.mutex);
    CACHEFS_CHECK(shard.files.size() == shard.recency.size(), "L1: each content is in the order of use");
    for (const Held& held : shard.recency) {
      CACHEFS_CHECK(static_cast<bool>(held.content->memory), "L2: each content's memory is reserved");
    }
    count += shard.recency.size();
  }
  CACHEFS_CHECK(count == entries_.used(), "L3: every content is counted");
}

}  // namespace cachefs
