// PosixFs itself: each operation gets its descriptors first, as this process, and then runs as its caller.
#pragma once

#include "vfs/posix_locks.h"
#include "vfs/posix_source.h"
#include "vfs/posix_xattrs.h"

namespace cachefs::posix {

class PosixFs final : public FileSystem {
 public:
  explicit PosixFs(std::unique_ptr<PosixSource> source)
      : source_(std::move(source)), xattrs_(*source_), locks_(*source_) {}

  [[nodiscard]] const Capabilities& capabilities() const override { return source_->capabilities(); }
  NodeRef root() override { return source_->root(); }
  Result<Entry> lookup(Node& directory, std::string_view name, const Caller& caller) override;
  Result<Attributes> attributes(Node& node, const Caller& caller) override;
  Result<Attributes> set_attributes(Node& node, const AttributeChange& change, const Caller& caller) override;
  /// Regular files only, so that no fifo or device is opened by accident: EISDIR, ELOOP (a symlink), ENXIO.
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
  XattrStore* xattrs() override { return capabilities().xattrs ? &xattrs_ : nullptr; }
  LockStore* locks() override { return capabilities().locks != LockReach::none ? &locks_ : nullptr; }

  Reachability* reachability() override { return source_.get(); }

  void check_invariants() const { source_->table().check_invariants(); }

 private:
  Result<CreatedFile> create_new(const UniqueFd& directory, Place place, const CreateOptions& options,
                                 const Caller& caller);
  Result<CreatedFile> open_existing(const UniqueFd& directory, Place place, const CreateOptions& options,
                                    const Caller& caller);
  Result<OpenedFile> open_as_caller(PosixNode& node, const UniqueFd& path, const OpenFlags& flags,
                                    const Caller& caller);
  mode_t mode_of_new(const UniqueFd& directory, uint32_t mode, const Caller& caller) const;
  Result<void> make_name(const UniqueFd& directory, const std::string& name, const NewNode& spec,
                         const Caller& caller);
  /// The node that a change is about to take its last name from, with a descriptor that stays.
  struct Victim {
    NodeRef node;
    SharedFd fd;
  };
  Victim hold(Place place, const Caller& caller);
  void keep_if_nameless(const Victim& victim);

  std::unique_ptr<PosixSource> source_;
  PosixXattrs xattrs_;
  PosixLocks locks_;
};

}  // namespace cachefs::posix
