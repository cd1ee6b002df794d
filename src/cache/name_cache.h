// Which name in which directory leads to which file, or to none.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <list>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/budget.h"
#include "base/mutex.h"
#include "cache/block.h"
#include "cachefs/clock.h"

namespace cachefs {

/// An answer that the source gave, and when it was asked.
struct CachedName {
  FileId file = kNoFile;  ///< kNoFile: the name does not exist
  MonotonicTime asked_at;
  uint64_t sequence = 0;  ///< in the order of all questions
};

/// Bounded by entries and by a budget, least recently used names leave first. Thread-safe; one lock at a
/// time.
class NameCache {
 public:
  /// `make_room` frees that many bytes of the budget, names or something else; false if it cannot. `on_lost`
  /// is called, without locks of this cache, for each file to which a name led that is no longer known.
  NameCache(
      Budget& budget, uint64_t max_entries, std::function<bool(uint64_t)> make_room,
      std::function<void(FileId)> on_lost = [](FileId) {});
  ~NameCache();

  std::optional<CachedName> find(FileId directory, std::string_view name);
  /// Room for one name, given back if it is not used. Making it may drop names and other things: not under a
  /// lock.
  class Room {
   public:
    Room() = default;
    Room(Room&& other) noexcept : cache_(std::exchange(other.cache_, nullptr)), bytes_(other.bytes_) {}
    Room& operator=(Room&&) = delete;
    ~Room();

   private:
    friend class NameCache;
    NameCache* cache_ = nullptr;
    uint64_t bytes_ = 0;
  };
  Room make_room(std::string_view name);
  /// Nothing, if the answer to a later question is there. Without room, only a name that is there already is
  /// changed. `room` must be for that name.
  void put(FileId directory, std::string_view name, CachedName answer, Room room);
  /// Makes the room first: not under a lock.
  void put(FileId directory, std::string_view name, CachedName answer) {
    put(directory, name, answer, make_room(name));
  }
  void erase(FileId directory, std::string_view name);
  /// All names of that directory, negative ones too.
  void erase_all(FileId directory);
  struct Child {
    std::string name;
    FileId file;
  };
  std::vector<Child> children(FileId directory);

  /// Drops the least recently used name of some shard; false if there is none.
  bool evict_one();
  /// The files to which they led are not told of.
  void clear();
  [[nodiscard]] uint64_t entries() const { return entries_.used(); }
  void check_invariants();

 private:
  struct Entry;
  using Recency = std::list<Entry>;
  struct NameHash {
    using is_transparent = void;
    size_t operator()(std::string_view name) const noexcept { return hash_bytes(name); }
  };
  using Names = std::unordered_map<std::string_view, Recency::iterator, NameHash>;
  struct Entry {
    FileId directory;
    std::string name;
    CachedName answer;
  };
  /// Names of one directory are in one shard.
  struct Shard {
    Mutex mutex;
    Recency recency GUARDED_BY(mutex);  ///< newest in front
    std::unordered_map<FileId, Names> directories GUARDED_BY(mutex);
  };

  static uint64_t cost(std::string_view name);
  Shard& shard_of(FileId directory) { return shards_[hash_of(directory) % shards_.size()]; }
  FileId put_in(FileId directory, std::string_view name, CachedName answer, Room room);
  /// Returns the file to which the name led.
  FileId remove(Shard& shard, Recency::iterator entry);
  void tell_lost(FileId file) const {
    if (file != kNoFile) on_lost_(file);
  }

  static constexpr size_t kShards = 16;
  Budget& budget_;
  Budget entries_;
  std::function<bool(uint64_t)> make_room_;
  std::function<void(FileId)> on_lost_;
  std::array<Shard, kShards> shards_;
};

}  // namespace cachefs
