// A file of MemFs, and the entries of a directory.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/mutex.h"
#include "base/range_locks.h"
#include "cachefs/file_system.h"
#include "vfs/mem_fs_data.h"

namespace cachefs::mem {

/// Hands out inode numbers from 1: the lowest free one, or each once. Thread-safe.
class NumberPool {
 public:
  explicit NumberPool(bool reuse) : reuse_(reuse) {}
  uint64_t take();
  void give_back(uint64_t number);

 private:
  const bool reuse_;
  Mutex mutex_;
  uint64_t next_ GUARDED_BY(mutex_) = 1;
  std::set<uint64_t> free_ GUARDED_BY(mutex_);
};

struct DirectorySlot {
  std::string name;
  NodeRef node;
};

/// Names in a directory. Each has a position that grows with insertion and stays with the name, so that a
/// stream which remembers the last position sees each name once, whatever comes and goes. Not thread-safe.
class DirectoryTable {
 public:
  explicit DirectoryTable(bool case_sensitive) : case_sensitive_(case_sensitive) {}

  /// Null if there is none. Valid until the next change.
  [[nodiscard]] DirectorySlot* find(std::string_view name);
  /// `name` must not be there.
  void insert(std::string_view name, NodeRef node);
  /// `name` must be there. Returns what it led to.
  NodeRef erase(std::string_view name);

  [[nodiscard]] size_t size() const { return slots_.size(); }
  /// The position that the next insertion gets.
  [[nodiscard]] uint64_t end_position() const { return next_position_; }
  /// The first slot at or after `position`; null at the end. Moves `position` behind it.
  [[nodiscard]] const DirectorySlot* next(uint64_t& position) const;
  /// Takes all entries out.
  void drain(std::vector<NodeRef>& into);

 private:
  [[nodiscard]] std::string key(std::string_view name) const;

  const bool case_sensitive_;
  uint64_t next_position_ = 0;
  std::map<uint64_t, DirectorySlot> slots_;
  std::unordered_map<std::string, uint64_t> positions_;
};

/// What all inodes of a file system share.
struct InodeOwner {
  Space space;
  NumberPool numbers;
  std::atomic<uint64_t> inode_count{0};
};

/// An inode is its own Node: directory entries, open files and callers hold it alive together. All members
/// are guarded by MemFs::mutex_, but for those that never change.
class Inode final : public Node {
 public:
  Inode(InodeOwner& owner, FileKind kind, uint64_t generation, bool case_sensitive);
  ~Inode() override;

  const FileKind kind;
  const uint64_t number;
  const uint64_t generation;
  uint64_t change = 0;  ///< the file system's change counter at the last change
  uint64_t size = 0;
  uint64_t rdev = 0;
  uint32_t mode = 0;
  uint32_t nlink = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
  Timestamp atime, mtime, ctime, btime;
  SparseData data;
  std::string target;  ///< of a symlink
  std::map<std::string, std::string, std::less<>> xattrs;
  RangeLocks locks;
  DirectoryTable entries;
  Inode* parent = nullptr;  ///< of a directory that has a name; its own entry there keeps it alive

  [[nodiscard]] bool is_directory() const { return kind == FileKind::directory; }

 private:
  InodeOwner& owner_;
};

inline Inode& inode_of(Node& node) { return static_cast<Inode&>(node); }
inline Inode& inode_of(const NodeRef& node) { return static_cast<Inode&>(*node); }

}  // namespace cachefs::mem
