// A file system of any size that takes no memory: everything in it is computed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>

#include "base/mutex.h"
#include "cachefs/file_system.h"

namespace cachefs::test {

struct TreeSize {
  uint32_t directories = 1;
  uint32_t files = 1;  ///< in each
};

/// Read-only: /directory00000/file000000 and so on; a file's content is its path. Thread-safe.
class TreeFs final : public FileSystem {
 public:
  explicit TreeFs(const TreeSize& size);
  ~TreeFs() override;

  static std::string directory_name(uint32_t index);
  static std::string file_name(uint32_t index);

  [[nodiscard]] const Capabilities& capabilities() const override { return capabilities_; }
  NodeRef root() override { return root_; }
  Result<Entry> lookup(Node& directory, std::string_view name, const Caller& caller) override;
  Result<Attributes> attributes(Node& node, const Caller& caller) override;
  Result<OpenedFile> open(Node& node, const OpenFlags& flags, const Caller& caller) override;
  Result<std::unique_ptr<DirectoryStream>> open_directory(Node& node, const Caller& caller) override;
  Result<FileSystemStatistics> statistics(Node& /*node*/) override { return FileSystemStatistics{}; }

  Result<Attributes> set_attributes(Node&, const AttributeChange&, const Caller&) override;
  Result<CreatedFile> create(Place, const CreateOptions&, const Caller&) override;
  Result<Entry> make(Place, const NewNode&, const Caller&) override;
  Result<Entry> link(Node&, Place, const Caller&) override;
  Result<void> remove(Place, RemoveKind, const Caller&) override;
  Result<void> rename(Place, Place, RenameMode, const Caller&) override;
  Result<std::string> read_link(Node&, const Caller&) override;
  Result<void> sync_directory(Node&) override { return {}; }

 private:
  class TreeNode;
  NodeRef node_of(uint64_t number) EXCLUDES(mutex_);
  void release(TreeNode& node) EXCLUDES(mutex_);

  const TreeSize size_;
  Capabilities capabilities_;
  Mutex mutex_;
  std::unordered_map<uint64_t, TreeNode*> nodes_ GUARDED_BY(mutex_);  ///< that are referenced
  NodeRef root_;
};

}  // namespace cachefs::test
