// MemFs itself: one mutex over the whole tree. What leaves the tree is freed after the mutex is released.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/mutex.h"
#include "cachefs/file_system.h"
#include "cachefs/lock_store.h"
#include "cachefs/mem_fs.h"
#include "vfs/mem_fs_inode.h"

namespace cachefs::mem {

class MemFs;

class MemXattrs final : public XattrStore {
 public:
  explicit MemXattrs(MemFs& fs) : fs_(fs) {}
  Result<std::string> get(Node& node, std::string_view name, const Caller& caller) override;
  Result<std::vector<std::string>> list(Node& node, const Caller& caller) override;
  Result<void> set(Node& node, std::string_view name, std::string_view value, XattrMode mode,
                   const Caller& caller) override;
  Result<void> remove(Node& node, std::string_view name, const Caller& caller) override;

 private:
  MemFs& fs_;
};

class MemLocks final : public LockStore {
 public:
  explicit MemLocks(MemFs& fs) : fs_(fs) {}
  Result<void> set(Node& node, const LockRequest& request, const Caller& caller) override;
  Result<std::optional<HeldLock>> test(Node& node, const LockRequest& request, const Caller& caller) override;
  Result<void> release(Node& node, const LockOwner& owner) override;

 private:
  MemFs& fs_;
};

class MemFs final : public FileSystem {
 public:
  explicit MemFs(const MemFsOptions& options);
  ~MemFs() override;

  [[nodiscard]] const Capabilities& capabilities() const override { return capabilities_; }
  NodeRef root() override { return root_; }
  Result<Entry> lookup(Node& directory, std::string_view name, const Caller& caller) override;
  Result<Attributes> attributes(Node& node, const Caller& caller) override;
  Result<Attributes> set_attributes(Node& node, const AttributeChange& wanted, const Caller& caller) override;
  Result<OpenedFile> open(Node& node, const OpenFlags& flags, const Caller& caller) override;
  Result<CreatedFile> create(Place place, const CreateOptions& options, const Caller& caller) override;
  Result<Entry> make(Place place, const NewNode& spec, const Caller& caller) override;
  Result<Entry> link(Node& node, Place place, const Caller& caller) override;
  Result<void> remove(Place place, RemoveKind kind, const Caller& caller) override;
  Result<void> rename(Place from, Place to, RenameMode mode, const Caller& caller) override;
  Result<std::string> read_link(Node& node, const Caller& caller) override;
  Result<std::unique_ptr<DirectoryStream>> open_directory(Node& node, const Caller& caller) override;
  Result<void> sync_directory(Node& node) override;
  Result<FileSystemStatistics> statistics(Node& node) override;
  XattrStore* xattrs() override { return &xattrs_; }
  LockStore* locks() override { return &locks_; }

 private:
  friend class MemFile;
  friend class MemLocks;
  friend class MemStream;
  friend class MemXattrs;

  // Checks. All give nothing or the error of the POSIX call.
  [[nodiscard]] Result<void> check_name(std::string_view name) const;
  [[nodiscard]] Result<void> check_access(const Inode& inode, uint32_t wanted, const Caller& caller) const
      REQUIRES(mutex_);
  /// That `directory` is one; a name in it may be made or removed.
  [[nodiscard]] Result<void> check_change_of(const Inode& directory, std::string_view name,
                                             const Caller& caller) const REQUIRES(mutex_);
  [[nodiscard]] Result<void> check_removal(const Inode& directory, const Inode& inode,
                                           const Caller& caller) const REQUIRES(mutex_);
  [[nodiscard]] Result<void> check_rename(Place from, Inode& source, Place to, Inode* target, RenameMode mode,
                                          const Caller& caller) const REQUIRES(mutex_);

  // Answers and stamps.
  [[nodiscard]] Attributes attributes_of(const Inode& inode) REQUIRES(mutex_);
  [[nodiscard]] Entry entry_of(const NodeRef& node) REQUIRES(mutex_);
  [[nodiscard]] Version version_of(const Inode& inode) const REQUIRES(mutex_);
  [[nodiscard]] uint64_t shown_number(const Inode& inode) REQUIRES(mutex_);
  [[nodiscard]] Timestamp kept(Timestamp time) const;
  [[nodiscard]] Timestamp now() REQUIRES(mutex_);
  void touch_attributes(Inode& inode) REQUIRES(mutex_);  ///< ctime and version
  void touch_content(Inode& inode) REQUIRES(mutex_);     ///< mtime too

  // Steps of operations.
  NodeRef new_inode(const Inode& directory, FileKind kind, uint32_t mode, const Caller& caller)
      REQUIRES(mutex_);
  void add_entry(Inode& directory, std::string_view name, const NodeRef& node) REQUIRES(mutex_);
  /// Takes one name from `inode`.
  void drop_name(Inode& directory, Inode& inode) REQUIRES(mutex_);
  Result<Attributes> change(Inode& inode, const AttributeChange& wanted, const Caller& caller, bool by_handle,
                            Pages& dropped) REQUIRES(mutex_);
  [[nodiscard]] Result<void> check_open(const Inode& inode, const OpenFlags& flags, const Caller& caller,
                                        bool just_made) const REQUIRES(mutex_);
  std::unique_ptr<File> open_inode(const NodeRef& node, const OpenFlags& flags, Pages& dropped)
      REQUIRES(mutex_);
  void set_size(Inode& inode, uint64_t size, Pages& dropped) REQUIRES(mutex_);
  void move_entry(Place from, Place to) REQUIRES(mutex_);
  NodeRef replace_entry(Place from, Place to) REQUIRES(mutex_);
  void exchange_entries(Place from, Place to) REQUIRES(mutex_);
  void adopt(Inode& directory, Inode& former, Inode& inode) REQUIRES(mutex_);

  const MemFsOptions options_;
  const Capabilities capabilities_;
  InodeOwner owner_;
  MemXattrs xattrs_;
  MemLocks locks_;
  mutable Mutex mutex_;
  uint64_t next_generation_ GUARDED_BY(mutex_) = 1;
  uint64_t changes_ GUARDED_BY(mutex_) = 0;
  uint64_t answers_ GUARDED_BY(mutex_) = 0;  ///< for random numbers
  Timestamp last_stamp_ GUARDED_BY(mutex_);
  NodeRef root_;  ///< never changes
};

}  // namespace cachefs::mem
