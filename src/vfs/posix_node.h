// A file of a PosixFs, known by its identity or by its place.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "cachefs/file_system.h"

namespace cachefs::posix {

class NodeTable;

/// A name that led to a node.
struct NodeName {
  NodeRef parent;
  std::string name;
};

/// Of a directory: held while this process changes a name in it, up to and with the change in the node table,
/// so that the table learns of changes in the order in which they happened. The kernel holds a lock of its
/// own just so. Who waits for it does so until his request's deadline.
struct NamesMutex {
  explicit NamesMutex(uint64_t of) : epoch(of) {}
  const uint64_t epoch;  ///< of the root: what hangs on one that was let go of holds nobody up on the next
  TimedMutex mutex;
};

class PosixNode final : public Node {
 public:
  PosixNode(NodeTable& table, const FileIdentity& identity, FileKind kind)
      : table_(table), identity_(identity), kind_(kind) {}

  [[nodiscard]] const FileIdentity& identity() const { return identity_; }  ///< as of when the node was made
  [[nodiscard]] FileKind kind() const { return kind_; }

  /// Of a directory, on the root of that epoch (Reachability::epoch). Who is late has one to himself.
  std::shared_ptr<NamesMutex> names_mutex(uint64_t epoch);

 protected:
  void release_last() override;

 private:
  friend class NodeTable;

  NodeTable& table_;
  const FileIdentity identity_;
  const FileKind kind_;
  // Guarded by NodeTable::mutex_.
  std::vector<NodeName> names_;  ///< the newest last; of a directory one at most; of the root none
  uint64_t name_changes_ = 0;    ///< of a directory: changes of its names by this process
  std::shared_ptr<NamesMutex> names_mutex_;  ///< made at the first need
};

inline PosixNode& as_posix(Node& node) { return static_cast<PosixNode&>(node); }

}  // namespace cachefs::posix
