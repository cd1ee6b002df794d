#include "mount/tree_fs.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <string_view>

namespace cachefs::test {
namespace {

// A number is that of a directory, from 1 on, in its upper half, and that of a file in it in the lower. The
// root has one that no directory can have.
constexpr uint64_t kRoot = 1;
constexpr unsigned kDirectoryBits = 32;

uint64_t number_of_directory(uint32_t index) { return uint64_t{index + 1} << kDirectoryBits; }
bool is_directory(uint64_t number) { return number == kRoot || static_cast<uint32_t>(number) == 0; }
uint32_t directory_of(uint64_t number) { return static_cast<uint32_t>(number >> kDirectoryBits) - 1; }
uint32_t file_of(uint64_t number) { return static_cast<uint32_t>(number) - 1; }

std::string content_of(uint64_t number) {
  return TreeFs::directory_name(directory_of(number)) + "/" + TreeFs::file_name(file_of(number));
}

Attributes attributes_of(uint64_t number) {
  Attributes attributes;
  attributes.identity = {.device = 1, .inode = number, .generation = 0};
  attributes.version = {.high = 1, .low = number};
  attributes.kind = is_directory(number) ? FileKind::directory : FileKind::regular;
  attributes.mode = is_directory(number) ? 0755 : 0644;
  attributes.nlink = 1;
  attributes.size = is_directory(number) ? 4096 : content_of(number).size();
  return attributes;
}

/// The index in a name that begins so, if it is the name of that index.
std::optional<uint32_t> index_in(std::string_view name, std::string_view begin,
                                 std::string (*name_of)(uint32_t)) {
  if (!name.starts_with(begin)) return std::nullopt;
  const auto index =
      static_cast<uint32_t>(std::strtoul(std::string(name.substr(begin.size())).c_str(), nullptr, 10));
  return name_of(index) == name ? std::optional(index) : std::nullopt;
}

std::unexpected<Error> read_only() { return fail(std::errc::read_only_file_system); }

class TreeFile final : public File {
 public:
  explicit TreeFile(uint64_t number) : number_(number), content_(content_of(number)) {}

  Result<size_t> read_at(uint64_t offset, std::span<const std::span<std::byte>> buffers) override {
    size_t done = 0;
    for (const std::span<std::byte> buffer : buffers) {
      const size_t at = std::min<uint64_t>(offset + done, content_.size());
      const size_t size = std::min(buffer.size(), content_.size() - at);
      std::memcpy(buffer.data(), content_.data() + at, size);
      done += size;
    }
    return done;
  }
  Result<size_t> write_at(uint64_t, std::span<const std::byte>) override { return read_only(); }
  Result<AppendResult> append(std::span<const std::byte>) override { return read_only(); }
  Result<Attributes> attributes() override { return attributes_of(number_); }
  Result<Attributes> set_attributes(const AttributeChange&, const Caller&) override { return read_only(); }
  Result<void> sync(SyncKind) override { return {}; }
  Result<void> flush() override { return {}; }
  Result<void> allocate(AllocateMode, uint64_t, uint64_t) override { return read_only(); }
  Result<uint64_t> seek(SeekKind, uint64_t) override { return fail(std::errc::operation_not_supported); }
  Result<uint64_t> copy_range(uint64_t, File&, uint64_t, uint64_t) override { return read_only(); }
  Result<void> close() override { return {}; }

 private:
  const uint64_t number_;
  const std::string content_;
};

class TreeStream final : public DirectoryStream {
 public:
  TreeStream(uint64_t number, uint32_t count) : number_(number), count_(count) {}

  Result<std::vector<DirectoryEntry>> next_batch() override {
    constexpr uint32_t kBatch = 256;
    std::vector<DirectoryEntry> batch;
    for (; next_ < count_ && batch.size() < kBatch; ++next_) batch.push_back(entry(next_));
    return batch;
  }
  Result<void> seek(uint64_t cookie) override {
    next_ = static_cast<uint32_t>(cookie);
    return {};
  }

 private:
  [[nodiscard]] DirectoryEntry entry(uint32_t index) const {
    const bool in_root = number_ == kRoot;
    return {.name = in_root ? TreeFs::directory_name(index) : TreeFs::file_name(index),
            .inode = in_root ? number_of_directory(index) : number_ + index + 1,
            .cookie = index + 1,
            .kind = in_root ? FileKind::directory : FileKind::regular};
  }

  const uint64_t number_;
  const uint32_t count_;
  uint32_t next_ = 0;
};

}  // namespace

class TreeFs::TreeNode final : public Node {
 public:
  TreeNode(TreeFs& fs, uint64_t node_number) : number(node_number), fs_(fs) {}
  const uint64_t number;
  [[nodiscard]] bool drop() { return drop_reference(); }

 private:
  void release_last() override { fs_.release(*this); }
  TreeFs& fs_;
};

TreeFs::TreeFs(const TreeSize& size) : size_(size) {
  capabilities_.type = "tree";
  capabilities_.xattrs = false;
  capabilities_.read_only = true;
  root_ = node_of(kRoot);
}

TreeFs::~TreeFs() { root_ = {}; }

std::string TreeFs::directory_name(uint32_t index) { return fmt::format("directory{:05}", index); }
std::string TreeFs::file_name(uint32_t index) { return fmt::format("file{:06}", index); }

NodeRef TreeFs::node_of(uint64_t number) {
  MutexLock lock(mutex_);
  TreeNode*& node = nodes_[number];
  if (node == nullptr) node = new TreeNode(*this, number);
  return NodeRef(node);
}

void TreeFs::release(TreeNode& node) {
  {
    MutexLock lock(mutex_);
    if (!node.drop()) return;
    nodes_.erase(node.number);
  }
  delete &node;
}

Result<Entry> TreeFs::lookup(Node& directory, std::string_view name, const Caller& /*caller*/) {
  const uint64_t above = static_cast<TreeNode&>(directory).number;
  const auto index =
      above == kRoot ? index_in(name, "directory", directory_name) : index_in(name, "file", file_name);
  if (!index || *index >= (above == kRoot ? size_.directories : size_.files))
    return fail(std::errc::no_such_file_or_directory);
  const uint64_t number = above == kRoot ? number_of_directory(*index) : above + *index + 1;
  return Entry{.node = node_of(number), .attributes = attributes_of(number)};
}

Result<Attributes> TreeFs::attributes(Node& node, const Caller& /*caller*/) {
  return attributes_of(static_cast<TreeNode&>(node).number);
}

Result<OpenedFile> TreeFs::open(Node& node, const OpenFlags& flags, const Caller& /*caller*/) {
  if (flags.write) return read_only();
  const uint64_t number = static_cast<TreeNode&>(node).number;
  return OpenedFile{.file = std::make_unique<TreeFile>(number), .attributes = attributes_of(number)};
}

Result<std::unique_ptr<DirectoryStream>> TreeFs::open_directory(Node& node, const Caller& /*caller*/) {
  const uint64_t number = static_cast<TreeNode&>(node).number;
  if (!is_directory(number)) return fail(std::errc::not_a_directory);
  return std::make_unique<TreeStream>(number, number == kRoot ? size_.directories : size_.files);
}

Result<Attributes> TreeFs::set_attributes(Node&, const AttributeChange&, const Caller&) {
  return read_only();
}
Result<CreatedFile> TreeFs::create(Place, const CreateOptions&, const Caller&) { return read_only(); }
Result<Entry> TreeFs::make(Place, const NewNode&, const Caller&) { return read_only(); }
Result<Entry> TreeFs::link(Node&, Place, const Caller&) { return read_only(); }
Result<void> TreeFs::remove(Place, RemoveKind, const Caller&) { return read_only(); }
Result<void> TreeFs::rename(Place, Place, RenameMode, const Caller&) { return read_only(); }
Result<std::string> TreeFs::read_link(Node&, const Caller&) { return fail(std::errc::invalid_argument); }

}  // namespace cachefs::test
