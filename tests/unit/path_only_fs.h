// A source that knows paths alone, as sshfs does: what it tells of an open file is of the file that has the
// path now, while the file's bytes stay those of the one that was opened. A read beyond the end asks for the
// size first.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "cachefs/file_system.h"
#include "cachefs/path_operations.h"

namespace cachefs::test {

class PathNode final : public Node {
 public:
  explicit PathNode(std::string where) : path(std::move(where)) {}
  const std::string path;
};

class PathOnlyFile final : public File {
 public:
  PathOnlyFile(FileSystem& below, std::string path, std::unique_ptr<File> file)
      : below_(below), path_(std::move(path)), file_(std::move(file)) {}

  Result<size_t> read_at(uint64_t offset, std::span<const std::span<std::byte>> buffers) override {
    uint64_t end = offset;
    for (const auto& buffer : buffers) end += buffer.size();
    const auto size = file_->attributes();
    if (size && end > size->size) {
      if (const auto now = attributes(); !now) return std::unexpected(now.error());
    }
    return file_->read_at(offset, buffers);
  }
  Result<size_t> write_at(uint64_t offset, std::span<const std::byte> data) override {
    return file_->write_at(offset, data);
  }
  Result<AppendResult> append(std::span<const std::byte> data) override { return file_->append(data); }
  Result<Attributes> attributes() override { return stat(below_, path_); }
  Result<Attributes> set_attributes(const AttributeChange& change, const Caller& caller) override {
    const auto changed = file_->set_attributes(change, caller);
    return changed ? attributes() : changed;
  }
  Result<void> sync(SyncKind kind) override { return file_->sync(kind); }
  Result<void> flush() override { return file_->flush(); }
  Result<void> allocate(AllocateMode mode, uint64_t offset, uint64_t length) override {
    return file_->allocate(mode, offset, length);
  }
  Result<uint64_t> seek(SeekKind kind, uint64_t offset) override { return file_->seek(kind, offset); }
  Result<uint64_t> copy_range(uint64_t offset, File& target, uint64_t target_offset,
                              uint64_t length) override {
    return file_->copy_range(offset, *static_cast<PathOnlyFile&>(target).file_, target_offset, length);
  }
  Result<void> close() override { return file_->close(); }

 private:
  FileSystem& below_;
  const std::string path_;
  const std::unique_ptr<File> file_;
};

/// Over any file system, which must outlive it.
class PathOnlyFs final : public FileSystem {
 public:
  explicit PathOnlyFs(FileSystem& below) : below_(below), capabilities_(below.capabilities()) {
    capabilities_.stable_identity = false;
    capabilities_.xattrs = false;
  }

  [[nodiscard]] const Capabilities& capabilities() const override { return capabilities_; }
  NodeRef root() override { return NodeRef(new PathNode("/")); }
  Result<Entry> lookup(Node& directory, std::string_view name, const Caller& /*caller*/) override {
    const std::string path = below(directory, name);
    const auto attributes = lstat(below_, path);
    if (!attributes) return std::unexpected(attributes.error());
    return Entry{NodeRef(new PathNode(path)), *attributes};
  }
  Result<Attributes> attributes(Node& node, const Caller& /*caller*/) override {
    return lstat(below_, path_of(node));
  }
  Result<Attributes> set_attributes(Node& node, const AttributeChange& change,
                                    const Caller& caller) override {
    const auto found = at(node);
    return found ? below_.set_attributes(**found, change, caller) : std::unexpected(found.error());
  }
  Result<OpenedFile> open(Node& node, const OpenFlags& flags, const Caller& caller) override {
    const auto found = at(node);
    if (!found) return std::unexpected(found.error());
    auto opened = below_.open(**found, flags, caller);
    if (opened) opened->file = wrap(path_of(node), std::move(opened->file));
    return opened;
  }
  Result<CreatedFile> create(Place place, const CreateOptions& options, const Caller& caller) override {
    const auto found = at(place.directory);
    if (!found) return std::unexpected(found.error());
    auto created = below_.create({**found, place.name}, options, caller);
    if (!created) return created;
    const std::string path = below(place.directory, place.name);
    created->file = wrap(path, std::move(created->file));
    created->entry.node = NodeRef(new PathNode(path));
    return created;
  }
  Result<Entry> make(Place place, const NewNode& spec, const Caller& caller) override {
    const auto found = at(place.directory);
    if (!found) return std::unexpected(found.error());
    auto made = below_.make({**found, place.name}, spec, caller);
    if (made) made->node = NodeRef(new PathNode(below(place.directory, place.name)));
    return made;
  }
  Result<Entry> link(Node& node, Place place, const Caller& /*caller*/) override {
    const std::string path = below(place.directory, place.name);
    if (const auto made = cachefs::link(below_, path_of(node), path); !made)
      return std::unexpected(made.error());
    return lookup(place.directory, place.name, Caller::self());
  }
  Result<void> remove(Place place, RemoveKind /*kind*/, const Caller& /*caller*/) override {
    return cachefs::remove(below_, below(place.directory, place.name));
  }
  Result<void> rename(Place from, Place to, RenameMode mode, const Caller& /*caller*/) override {
    return cachefs::rename(below_, below(from.directory, from.name), below(to.directory, to.name), mode);
  }
  Result<std::string> read_link(Node& node, const Caller& /*caller*/) override {
    return cachefs::read_link(below_, path_of(node));
  }
  Result<std::unique_ptr<DirectoryStream>> open_directory(Node& node, const Caller& caller) override {
    const auto found = at(node);
    return found ? below_.open_directory(**found, caller) : std::unexpected(found.error());
  }
  Result<void> sync_directory(Node& /*node*/) override { return {}; }
  Result<FileSystemStatistics> statistics(Node& /*node*/) override { return statvfs(below_, "/"); }

 private:
  static const std::string& path_of(Node& node) { return static_cast<PathNode&>(node).path; }
  static std::string below(Node& directory, std::string_view name) {
    const std::string& path = path_of(directory);
    return (path == "/" ? path : path + "/") + std::string(name);
  }
  Result<NodeRef> at(Node& node) {
    const auto found = resolve(below_, path_of(node), FollowLast::no);
    return found ? Result<NodeRef>(found->node) : std::unexpected(found.error());
  }
  std::unique_ptr<File> wrap(std::string path, std::unique_ptr<File> file) {
    return std::make_unique<PathOnlyFile>(below_, std::move(path), std::move(file));
  }

  FileSystem& below_;
  Capabilities capabilities_;
};

}  // namespace cachefs::test
