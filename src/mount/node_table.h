// The files that the kernel knows, each with the number by which it asks for them.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/mutex.h"
#include "cachefs/file_system.h"

namespace cachefs::mount {

/// A file that the kernel knows. Its address is the kernel's number for it (the root's is 1).
struct MountNode : std::enable_shared_from_this<MountNode> {
  explicit MountNode(NodeRef ref, uint64_t number) : node(std::move(ref)), fallback_inode(number) {}

  /// True if what the kernel keeps of the file's data is of this generation; from now on it is, the caller
  /// seeing to it that the kernel drops its pages otherwise.
  bool exchange_data_generation(uint64_t generation) { return kept_data.exchange(generation) == generation; }
  bool exchange_listing_generation(uint64_t generation) {
    return kept_listing.exchange(generation) == generation;
  }

  static constexpr uint64_t kNothingKept = UINT64_MAX;

  const NodeRef node;
  const uint64_t fallback_inode;  ///< st_ino where the source has no inode numbers
  std::atomic<uint64_t> kept_data{kNothingKept};
  std::atomic<uint64_t> kept_listing{kNothingKept};
  uint64_t lookups = 0;  ///< how often the kernel was told the number; guarded by the table's shard
};
using MountNodeRef = std::shared_ptr<MountNode>;

/// One MountNode for each Node. Thread-safe. Nodes are given back outside all locks.
///
/// Invariant N1: a node is in the table if and only if its look-up count is above 0 or it is the root.
class NodeTable {
 public:
  explicit NodeTable(NodeRef root);

  /// The node of the kernel's number. The kernel only asks for numbers that it knows, so this cannot fail.
  [[nodiscard]] MountNodeRef at(uint64_t number) const;
  /// The same without a reference, for as long as the request is unanswered: the kernel forgets nothing that
  /// it asks for.
  [[nodiscard]] MountNode& peek(uint64_t number) const;
  [[nodiscard]] static uint64_t number_of(const MountNode& node);

  /// The node's entry, made if need be, with its look-up count raised: to be followed by telling the kernel,
  /// or forget().
  MountNodeRef enter(const NodeRef& node);
  void forget(uint64_t number, uint64_t count);

  /// Null if the kernel does not know the node.
  [[nodiscard]] MountNodeRef find(const Node& node) const;
  [[nodiscard]] std::vector<MountNodeRef> all() const;
  [[nodiscard]] size_t size() const;
  /// Gives all nodes but the root back. Only when the kernel asks no more.
  void clear();

 private:
  static constexpr size_t kShardCount = 16;
  struct Shard {
    mutable Mutex mutex;
    std::unordered_map<const Node*, MountNodeRef> nodes GUARDED_BY(mutex);
  };

  Shard& shard_of(const Node& node) const;

  MountNodeRef root_;
  std::atomic<uint64_t> next_fallback_inode_{2};
  mutable std::array<Shard, kShardCount> shards_;
};

}  // namespace cachefs::mount
