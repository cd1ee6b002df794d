// Finds nodes by something that they have in them: chained hash tables whose links are in the nodes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "mount/mount_node.h"

namespace cachefs::mount {

/// `By` says how: `hash(const MountNode&)`, which must not change while a node is in here,
/// `next(MountNode&)`, the link, and `kPerHead`, how long chains may get on average (a chain's head takes 8
/// bytes). Not thread-safe. In parts that grow by themselves, so that no call takes long.
template <typename By>
class NodeIndex {
 public:
  void insert(MountNode& node) {
    const uint64_t hash = By::hash(node);
    Part& part = part_of(hash);
    if (part.size >= part.heads.size() * By::kPerHead) grow(part);
    link(part, node, hash);
    ++part.size;
  }

  void erase(MountNode& node) {
    const uint64_t hash = By::hash(node);
    Part& part = part_of(hash);
    MountNode** link = &head(part, hash);
    while (*link != &node) link = &By::next(**link);
    *link = By::next(node);
    By::next(node) = nullptr;
    --part.size;
  }

  /// The node with that hash for which `is_it` holds, or null.
  template <typename IsIt>
  [[nodiscard]] MountNode* find(uint64_t hash, IsIt is_it) {
    Part& part = part_of(hash);
    if (part.heads.empty()) return nullptr;
    MountNode* node = head(part, hash);
    while (node != nullptr && !is_it(*node)) node = By::next(*node);
    return node;
  }

  [[nodiscard]] size_t size() const {
    size_t all = 0;
    for (const Part& part : parts_) all += part.size;
    return all;
  }

 private:
  static constexpr size_t kParts = 64;
  static constexpr size_t kFirstSize = 16;
  struct Part {
    std::vector<MountNode*> heads;  ///< a power of two of them
    size_t size = 0;
  };

  Part& part_of(uint64_t hash) { return parts_[hash % kParts]; }
  static MountNode*& head(Part& part, uint64_t hash) {
    return part.heads[hash / kParts & (part.heads.size() - 1)];
  }
  static void link(Part& part, MountNode& node, uint64_t hash) {
    MountNode*& first = head(part, hash);
    By::next(node) = first;
    first = &node;
  }

  static void grow(Part& part) {
    std::vector<MountNode*> before(part.heads.empty() ? kFirstSize : part.heads.size() * 2);
    before.swap(part.heads);
    for (MountNode* node : before) {
      while (node != nullptr) {
        MountNode& moved = *node;
        node = By::next(moved);
        link(part, moved, By::hash(moved));
      }
    }
  }

  std::array<Part, kParts> parts_;
};

/// A list of nodes, the oldest first, whose links are in the nodes. Not thread-safe.
class NodeOrder {
 public:
  void add_newest(MountNode& node) {
    node.newer_ = nullptr;
    node.older_ = newest_;
    (newest_ == nullptr ? oldest_ : newest_->newer_) = &node;
    newest_ = &node;
    ++size_;
  }
  void remove(MountNode& node) {
    (node.newer_ == nullptr ? newest_ : node.newer_->older_) = node.older_;
    (node.older_ == nullptr ? oldest_ : node.older_->newer_) = node.newer_;
    --size_;
  }
  void make_newest(MountNode& node) {
    remove(node);
    add_newest(node);
  }
  [[nodiscard]] MountNode* oldest() const { return oldest_; }
  [[nodiscard]] static MountNode* newer(const MountNode& node) { return node.newer_; }
  [[nodiscard]] size_t size() const { return size_; }

 private:
  MountNode* newest_ = nullptr;
  MountNode* oldest_ = nullptr;
  size_t size_ = 0;
};

}  // namespace cachefs::mount
