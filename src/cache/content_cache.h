// What directories list and what symlinks lead to.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/budget.h"
#include "base/mutex.h"
#include "cache/block.h"
#include "cachefs/file_system.h"

namespace cachefs {

/// A directory's entries or a symlink's target, as of one version of it. Immutable once it is cached, shared
/// by its readers.
struct Content {
  Reservation memory;       ///< first, so that it is given back last
  uint64_t generation = 0;  ///< of the file when the reading began
  std::vector<DirectoryEntry> entries;
  std::string target;
};
using ContentRef = std::shared_ptr<const Content>;

/// One content for each file, of one generation. Bounded by entries and by a budget, least recently used ones
/// leave first, whoever refers to the file. Thread-safe; one lock at a time.
class ContentCache {
 public:
  /// `make_room` frees that many bytes of the budget, contents or something else; false if it cannot.
  ContentCache(Budget& budget, uint64_t max_entries, std::function<bool(uint64_t)> make_room);
  ~ContentCache();

  ContentRef find(FileId file, uint64_t generation);
  /// Reserves room for `content` (its entries and target as they are), and puts it in. False: there is none.
  /// Not under a lock.
  bool put(FileId file, const std::shared_ptr<Content>& content);
  /// Drops what is of a generation below that.
  bool erase(FileId file, uint64_t below_generation);

  /// Drops the least recently used one of some shard; false if there is none.
  bool evict_one();
  void clear();
  [[nodiscard]] uint64_t entries() const { return entries_.used(); }
  void check_invariants();

  /// Upper bound of what the entry takes in a listing.
  static uint64_t cost(const DirectoryEntry& entry);

 private:
  struct Held {
    FileId file;
    ContentRef content;
  };
  using Recency = std::list<Held>;
  struct Shard {
    Mutex mutex;
    Recency recency GUARDED_BY(mutex);  ///< newest in front
    std::unordered_map<FileId, Recency::iterator> files GUARDED_BY(mutex);
  };

  Shard& shard_of(FileId file) { return shards_[hash_of(file) % shards_.size()]; }
  bool reserve_entry();
  bool reserve_memory(Content& content);
  void remove(Shard& shard, Recency::iterator held, Recency& dropped);

  static constexpr size_t kShards = 16;
  Budget& budget_;
  Budget entries_;
  std::function<bool(uint64_t)> make_room_;
  std::array<Shard, kShards> shards_;
};

}  // namespace cachefs
