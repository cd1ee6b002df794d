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
  /// Null if there is none.
  NodeRef find(const NodeKey& key);
  /// The node of that key and kind, made (with `source`) if there is none. A node of another kind loses the
  /// key. `parent`:
  /// the directory that the key names, if it does; it stays while the node does.
  NodeRef intern(const NodeKey& key, FileKind kind, NodeRef source, NodeRef parent);
  /// The root: always referenced, and no cached thing, so not counted.
  NodeRef make_root(const NodeKey& key, NodeRef source);
  /// `moved`, to which `from` led, is now at `to`; what was at `to` is without a key. What `from` leads to by
  /// now, if that is another one, stays there.
  void move_key(CacheNode& moved, const NodeKey& from, const NodeKey& to, NodeRef to_parent);
  /// No look-up leads to that file any more; who has it keeps it.
  void drop_key(const NodeKey& key);
  /// The same, if it leads to that one.
  void drop_key(const NodeKey& key, FileId from);

  /// No look-up leads to that node any more. Returns its key, unless another node had it already.
  std::optional<NodeKey> take_key(CacheNode& node);

  /// Of a file with that id, if it is known: a name of it is no longer.
  void note_lost_name(FileId id);

  /// Drops the least recently used idle node of some shard; false if there is none. One of which data is
  /// cached only where they are most of the idle ones: to look at a large tree once must not cost all data.
  bool evict_one();
  void evict_all_idle();
  /// Those that somebody references now.
  std::vector<NodeRef> all_in_use();
  /// Whether some were dropped for lack of room: somebody may still know them.
  [[nodiscard]] bool has_dropped() const { return has_dropped_.load(std::memory_order_relaxed); }
  [[nodiscard]] uint64_t size() const { return size_.load(std::memory_order_relaxed); }
  void check_invariants();

 private:
  friend class CacheNode;
  /// Of idle nodes; of which kind one is, is decided when it becomes idle.
  enum class IdleKind : uint8_t {
    bare,       ///< no more is known than attributes
    with_data,  ///< with blocks, a listing or a target, which go with it
  };
  static constexpr size_t kIdleKinds = 2;
  /// In the order of use.
  struct IdleOrder {
    CacheNode* newest = nullptr;
    CacheNode* oldest = nullptr;
  };
  struct IdShard {
    Mutex mutex;
    std::unordered_map<FileId, CacheNode*> nodes GUARDED_BY(mutex);
    std::array<IdleOrder, kIdleKinds> idle GUARDED_BY(mutex);  ///< by kind
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
  static IdleKind kind_of(const CacheNode& node) {
    return node.has_data_ ? IdleKind::with_data : IdleKind::bare;
  }
  static IdleOrder& order_of(IdShard& shard, const CacheNode& node);
  std::atomic<uint64_t>& count_of(IdleKind kind) { return idle_counts_[static_cast<size_t>(kind)]; }
  void enter_idle(IdShard& shard, CacheNode& node);
  void leave_idle(IdShard& shard, CacheNode& node);
  bool evict_one(IdleKind kind);
  bool evict_from(IdShard& shard, IdleKind kind);
  void forget(CacheNode* node);

  Budget& budget_;
  Budget count_;
  std::function<bool(uint64_t)> make_room_;
  std::function<void(FileId)> on_forgotten_;
  std::atomic<uint64_t> next_id_{1};
  std::atomic<uint64_t> size_{0};
  std::array<std::atomic<uint64_t>, kIdleKinds> idle_counts_{};
  std::atomic<bool> has_dropped_{false};
  std::array<IdShard, kShards> id_shards_;
  std::array<KeyShard, kShards> key_shards_;
};

}  // namespace cachefs
