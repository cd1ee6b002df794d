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

/// What the kernel was told when it opened a directory.
struct ListingUse {
  bool caches = false;  ///< it may keep what the handle reads, and read what is kept
  bool keeps = false;   ///< what it has is good; else it drops that before the open ends
};

/// Of which generation the listing is that the kernel keeps of a directory. The kernel fills it from whatever
/// handle reads first, and reads it through others, while the entries of a handle are those of its open. So
/// all handles that cache and are open at the same time are of one generation; others read past it.
/// Thread-safe.
class KeptListing {
 public:
  /// A handle with entries of `generation` is about to be given to the kernel.
  ListingUse open(uint64_t generation) EXCLUDES(mutex_);
  /// A handle that caches, and whose open made the kernel drop what it had, was used: the open has ended.
  void confirm() EXCLUDES(mutex_);
  /// The kernel has given a handle that caches back.
  void close() EXCLUDES(mutex_);

 private:
  Mutex mutex_;
  uint64_t generation_ GUARDED_BY(mutex_) = UINT64_MAX;
  uint32_t handles_ GUARDED_BY(mutex_) = 0;    ///< that cache; all of generation_
  bool confirmed_ GUARDED_BY(mutex_) = false;  ///< the kernel has nothing of earlier generations
};

/// A file that the kernel knows. Its address is the kernel's number for it (the root's is 1).
struct MountNode : std::enable_shared_from_this<MountNode> {
  MountNode(NodeRef ref, uint64_t number, FileKind kind)
      : node(std::move(ref)),
        fallback_inode(number),
        kept_listing(kind == FileKind::directory ? std::make_unique<KeptListing>() : nullptr) {}

  static constexpr uint64_t kNothingKept = UINT64_MAX;

  const NodeRef node;
  const uint64_t fallback_inode;  ///< of this node alone; st_ino where the source has no inode numbers
  /// The kernel has no pages of generations before this one. Written when that is certain (see OpenFile).
  std::atomic<uint64_t> kept_data{kNothingKept};
  /// Of which generation the attributes are that the kernel was told last; kNothingKept: not certain.
  std::atomic<uint64_t> told_generation{kNothingKept};
  /// The kernel may believe that the file has set-id bits.
  std::atomic<bool> shown_set_id{false};
  const std::unique_ptr<KeptListing> kept_listing;  ///< of directories
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
  /// Tells nodes apart that have the same number one after the other: a file handle (name_to_handle_at) of a
  /// node that was forgotten must not lead to another file.
  [[nodiscard]] static uint64_t generation_of(const MountNode& node);

  /// The node's entry, made if need be, with its look-up count raised: to be followed by telling the kernel,
  /// or forget().
  MountNodeRef enter(const NodeRef& node, FileKind kind);
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
