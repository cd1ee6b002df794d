// The files that the kernel knows, each with the number by which it asks for them.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/mutex.h"
#include "cachefs/file_system.h"
#include "mount/mount_node.h"
#include "mount/node_index.h"
#include "mount/node_limits.h"

namespace cachefs::mount {

struct ByNumber {
  static constexpr size_t kPerHead = 2;
  static uint64_t hash(const MountNode& node);
  static MountNode*& next(MountNode& node) { return node.next_by_number_; }
};
/// Of nodes of which a name is known.
struct ByPlace {
  static constexpr size_t kPerHead = 1;
  static uint64_t hash(const MountNode& node);
  static MountNode*& next(MountNode& node) { return node.next_by_place_; }
};
/// Of nodes that are awake.
struct ByNode {
  static constexpr size_t kPerHead = 1;
  static uint64_t hash(const MountNode& node);
  static MountNode*& next(MountNode& node) { return node.next_by_key_; }
};
/// Of nodes that sleep, where identities are stable.
struct ByIdentity {
  static constexpr size_t kPerHead = 2;
  static uint64_t hash(const MountNode& node);
  static MountNode*& next(MountNode& node) { return node.next_by_key_; }
};
/// Of nodes that sleep.
struct ByFormerNode {
  static constexpr size_t kPerHead = 2;
  static uint64_t hash(const MountNode& node);
  static MountNode*& next(MountNode& node) { return node.next_by_former_; }
};

/// Where a file was found.
struct NodePlace {
  MountNodeRef directory;
  std::string name;
};

/// A file that nobody seems to use, as the kernel knows it.
struct UnusedNode {
  uint64_t number = 0;
  uint64_t directory = 0;
  std::string name{};
  FileKind kind = FileKind::regular;
};

/// One MountNode for each Node. Thread-safe; does no I/O. Nodes are given back outside all locks.
///
/// Nodes that are not used for a while, and to which a name is known to lead, fall asleep: they give the file
/// system's node back, so that what it knows of the file need not stay in memory. Whoever wants to use one
/// wakes it (see wake.h). What nobody forgets that the kernel knows, takes about 200 bytes.
///
/// What the kernel forgot, it may ask for again: file handles (name_to_handle_at) are made of a number and a
/// generation. So such nodes are kept, asleep, as long as a name leads to them and they are among those that
/// were forgotten last.
///
/// Invariant N1: a node is in the table if its look-up count is above 0. Any other has a place, and is awake
/// or one of limits.forgotten. (The root is always known, and apart.) Invariant N2: a node that is referenced
/// does not fall asleep. Invariant N3: going from directory to directory ends.
class NodeTable {
 public:
  /// `by_identity`: whether FileIdentity names a file; else its place does, and none is kept that the kernel
  /// forgot, for its handle could lead to another file. `first_generation`: a random number, which tells the
  /// handles of this table from those of earlier ones.
  NodeTable(NodeRef root, bool by_identity, const NodeLimits& limits, uint32_t first_generation);
  ~NodeTable() { clear(); }
  NodeTable(const NodeTable&) = delete;
  NodeTable& operator=(const NodeTable&) = delete;

  /// The node of the kernel's number. The kernel only asks for numbers that it knows, so this cannot fail.
  [[nodiscard]] MountNodeRef at(uint64_t number) const EXCLUDES(mutex_);
  /// The same for a number from anywhere, such as that of a file handle. Null if no node has it.
  [[nodiscard]] MountNodeRef find_number(uint64_t number) EXCLUDES(mutex_);
  [[nodiscard]] static uint64_t number_of(const MountNode& node);
  /// Tells nodes apart that have the same number one after the other: a file handle (name_to_handle_at) of a
  /// node that is gone must not lead to another file. The kernel keeps 32 bits of it.
  [[nodiscard]] uint32_t generation_of(const MountNode& node) const;

  /// The entry, found at that place: its node, made or woken if need be, with its look-up count raised: to be
  /// followed by telling the kernel, or forget().
  MountNodeRef enter(MountNode& directory, std::string_view name, const Entry& entry) EXCLUDES(mutex_);
  /// The same for a node that is referenced and awake. False if it has left the table.
  bool enter_again(MountNode& node) EXCLUDES(mutex_);
  /// The kernel needs the number less often by `count`.
  void forget(uint64_t number, uint64_t count) EXCLUDES(mutex_);

  /// Null if the kernel does not know the node. One that sleeps is found by the node that it had: if that is
  /// gone, and another one has its address now, it is taken for that one.
  [[nodiscard]] MountNodeRef find(const Node& node) EXCLUDES(mutex_);
  /// The node last seen at that place, or null.
  [[nodiscard]] MountNodeRef find_at(const MountNode& directory, std::string_view name) EXCLUDES(mutex_);

  /// Where to look for a node that sleeps.
  [[nodiscard]] std::optional<NodePlace> place_of(const MountNode& node) const EXCLUDES(mutex_);
  /// Wakes the node with what was found at its place. False if that is another file. Who has a reference sees
  /// it awake from then on.
  bool rouse(MountNode& node, const Entry& found) EXCLUDES(mutex_);

  // What changes of names did.
  void name_removed(const MountNode& directory, std::string_view name) EXCLUDES(mutex_);
  void name_moved(const MountNode& from, std::string_view from_name, MountNode& to, std::string_view to_name)
      EXCLUDES(mutex_);
  void names_exchanged(MountNode& one, std::string_view one_name, MountNode& other,
                       std::string_view other_name) EXCLUDES(mutex_);

  /// Whether the kernel knows more than it should, and can be asked to forget some: see take_unused().
  [[nodiscard]] bool is_crowded() const { return crowded_.load(std::memory_order_relaxed); }
  /// Some of the least recently used nodes, which are then taken for used: each is named once in a round. To
  /// be called until is_crowded() says that the round is over.
  [[nodiscard]] std::vector<UnusedNode> take_unused(size_t count_max) EXCLUDES(mutex_);

  [[nodiscard]] std::vector<uint64_t> numbers() const EXCLUDES(mutex_);
  /// How many the kernel knows.
  [[nodiscard]] size_t size() const { return size_.load(std::memory_order_relaxed); }
  [[nodiscard]] size_t limit() const { return limits_.known; }
  /// Those that are awake; the root is not counted.
  [[nodiscard]] size_t awake() const EXCLUDES(mutex_);
  /// Those that sleep, and that the kernel has forgotten.
  [[nodiscard]] size_t forgotten() const EXCLUDES(mutex_);
  /// Aborts if an invariant does not hold.
  void check_invariants() EXCLUDES(mutex_);
  /// Gives all nodes but the root back. Only when the kernel asks no more.
  void clear() EXCLUDES(mutex_);

 private:
  /// What is taken out under the lock, to be given back after it: declared before it.
  struct Leftovers {
    Leftovers() = default;
    Leftovers(const Leftovers&) = delete;
    Leftovers& operator=(const Leftovers&) = delete;
    ~Leftovers();

    std::vector<NodeRef> nodes;
    std::vector<MountNodeRef> forgotten;
    std::vector<MountNode*> directories;  ///< each with one child less
  };

  bool contains(const MountNode& node) REQUIRES(mutex_);
  NodeOrder& order_of(const MountNode& node) REQUIRES(mutex_);
  void know(MountNode& node) REQUIRES(mutex_);
  void unknow(MountNode& node) REQUIRES(mutex_);
  MountNode* find_sleeping(const MountNode& directory, std::string_view name, const Entry& entry)
      REQUIRES(mutex_);
  MountNode* at_place(const MountNode& directory, std::string_view name) REQUIRES(mutex_);
  MountNode& add(const Entry& entry) REQUIRES(mutex_);
  void add_awake(MountNode& node) REQUIRES(mutex_);
  void wake(MountNode& node, const NodeRef& with) REQUIRES(mutex_);
  void put_to_sleep(MountNode& node, Leftovers& left) REQUIRES(mutex_);
  void put_some_to_sleep(Leftovers& left) REQUIRES(mutex_);
  void drop_oldest(Leftovers& left) REQUIRES(mutex_);
  void take_out(MountNode& node, Leftovers& left) REQUIRES(mutex_);
  void set_place(MountNode& node, MountNode& directory, std::string_view name, Leftovers& left)
      REQUIRES(mutex_);
  void take_place(MountNode& node, Leftovers& left) REQUIRES(mutex_);
  void lose_place(MountNode& node, Leftovers& left) REQUIRES(mutex_);
  void cut_above(const MountNode& node, MountNode& directory, Leftovers& left) REQUIRES(mutex_);
  void begin_round_if_crowded() REQUIRES(mutex_);

  const bool by_identity_;
  const NodeLimits limits_;
  const uint32_t first_generation_;
  const MountNodeRef root_;
  mutable Mutex mutex_;
  uint64_t next_fallback_inode_ GUARDED_BY(mutex_) = 2;
  NodeIndex<ByNumber> numbers_ GUARDED_BY(mutex_);  ///< all
  NodeIndex<ByPlace> places_ GUARDED_BY(mutex_);
  NodeIndex<ByNode> awake_by_node_ GUARDED_BY(mutex_);
  NodeIndex<ByIdentity> sleeping_by_identity_ GUARDED_BY(mutex_);
  NodeIndex<ByFormerNode> sleeping_by_node_ GUARDED_BY(mutex_);
  // Each node is in one of these.
  NodeOrder awake_ GUARDED_BY(mutex_);
  NodeOrder sleeping_ GUARDED_BY(mutex_);   ///< and known to the kernel
  NodeOrder forgotten_ GUARDED_BY(mutex_);  ///< by the kernel, and asleep
  std::atomic<size_t> size_{1};
  std::atomic<bool> crowded_{false};
  size_t made_since_round_ GUARDED_BY(mutex_) = 0;
  size_t to_forget_ GUARDED_BY(mutex_) = 0;  ///< in this round
  size_t to_look_at_ GUARDED_BY(mutex_) = 0;
};

}  // namespace cachefs::mount
