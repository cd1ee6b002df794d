// A directory of a file system as a file system of its own.
#include "cachefs/path_operations.h"

namespace cachefs {
namespace {

class SubFs final : public FileSystem {
 public:
  SubFs(FileSystem& base, NodeRef root) : base_(base), root_(std::move(root)) {}

  [[nodiscard]] const Capabilities& capabilities() const override { return base_.capabilities(); }
  NodeRef root() override { return root_; }
  Result<Entry> lookup(Node& directory, std::string_view name, const Caller& caller) override {
    return base_.lookup(directory, name, caller);
  }
  Result<Attributes> attributes(Node& node, const Caller& caller) override {
    return base_.attributes(node, caller);
  }
  Result<Attributes> set_attributes(Node& node, const AttributeChange& change,
                                    const Caller& caller) override {
    return base_.set_attributes(node, change, caller);
  }
  Result<OpenedFile> open(Node& node, const OpenFlags& flags, const Caller& caller) override {
    return base_.open(node, flags, caller);
  }
  Result<CreatedFile> create(Place place, const CreateOptions& options, const Caller& caller) override {
    return base_.create(place, options, caller);
  }
  Result<Entry> make(Place place, const NewNode& spec, const Caller& caller) override {
    return base_.make(place, spec, caller);
  }
  Result<Entry> link(Node& node, Place place, const Caller& caller) override {
    return base_.link(node, place, caller);
  }
  Result<void> remove(Place place, RemoveKind kind, const Caller& caller) override {
    return base_.remove(place, kind, caller);
  }
  Result<void> rename(Place from, Place to, RenameMode mode, const Caller& caller) override {
    return base_.rename(from, to, mode, caller);
  }
  Result<std::string> read_link(Node& node, const Caller& caller) override {
    return base_.read_link(node, caller);
  }
  Result<std::unique_ptr<DirectoryStream>> open_directory(Node& node, const Caller& caller) override {
    return base_.open_directory(node, caller);
  }
  Result<void> sync_directory(Node& node) override { return base_.sync_directory(node); }
  Result<FileSystemStatistics> statistics(Node& node) override { return base_.statistics(node); }
  XattrStore* xattrs() override { return base_.xattrs(); }
  LockStore* locks() override { return base_.locks(); }
  Reachability* reachability() override { return base_.reachability(); }

 private:
  FileSystem& base_;
  const NodeRef root_;
};

}  // namespace

Result<std::unique_ptr<FileSystem>> sub(const PathContext& context, std::string_view path) {
  auto entry = resolve(context, path);
  if (!entry) return std::unexpected(entry.error().during(path));
  if (entry->attributes.kind != FileKind::directory)
    return fail(std::errc::not_a_directory, std::string(path));
  return std::make_unique<SubFs>(context.fs(), std::move(entry->node));
}

}  // namespace cachefs
