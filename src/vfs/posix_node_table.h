// Which nodes there are, and by which names they can be reached.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/mutex.h"
#include "vfs/posix_descriptor_cache.h"
#include "vfs/posix_node.h"

namespace cachefs::posix {

/// A file as it was seen under a name.
struct Sighting {
  PosixNode& parent;
  std::string_view name;
  FileIdentity identity;
  FileKind kind;
};

/// Interns nodes: by identity where that is stable, else by parent and name. Thread-safe; does no I/O.
///
/// Invariant N1: every name of a node is in by_name_ and leads to it, and nothing else is there.
/// Invariant N2: a node in a table has a reference; the last one goes together with its entries, under the
/// lock. Invariant N3: a directory has one name at most, and going from parent to parent ends.
class NodeTable {
 public:
  NodeTable(bool by_identity, DescriptorCache& cache) : interns_by_identity_(by_identity), cache_(cache) {}
  ~NodeTable();
  NodeTable(const NodeTable&) = delete;
  NodeTable& operator=(const NodeTable&) = delete;

  /// To be called once, first.
  NodeRef make_root(const FileIdentity& identity);

  /// The node of what was seen, made if need be. Null if `unchanged_since` is given and this process is
  /// changing that name, or changed one in the directory after it: what was seen may no longer be so, look
  /// again.
  NodeRef intern(const Sighting& seen, std::optional<uint64_t> unchanged_since = std::nullopt);

  [[nodiscard]] uint64_t name_changes(const PosixNode& directory) const;
  /// The node last seen under that name, if it is referenced.
  NodeRef find(PosixNode& parent, std::string_view name);
  /// The newest first.
  std::vector<NodeName> names_of(const PosixNode& node) const;
  [[nodiscard]] bool has_one_name(const PosixNode& node) const;

  /// Names that this process is about to change, and has changed or failed to: told by NameChange.
  void begin_change(Place place);
  void end_change(Place place);
  /// What a change did, told before its end.
  void name_made(PosixNode& directory);
  void name_removed(PosixNode& parent, std::string_view name);
  void name_moved(Place from, Place to);
  void names_exchanged(Place one, Place other);

  /// Drops a reference that may be the last.
  void release(PosixNode& node);

  /// PosixNode::names_mutex.
  std::shared_ptr<NamesMutex> names_mutex(PosixNode& directory, uint64_t epoch);

  void check_invariants() const;

 private:
  using Names =
      std::vector<NodeName>;  ///< names taken out: destroyed after the lock, for a parent may go with them
  struct PlaceKey {
    const PosixNode* parent;
    std::string name;
  };
  struct PlaceView {
    const PosixNode* parent;
    std::string_view name;
  };
  struct PlaceHash {
    using is_transparent = void;
    size_t operator()(const PlaceKey& key) const { return hash({key.parent, key.name}); }
    size_t operator()(const PlaceView& key) const { return hash(key); }
    static size_t hash(const PlaceView& key) {
      return std::hash<std::string_view>{}(key.name) * 31 + std::hash<const void*>{}(key.parent);
    }
  };
  struct PlaceEqual {
    using is_transparent = void;
    template <typename A, typename B>
    bool operator()(const A& a, const B& b) const {
      return a.parent == b.parent && a.name == b.name;
    }
  };

  PosixNode* node_at(const PosixNode& parent, std::string_view name) const REQUIRES(mutex_);
  PosixNode& add(const Sighting& seen) REQUIRES(mutex_);
  PosixNode& node_for(const Sighting& seen, Names& dropped) REQUIRES(mutex_);
  void add_name(PosixNode& node, PosixNode& parent, std::string_view name, Names& dropped) REQUIRES(mutex_);
  void take_name(PosixNode& node, const PosixNode& parent, std::string_view name, Names& dropped)
      REQUIRES(mutex_);
  void take_all_names(PosixNode& node, Names& dropped) REQUIRES(mutex_);
  /// Takes the name at a place from whatever node has it; returns that node.
  PosixNode* take_place(const PosixNode& parent, std::string_view name, Names& dropped) REQUIRES(mutex_);
  void cut_above(PosixNode& node, PosixNode& parent, Names& dropped) REQUIRES(mutex_);
  bool forget_if_last(PosixNode& node, Names& dropped);
  [[nodiscard]] bool is_changing(const PosixNode& parent, std::string_view name) const REQUIRES(mutex_);

  const bool interns_by_identity_;
  DescriptorCache& cache_;
  mutable Mutex mutex_;
  PosixNode* root_ GUARDED_BY(mutex_) = nullptr;
  std::unordered_map<FileIdentity, PosixNode*> by_identity_ GUARDED_BY(mutex_);
  std::unordered_map<PlaceKey, PosixNode*, PlaceHash, PlaceEqual> by_name_ GUARDED_BY(mutex_);
  std::vector<PlaceKey> changing_ GUARDED_BY(mutex_);
};

/// A change of one or two names by this process, from before its system call until the table knows of it: no
/// other change of names in the same directories happens meanwhile, and no look-up takes what it sees of
/// these names for settled.
class NameChange {
 public:
  /// `epoch`: of the root (Reachability::epoch).
  NameChange(NodeTable& table, uint64_t epoch, Place place) : NameChange(table, epoch, place, place) {}
  NameChange(NodeTable& table, uint64_t epoch, Place one, Place other);
  ~NameChange();
  /// Etimedout: another change in the directory has not ended within the RequestDeadline, and none may be
  /// made.
  [[nodiscard]] Result<void> result() const;
  NameChange(const NameChange&) = delete;
  NameChange& operator=(const NameChange&) = delete;

 private:
  bool lock() const;

  NodeTable& table_;
  const Place one_;
  const Place other_;
  const std::shared_ptr<NamesMutex> first_;   ///< in the order of the directories' addresses
  const std::shared_ptr<NamesMutex> second_;  ///< the same, where it is one directory
  const bool begun_;
};

}  // namespace cachefs::posix
