// All nodes that are referenced, and as many of the others as there is room for.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/budget.h"
#include "base/mutex.h"
#include "core/node.h"

namespace cachefs {

/// Finds nodes by id and by key. A node that nobody references stays, with its content, while budget and
/// max_idle allow, least recently used ones leave first; nodes that were made when there was no room for them
/// leave at once. Thread-safe. Locks: by key, then by id, one of each.
class NodeTable {
 public:
  /// `make_room` frees metadata or blocks; `on_forgotten` is called, without locks, for each node that
  /// leaves.
  NodeTable(Budget& budget, uint64_t max_nodes, std::function<bool(uint64_t)> make_room,
            std::function<void(FileId)> on_forgotten);
  ~NodeTable();

  NodeRef find(FileId id);
  /// The node of that key and kind, made (with `source`) if there is none. A node of another kind loses the
  /// key. `parent`:
  /// the directory that the key names, if it does; it stays while the node does.
  NodeRef intern(const NodeKey& key, FileKind kind, NodeRef source, NodeRef parent);
  /// The root: always referenced, and no cached thing, so not counted.
  NodeRef make_root(const NodeKey& key, NodeRef source);
  /// The file that `from` led to is now at `to`; what was at `to` is without a key.
  void move_key(const NodeKey& from, const NodeKey& to, NodeRef to_parent);
  /// No look-up leads to that file any more; who has it keeps it.
  void drop_key(const NodeKey& key);

  /// No look-up leads to that node any more. Returns its key, unless another node had it already.
  std::optional<NodeKey> take_key(CacheNode& node);

  /// Of a file with that id, if it is known: a name of it is no longer.
  void note_lost_name(FileId id);

  /// Drops the least recently used idle node of some shard; false if there is none.
  bool evict_one();
  void evict_all_idle();
  /// Those that somebody references now.
  std::vector<NodeRef> all_in_use();
  [[nodiscard]] uint64_t size() const { return size_.load(std::memory_order_relaxed); }
  void check_invariants();

 private:
  friend class CacheNode;
  struct IdShard {
    Mutex mutex;
    std::unordered_map<FileId, CacheNode*> nodes GUARDED_BY(mutex);
    CacheNode* newest GUARDED_BY(mutex) = nullptr;
    CacheNode* oldest GUARDED_BY(mutex) = nullptr;
  };
  struct KeyShard {
    Mutex mutex;
    std::unordered_map<NodeKey, FileId, NodeKeyHash> ids GUARDED_BY(mutex);
  };
  static constexpr size_t kShards = 16;

  IdShard& id_shard(FileId id) { return id_shards_[hash_of(id) % kShards]; }
  KeyShard& key_shard(const NodeKey& key) { return key_shards_[NodeKeyHash()(key) / kShards % kShards]; }
  static uint64_t cost(const NodeKey& key);
  Reservation reserve(const NodeKey& key);
  NodeRef add(const NodeKey& key, FileKind kind, NodeRef source, NodeRef parent, Reservation memory);
  void release(CacheNode& node);
  static void enter_idle(IdShard& shard, CacheNode& node);
  static void leave_idle(IdShard& shard, CacheNode& node);
  bool evict_from(IdShard& shard);
  void forget(CacheNode* node);

  Budget& budget_;
  Budget count_;
  std::function<bool(uint64_t)> make_room_;
  std::function<void(FileId)> on_forgotten_;
  std::atomic<uint64_t> next_id_{1};
  std::atomic<uint64_t> size_{0};
  std::array<IdShard, kShards> id_shards_;
  std::array<KeyShard, kShards> key_shards_;
};

}  // namespace cachefs
