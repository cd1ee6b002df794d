#include "cache/name_cache.h"

#include "base/check.h"

namespace cachefs {

NameCache::NameCache(Budget& budget, uint64_t max_entries, std::function<bool(uint64_t)> make_room,
                     std::function<void(FileId)> on_lost)
    : budget_(budget),
      entries_(max_entries),
      make_room_(std::move(make_room)),
      on_lost_(std::move(on_lost)) {}

NameCache::~NameCache() { clear(); }

/// Upper bound of what the allocator hands out for a name: the list node, the text, the hash node with its
/// bucket, and a share of the directory's own table, each with the allocator's 16 bytes.
uint64_t NameCache::cost(std::string_view name) {
  constexpr uint64_t kAllocator = 16;
  constexpr uint64_t kListNode = sizeof(Entry) + 2 * sizeof(void*) + kAllocator;
  constexpr uint64_t kHashNode = sizeof(Names::value_type) + 4 * sizeof(void*) + kAllocator;
  constexpr uint64_t kDirectory = sizeof(Names) + sizeof(FileId) + 6 * sizeof(void*) + 2 * kAllocator;
  return kListNode + kHashNode + kDirectory + (name.size() + 1 + kAllocator);
}

std::optional<CachedName> NameCache::find(FileId directory, std::string_view name) {
  Shard& shard = shard_of(directory);
  MutexLock lock(shard.mutex);
  const auto names = shard.directories.find(directory);
  if (names == shard.directories.end()) return std::nullopt;
  const auto at = names->second.find(name);
  if (at == names->second.end()) return std::nullopt;
  shard.recency.splice(shard.recency.begin(), shard.recency, at->second);
  return at->second->answer;
}

NameCache::Room::~Room() {
  if (cache_ == nullptr) return;
  cache_->entries_.release(1);
  cache_->budget_.release(bytes_);
}

NameCache::Room NameCache::make_room(std::string_view name) {
  Room room;
  while (!entries_.try_reserve(1)) {
    if (!evict_one()) return room;
  }
  room.bytes_ = cost(name);
  while (!budget_.try_reserve(room.bytes_)) {
    if (make_room_(room.bytes_)) continue;
    entries_.release(1);
    return room;
  }
  room.cache_ = this;
  return room;
}

void NameCache::put(FileId directory, std::string_view name, CachedName answer, Room room) {
  tell_lost(put_in(directory, name, answer, std::move(room)));
}

/// Returns the file to which the name does not lead, though it did before or the answer says so.
FileId NameCache::put_in(FileId directory, std::string_view name, CachedName answer, Room room) {
  Shard& shard = shard_of(directory);
  MutexLock lock(shard.mutex);
  const auto names = shard.directories.find(directory);
  if (names != shard.directories.end()) {
    if (const auto at = names->second.find(name); at != names->second.end()) {
      const CachedName& known = at->second->answer;
      if (answer.sequence < known.sequence) return answer.file == known.file ? kNoFile : answer.file;
      const FileId before = std::exchange(at->second->answer, answer).file;
      shard.recency.splice(shard.recency.begin(), shard.recency, at->second);
      return before == answer.file ? kNoFile : before;
    }
  }
  if (room.cache_ == nullptr) return answer.file;
  room.cache_ = nullptr;  // the name's from now on
  shard.recency.push_front({directory, std::string(name), answer});
  shard.directories[directory].try_emplace(shard.recency.front().name, shard.recency.begin());
  return kNoFile;
}

FileId NameCache::remove(Shard& shard, Recency::iterator entry) NO_THREAD_SAFETY_ANALYSIS {
  const FileId file = entry->answer.file;
  const auto names = shard.directories.find(entry->directory);
  names->second.erase(entry->name);
  if (names->second.empty()) shard.directories.erase(names);
  const uint64_t bytes = cost(entry->name);
  shard.recency.erase(entry);
  entries_.release(1);
  budget_.release(bytes);
  return file;
}

void NameCache::erase(FileId directory, std::string_view name) {
  FileId lost = kNoFile;
  {
    Shard& shard = shard_of(directory);
    MutexLock lock(shard.mutex);
    const auto names = shard.directories.find(directory);
    if (names == shard.directories.end()) return;
    const auto at = names->second.find(name);
    if (at != names->second.end()) lost = remove(shard, at->second);
  }
  tell_lost(lost);
}

void NameCache::erase_all(FileId directory) {
  std::vector<FileId> lost;
  {
    Shard& shard = shard_of(directory);
    MutexLock lock(shard.mutex);
    for (auto names = shard.directories.find(directory); names != shard.directories.end();
         names = shard.directories.find(directory)) {
      lost.push_back(remove(shard, names->second.begin()->second));
    }
  }
  for (const FileId file : lost) tell_lost(file);
}

std::vector<NameCache::Child> NameCache::children(FileId directory) {
  Shard& shard = shard_of(directory);
  std::vector<Child> found;
  MutexLock lock(shard.mutex);
  const auto names = shard.directories.find(directory);
  if (names == shard.directories.end()) return found;
  found.reserve(names->second.size());
  for (const auto& [name, entry] : names->second) found.push_back({std::string(name), entry->answer.file});
  return found;
}

bool NameCache::evict_one() {
  static thread_local size_t next = 0;  // takes turns, so that no shard is emptied for the others
  for (size_t i = 0; i < shards_.size(); ++i) {
    FileId lost = kNoFile;
    {
      Shard& shard = shards_[next++ % shards_.size()];
      MutexLock lock(shard.mutex);
      if (shard.recency.empty()) continue;
      lost = remove(shard, std::prev(shard.recency.end()));
    }
    tell_lost(lost);
    return true;
  }
  return false;
}

void NameCache::clear() {
  for (Shard& shard : shards_) {
    MutexLock lock(shard.mutex);
    while (!shard.recency.empty()) remove(shard, shard.recency.begin());
    shard.directories = {};
  }
}

void NameCache::check_invariants() {
  uint64_t count = 0;
  for (Shard& shard : shards_) {
    MutexLock lock(shard.mutex);
    uint64_t in_directories = 0;
    for (const auto& [directory, names] : shard.directories) in_directories += names.size();
    CACHEFS_CHECK(in_directories == shard.recency.size(),
                  "N1: each name is in its directory and in the order of use");
    count += in_directories;
  }
  CACHEFS_CHECK(count == entries_.used(), "N2: every name is counted");
}

}  // namespace cachefs
