// A file that the kernel knows.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "base/check.h"
#include "base/mutex.h"
#include "cachefs/file_system.h"

namespace cachefs::mount {

class NodeTable;
struct MountNode;

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

/// A reference to a MountNode, which stays awake with it if it is. Copying and dropping it is thread-safe.
class MountNodeRef {
 public:
  MountNodeRef() = default;
  MountNodeRef(std::nullptr_t) {}  // NOLINT(google-explicit-constructor): as any pointer
  MountNodeRef(const MountNodeRef& other);
  MountNodeRef(MountNodeRef&& other) noexcept : node_(std::exchange(other.node_, nullptr)) {}
  MountNodeRef& operator=(MountNodeRef other) noexcept {
    std::swap(node_, other.node_);
    return *this;
  }
  ~MountNodeRef();

  [[nodiscard]] MountNode* get() const { return node_; }
  MountNode& operator*() const { return *node_; }
  MountNode* operator->() const { return node_; }
  explicit operator bool() const { return node_ != nullptr; }
  friend bool operator==(const MountNodeRef& a, const MountNodeRef& b) { return a.node_ == b.node_; }

 private:
  friend class NodeTable;
  friend struct MountNode;
  /// Takes over a reference that was counted already.
  explicit MountNodeRef(MountNode* counted) : node_(counted) {}

  MountNode* node_ = nullptr;
};

/// A file that the kernel knows, or has known. Its address is the kernel's number for it (the root's is 1).
/// Small, since there may be millions: while it sleeps it has no node of the file system, but knows where
/// that was found.
struct MountNode {
  static constexpr uint64_t kNothingKept = UINT64_MAX;

  MountNode(NodeRef ref, uint64_t number, const FileIdentity& file, FileKind file_kind)
      : fallback_inode(number),
        identity(file),
        kind(file_kind),
        kept_listing(kind == FileKind::directory ? std::make_unique<KeptListing>() : nullptr),
        node_(std::move(ref)) {}
  MountNode(const MountNode&) = delete;
  MountNode& operator=(const MountNode&) = delete;

  [[nodiscard]] bool is_awake() const { return awake_.load(std::memory_order_acquire); }
  /// The file system's node. Only while awake, which lasts as long as a reference is held.
  [[nodiscard]] const NodeRef& node() const {
    CACHEFS_CHECK(is_awake(), "N2: a node is used while it is awake");
    return node_;
  }

  const uint64_t fallback_inode;  ///< of this node alone; st_ino where the source has no inode numbers
  const FileIdentity identity;    ///< as of when the kernel first learned of it
  /// The kernel has no pages of generations before this one. Written when that is certain (see OpenFile).
  std::atomic<uint64_t> kept_data{kNothingKept};
  /// Of which generation the attributes are that the kernel was told last; kNothingKept: not certain.
  std::atomic<uint64_t> told_generation{kNothingKept};
  /// The kernel may believe that the file has set-id bits.
  std::atomic<bool> shown_set_id{false};
  const FileKind kind;
  const std::unique_ptr<KeptListing> kept_listing;  ///< of directories

 private:
  friend class MountNodeRef;
  friend class NodeTable;
  friend class NodeOrder;
  friend struct ByNumber;
  friend struct ByPlace;
  friend struct ByNode;
  friend struct ByIdentity;
  friend struct ByFormerNode;

  ~MountNode() = default;
  [[nodiscard]] bool has_children() const { return counts_.load(std::memory_order_relaxed) >= kChild; }
  void retain() { counts_.fetch_add(kReference, std::memory_order_acq_rel); }
  /// Deletes the node if that was the last, and its directory, if only it was left to need it.
  static void release(MountNode* node);
  static void release_child_of(MountNode* directory);

  // How many references there are (the table's own is one), whether one that comes now must wait, and how
  // many nodes are found by their place in this directory.
  static constexpr uint64_t kReference = 1;
  static constexpr uint64_t kReferences = 0x7FFFFFFF;
  static constexpr uint64_t kFallingAsleep = uint64_t{1} << 31;
  static constexpr uint64_t kChild = uint64_t{1} << 32;

  std::atomic<uint64_t> counts_{kReference};
  std::atomic<bool> awake_{true};
  std::atomic<bool> used_{false};  ///< since it was last looked at for that
  NodeRef node_;                   ///< see node()
  // Guarded by the table's mutex.
  uint64_t lookups_ = 0;            ///< how often the kernel was told the number
  MountNode* directory_ = nullptr;  ///< where it was found last, counted there as a child; null: nowhere now
  std::unique_ptr<char[]> name_;    ///< in that directory
  MountNode* next_by_number_ = nullptr;
  MountNode* next_by_place_ = nullptr;
  MountNode* next_by_key_ = nullptr;
  const Node* former_ = nullptr;  ///< while it sleeps: the node that it had, which may be gone
  MountNode* next_by_former_ = nullptr;
  MountNode* newer_ = nullptr;
  MountNode* older_ = nullptr;
};

inline MountNodeRef::MountNodeRef(const MountNodeRef& other) : node_(other.node_) {
  if (node_ != nullptr) node_->retain();
}
inline MountNodeRef::~MountNodeRef() {
  if (node_ != nullptr) MountNode::release(node_);
}

}  // namespace cachefs::mount
