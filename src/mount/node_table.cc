#include "mount/node_table.h"

#include <fuse_lowlevel.h>

#include <utility>

#include "base/check.h"

namespace cachefs::mount {

ListingUse KeptListing::open(uint64_t generation) {
  MutexLock lock(mutex_);
  if (generation != generation_) {
    if (handles_ > 0) return {.caches = false, .keeps = true};
    generation_ = generation;
    confirmed_ = false;
  }
  ++handles_;
  return {.caches = true, .keeps = confirmed_};
}

void KeptListing::confirm() {
  MutexLock lock(mutex_);
  confirmed_ = true;
}

void KeptListing::close() {
  MutexLock lock(mutex_);
  --handles_;
}

NodeTable::NodeTable(NodeRef root)
    : root_(std::make_shared<MountNode>(std::move(root), FUSE_ROOT_ID, FileKind::directory)) {}

MountNode& NodeTable::peek(uint64_t number) const {
  if (number == FUSE_ROOT_ID) return *root_;
  return *reinterpret_cast<MountNode*>(static_cast<uintptr_t>(number));
}

MountNodeRef NodeTable::at(uint64_t number) const { return peek(number).shared_from_this(); }

uint64_t NodeTable::number_of(const MountNode& node) {
  if (node.fallback_inode == FUSE_ROOT_ID) return FUSE_ROOT_ID;
  return reinterpret_cast<uintptr_t>(&node);
}

uint64_t NodeTable::generation_of(const MountNode& node) {
  if (node.fallback_inode == FUSE_ROOT_ID) return 0;  // as the kernel has it before it asks anything
  return node.fallback_inode;
}

MountNodeRef NodeTable::enter(const NodeRef& node, FileKind kind) {
  if (node == root_->node) return root_;
  Shard& shard = shard_of(*node);
  MutexLock lock(shard.mutex);
  MountNodeRef& entry = shard.nodes[node.get()];
  if (!entry)
    entry =
        std::make_shared<MountNode>(node, next_fallback_inode_.fetch_add(1, std::memory_order_relaxed), kind);
  ++entry->lookups;
  return entry;
}

void NodeTable::forget(uint64_t number, uint64_t count) {
  if (number == FUSE_ROOT_ID) return;
  MountNode& node = peek(number);
  MountNodeRef released;  // destroyed after the lock: giving a node back may call into the file system
  Shard& shard = shard_of(*node.node);
  MutexLock lock(shard.mutex);
  CACHEFS_CHECK(node.lookups >= count, "N1: the kernel forgets only what it was told");
  node.lookups -= count;
  if (node.lookups > 0) return;
  const auto found = shard.nodes.find(node.node.get());
  released = std::move(found->second);
  shard.nodes.erase(found);
}

MountNodeRef NodeTable::find(const Node& node) const {
  if (&node == root_->node.get()) return root_;
  Shard& shard = shard_of(node);
  MutexLock lock(shard.mutex);
  const auto found = shard.nodes.find(&node);
  return found == shard.nodes.end() ? nullptr : found->second;
}

std::vector<MountNodeRef> NodeTable::all() const {
  std::vector<MountNodeRef> nodes{root_};
  for (Shard& shard : shards_) {
    MutexLock lock(shard.mutex);
    for (const auto& [node, entry] : shard.nodes) nodes.push_back(entry);
  }
  return nodes;
}

size_t NodeTable::size() const {
  size_t size = 1;
  for (Shard& shard : shards_) {
    MutexLock lock(shard.mutex);
    size += shard.nodes.size();
  }
  return size;
}

void NodeTable::clear() {
  for (Shard& shard : shards_) {
    std::unordered_map<const Node*, MountNodeRef> released;
    MutexLock lock(shard.mutex);
    released.swap(shard.nodes);
  }
}

NodeTable::Shard& NodeTable::shard_of(const Node& node) const {
  const auto bits = reinterpret_cast<uintptr_t>(&node);
  return shards_[(bits >> 6 ^ bits >> 12) % kShardCount];
}

}  // namespace cachefs::mount
