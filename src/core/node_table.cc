#include "core/node_table.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace cachefs {

NodeTable::NodeTable(Budget& budget, uint64_t max_nodes, std::function<bool(uint64_t)> make_room,
                     std::function<void(FileId)> on_forgotten)
    : budget_(budget),
      count_(max_nodes),
      make_room_(std::move(make_room)),
      on_forgotten_(std::move(on_forgotten)) {}

NodeTable::~NodeTable() {
  evict_all_idle();
  CACHEFS_CHECK(size() == 0, "T1: no node outlives its table");
}

/// Upper bound of what a node takes: itself, its entries in both tables, the name in its key, with the
/// allocator's overhead.
uint64_t NodeTable::cost(const NodeKey& key) {
  constexpr uint64_t kAllocator = 16;
  constexpr uint64_t kIdEntry = sizeof(FileId) + sizeof(CacheNode*) + 3 * sizeof(void*) + kAllocator;
  constexpr uint64_t kKeyEntry = sizeof(NodeKey) + sizeof(FileId) + 3 * sizeof(void*) + kAllocator;
  return sizeof(CacheNode) + kAllocator + kIdEntry + kKeyEntry + 2 * (key.name.size() + kAllocator);
}

Reservation NodeTable::reserve(const NodeKey& key) {
  while (!count_.try_reserve(1)) {
    if (!evict_one()) return {};
  }
  for (;;) {
    if (Reservation memory = Reservation::of(budget_, cost(key))) return memory;
    if (make_room_(cost(key))) continue;
    count_.release(1);
    return {};
  }
}

NodeTable::IdleOrder& NodeTable::order_of(IdShard& shard, const CacheNode& node) NO_THREAD_SAFETY_ANALYSIS {
  return shard.idle[static_cast<size_t>(kind_of(node))];
}

void NodeTable::enter_idle(IdShard& shard, CacheNode& node) NO_THREAD_SAFETY_ANALYSIS {
  IdleOrder& order = order_of(shard, node);
  node.idle_ = true;
  node.newer_ = nullptr;
  node.older_ = std::exchange(order.newest, &node);
  (node.older_ == nullptr ? order.oldest : node.older_->newer_) = &node;
  count_of(kind_of(node)).fetch_add(1, std::memory_order_relaxed);
}

void NodeTable::leave_idle(IdShard& shard, CacheNode& node) NO_THREAD_SAFETY_ANALYSIS {
  IdleOrder& order = order_of(shard, node);
  (node.newer_ == nullptr ? order.newest : node.newer_->older_) = node.older_;
  (node.older_ == nullptr ? order.oldest : node.older_->newer_) = node.newer_;
  node.idle_ = false;
  count_of(kind_of(node)).fetch_sub(1, std::memory_order_relaxed);
}

NodeRef NodeTable::find(FileId id) {
  IdShard& shard = id_shard(id);
  MutexLock lock(shard.mutex);
  const auto at = shard.nodes.find(id);
  if (at == shard.nodes.end()) return {};
  if (at->second->idle_) leave_idle(shard, *at->second);
  return NodeRef(at->second);
}

NodeRef NodeTable::find(const NodeKey& key) {
  KeyShard& keys = key_shard(key);
  MutexLock lock(keys.mutex);
  const auto at = keys.ids.find(key);
  return at == keys.ids.end() ? NodeRef() : find(at->second);
}

NodeRef NodeTable::intern(const NodeKey& key, FileKind kind, NodeRef source, NodeRef parent) {
  for (bool reserved = false;; reserved = true) {
    Reservation memory = reserved ? reserve(key) : Reservation();
    NodeRef known;  // declared before the lock: dropping a reference may need it
    {
      KeyShard& keys = key_shard(key);
      MutexLock lock(keys.mutex);
      const auto at = keys.ids.find(key);
      if (at != keys.ids.end()) known = find(at->second);
      const bool fits = known && static_cast<CacheNode&>(*known).kind == kind;
      if (!fits && !reserved) continue;
      if (!fits) {
        keys.ids.erase(key);
        NodeRef made = add(key, kind, std::move(source), std::move(parent), std::move(memory));
        keys.ids.emplace(key, static_cast<CacheNode&>(*made).id);
        return made;
      }
    }
    if (memory) count_.release(1);
    return known;
  }
}

NodeRef NodeTable::make_root(const NodeKey& key, NodeRef source) {
  NodeRef root = add(key, FileKind::directory, std::move(source), {}, {});
  KeyShard& keys = key_shard(key);
  MutexLock lock(keys.mutex);
  keys.ids.emplace(key, static_cast<CacheNode&>(*root).id);
  return root;
}

NodeRef NodeTable::add(const NodeKey& key, FileKind kind, NodeRef source, NodeRef parent,
                       Reservation memory) {
  const FileId id{next_id_.fetch_add(1, std::memory_order_relaxed)};
  auto* node = new CacheNode(*this, id, kind, key, std::move(source));
  node->parent_ = std::move(parent);
  node->memory_ = std::move(memory);
  size_.fetch_add(1, std::memory_order_relaxed);
  IdShard& shard = id_shard(id);
  MutexLock lock(shard.mutex);
  shard.nodes.emplace(id, node);
  return NodeRef(node);
}

void NodeTable::move_key(CacheNode& moved, const NodeKey& from, const NodeKey& to, NodeRef to_parent) {
  drop_key(from, moved.id);
  {
    IdShard& shard = id_shard(moved.id);
    MutexLock lock(shard.mutex);
    moved.key_ = to;
    std::swap(moved.parent_, to_parent);  // the old one is dropped after the lock
  }
  KeyShard& keys = key_shard(to);
  MutexLock lock(keys.mutex);
  keys.ids.insert_or_assign(to, moved.id);
}

void NodeTable::drop_key(const NodeKey& key) {
  KeyShard& keys = key_shard(key);
  MutexLock lock(keys.mutex);
  keys.ids.erase(key);
}

void NodeTable::drop_key(const NodeKey& key, FileId from) {
  KeyShard& keys = key_shard(key);
  MutexLock lock(keys.mutex);
  const auto at = keys.ids.find(key);
  if (at != keys.ids.end() && at->second == from) keys.ids.erase(at);
}

void NodeTable::note_lost_name(FileId id) {
  IdShard& shard = id_shard(id);
  MutexLock lock(shard.mutex);
  const auto at = shard.nodes.find(id);
  if (at != shard.nodes.end()) at->second->name_lost.store(true, std::memory_order_relaxed);
}

std::optional<NodeKey> NodeTable::take_key(CacheNode& node) {
  NodeKey key;
  {
    MutexLock lock(id_shard(node.id).mutex);
    key = node.key_;
  }
  KeyShard& keys = key_shard(key);
  MutexLock lock(keys.mutex);
  const auto at = keys.ids.find(key);
  if (at == keys.ids.end() || at->second != node.id) return std::nullopt;
  keys.ids.erase(at);
  return key;
}

void NodeTable::release(CacheNode& node) NO_THREAD_SAFETY_ANALYSIS {
  IdShard& shard = id_shard(node.id);
  {
    MutexLock lock(shard.mutex);
    if (!node.drop_reference()) return;  // a look-up was faster
    node.has_data_ = node.state.has_content.load(std::memory_order_relaxed);
    if (node.memory_ && !node.nameless.load(std::memory_order_relaxed)) {
      enter_idle(shard, node);
      return;
    }
    shard.nodes.erase(node.id);
  }
  forget(&node);
}

bool NodeTable::evict_from(IdShard& shard, IdleKind kind) {
  CacheNode* node = nullptr;
  {
    MutexLock lock(shard.mutex);
    node = shard.idle[static_cast<size_t>(kind)].oldest;
    if (node == nullptr) return false;
    leave_idle(shard, *node);
    shard.nodes.erase(node->id);
  }
  has_dropped_.store(true, std::memory_order_relaxed);
  forget(node);
  return true;
}

/// The node is out of the table of ids: nobody else can reach it.
void NodeTable::forget(CacheNode* node) {
  {
    KeyShard& keys = key_shard(node->key_);
    MutexLock lock(keys.mutex);
    const auto at = keys.ids.find(node->key_);
    if (at != keys.ids.end() && at->second == node->id) keys.ids.erase(at);
  }
  on_forgotten_(node->id);
  if (node->memory_) count_.release(1);
  size_.fetch_sub(1, std::memory_order_relaxed);
  delete node;
}

bool NodeTable::evict_one() {
  constexpr uint64_t kLeastShareOfBare = 5;
  const uint64_t bare = count_of(IdleKind::bare).load(std::memory_order_relaxed);
  const uint64_t with_data = count_of(IdleKind::with_data).load(std::memory_order_relaxed);
  const bool few_bare = bare * kLeastShareOfBare < bare + with_data;
  return few_bare ? evict_one(IdleKind::with_data) || evict_one(IdleKind::bare)
                  : evict_one(IdleKind::bare) || evict_one(IdleKind::with_data);
}

bool NodeTable::evict_one(IdleKind kind) {
  static thread_local size_t next = 0;  // takes turns, so that no shard is emptied for the others
  for (size_t i = 0; i < kShards; ++i) {
    if (evict_from(id_shards_[next++ % kShards], kind)) return true;
  }
  return false;
}

void NodeTable::evict_all_idle() {
  while (evict_one()) {  // a node that goes may be the last to hold its directory
  }
}

std::vector<NodeRef> NodeTable::all_in_use() {
  std::vector<NodeRef> found;
  for (IdShard& shard : id_shards_) {
    MutexLock lock(shard.mutex);
    for (const auto& [id, node] : shard.nodes) {
      if (!node->idle_) found.emplace_back(node);
    }
  }
  return found;
}

void NodeTable::check_invariants() {
  uint64_t nodes = 0;
  for (IdShard& shard : id_shards_) {
    MutexLock lock(shard.mutex);
    nodes += shard.nodes.size();
    uint64_t idle = 0;
    for (const auto& [id, node] : shard.nodes) {
      CACHEFS_CHECK(node->idle_ == (node->reference_count() == 0),
                    "T2: a node is idle if nobody references it");
      idle += node->idle_ ? 1U : 0U;
    }
    uint64_t listed = 0;
    for (const IdleOrder& order : shard.idle) {
      for (const CacheNode* node = order.newest; node != nullptr; node = node->older_) ++listed;
    }
    CACHEFS_CHECK(idle == listed, "T3: the idle nodes are in the orders of use");
  }
  CACHEFS_CHECK(nodes == size(), "T4: size counts the nodes");
}

}  // namespace cachefs
