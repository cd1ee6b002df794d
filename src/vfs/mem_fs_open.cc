// MemFs: open files and directory streams.
#include <algorithm>

#include "vfs/mem_fs_access.h"
#include "vfs/mem_fs_core.h"

namespace cachefs::mem {

class MemFile final : public File {
 public:
  MemFile(MemFs& fs, NodeRef node, const OpenFlags& flags)
      : fs_(fs), node_(std::move(node)), inode_(inode_of(node_)), flags_(flags) {}

  Result<size_t> read_at(uint64_t offset, std::span<const std::span<std::byte>> buffers) override;
  Result<size_t> write_at(uint64_t offset, std::span<const std::byte> data) override;
  Result<AppendResult> append(std::span<const std::byte> data) override;
  Result<Attributes> attributes() override;
  Result<Attributes> set_attributes(const AttributeChange& change, const Caller& caller) override;
  Result<void> sync(SyncKind kind) override;
  Result<void> flush() override { return {}; }
  Result<void> allocate(AllocateMode mode, uint64_t offset, uint64_t length) override;
  Result<uint64_t> seek(SeekKind kind, uint64_t offset) override;
  Result<uint64_t> copy_range(uint64_t offset, File& target, uint64_t target_offset,
                              uint64_t length) override;
  Result<void> close() override { return {}; }

 private:
  Result<size_t> write_locked(uint64_t offset, std::span<const std::byte> data) REQUIRES(fs_.mutex_);
  Result<void> allocate_locked(AllocateMode mode, uint64_t offset, uint64_t length, Pages& dropped)
      REQUIRES(fs_.mutex_);
  void content_changed(uint64_t end) REQUIRES(fs_.mutex_);

  MemFs& fs_;
  const NodeRef node_;
  Inode& inode_;
  const OpenFlags flags_;
};

Result<size_t> MemFile::read_at(uint64_t offset, std::span<const std::span<std::byte>> buffers) {
  if (!flags_.read) return fail(std::errc::bad_file_descriptor);
  size_t total = 0;
  MutexLock lock(fs_.mutex_);
  for (const std::span<std::byte> buffer : buffers) {
    const uint64_t at = offset + total;
    if (at >= inode_.size) break;
    const size_t count = std::min<uint64_t>(buffer.size(), inode_.size - at);
    inode_.data.read(at, buffer.first(count));
    total += count;
  }
  return total;
}

/// After bytes up to `end` have changed.
void MemFile::content_changed(uint64_t end) {
  inode_.size = std::max(inode_.size, end);
  inode_.mode = without_set_id(inode_.mode);
  fs_.touch_content(inode_);
}

Result<size_t> MemFile::write_locked(uint64_t offset, std::span<const std::byte> data) {
  if (!flags_.write) return fail(std::errc::bad_file_descriptor);
  if (offset > kFileSizeMax || data.size() > kFileSizeMax - offset) return fail(std::errc::file_too_large);
  if (data.empty()) return 0;
  const size_t written = inode_.data.write(offset, data);
  if (written == 0) return fail(std::errc::no_space_on_device);
  content_changed(offset + written);
  return written;
}

Result<size_t> MemFile::write_at(uint64_t offset, std::span<const std::byte> data) {
  MutexLock lock(fs_.mutex_);
  return write_locked(offset, data);
}

Result<AppendResult> MemFile::append(std::span<const std::byte> data) {
  MutexLock lock(fs_.mutex_);
  const uint64_t offset = inode_.size;
  auto written = write_locked(offset, data);
  if (!written) return std::unexpected(written.error());
  return AppendResult{.offset = offset, .size = *written};
}

Result<Attributes> MemFile::attributes() {
  MutexLock lock(fs_.mutex_);
  return fs_.attributes_of(inode_);
}

Result<Attributes> MemFile::set_attributes(const AttributeChange& change, const Caller& caller) {
  if (change.size && !flags_.write) return fail(std::errc::invalid_argument);
  Pages dropped;  // freed after the lock is released
  MutexLock lock(fs_.mutex_);
  return fs_.change(inode_, change, caller, /*by_handle=*/true, dropped);
}

Result<void> MemFile::sync(SyncKind /*kind*/) { return {}; }

Result<void> MemFile::allocate(AllocateMode mode, uint64_t offset, uint64_t length) {
  if (!flags_.write) return fail(std::errc::bad_file_descriptor);
  if (length == 0) return fail(std::errc::invalid_argument);
  if (offset > kFileSizeMax || length > kFileSizeMax - offset) return fail(std::errc::file_too_large);
  Pages dropped;  // freed after the lock is released
  MutexLock lock(fs_.mutex_);
  return allocate_locked(mode, offset, length, dropped);
}

Result<void> MemFile::allocate_locked(AllocateMode mode, uint64_t offset, uint64_t length, Pages& dropped) {
  const bool clears = mode != AllocateMode::extend && mode != AllocateMode::keep_size;
  const bool takes = mode != AllocateMode::punch_hole;
  const bool extends = mode == AllocateMode::extend || mode == AllocateMode::zero_range;
  if (clears) dropped = inode_.data.discard(offset, length);
  const bool enough = !takes || inode_.data.reserve(offset, length);
  if (enough || clears) content_changed(enough && extends ? offset + length : 0);
  if (!enough) return fail(std::errc::no_space_on_device);
  return {};
}

Result<uint64_t> MemFile::seek(SeekKind kind, uint64_t offset) {
  MutexLock lock(fs_.mutex_);
  if (offset >= inode_.size) return fail(std::errc::no_such_device_or_address);
  if (kind == SeekKind::hole) return std::min(inode_.data.next_hole(offset), inode_.size);
  const auto data = inode_.data.next_data(offset);
  if (!data || *data >= inode_.size) return fail(std::errc::no_such_device_or_address);
  return *data;
}

Result<uint64_t> MemFile::copy_range(uint64_t offset, File& target, uint64_t target_offset, uint64_t length) {
  auto* other = dynamic_cast<MemFile*>(&target);
  if (other == nullptr || &other->fs_ != &fs_) return fail(std::errc::cross_device_link);
  if (!flags_.read || !other->flags_.write) return fail(std::errc::bad_file_descriptor);
  Pages dropped;  // freed after the lock is released
  MutexLock lock(fs_.mutex_);
  if (offset >= inode_.size) return 0;
  length = std::min(length, inode_.size - offset);
  if (target_offset > kFileSizeMax || length > kFileSizeMax - target_offset)
    return fail(std::errc::file_too_large);
  if (length == 0) return 0;
  const bool overlaps = offset < target_offset + length && target_offset < offset + length;
  if (&other->inode_ == &inode_ && overlaps) return fail(std::errc::invalid_argument);
  const uint64_t copied = other->inode_.data.copy_from(inode_.data, offset, target_offset, length, dropped);
  if (copied == 0) return fail(std::errc::no_space_on_device);
  Inode& changed = other->inode_;
  changed.size = std::max(changed.size, target_offset + copied);
  changed.mode = without_set_id(changed.mode);
  fs_.touch_content(changed);
  return copied;
}

Result<void> MemFs::check_open(const Inode& inode, const OpenFlags& flags, const Caller& caller,
                               bool just_made) const {
  if (inode.is_directory()) return fail(std::errc::is_a_directory);
  if (inode.kind == FileKind::symlink) return fail(std::errc::too_many_symbolic_link_levels);
  if (inode.kind != FileKind::regular) return fail(std::errc::no_such_device_or_address);
  if ((!flags.read && !flags.write) || (flags.truncate && !flags.write))
    return fail(std::errc::invalid_argument);
  if (just_made) return {};
  const uint32_t reading = flags.execute ? kMayExecute : kMayRead;
  return check_access(inode, (flags.read ? reading : 0) | (flags.write ? kMayWrite : 0), caller);
}

std::unique_ptr<File> MemFs::open_inode(const NodeRef& node, const OpenFlags& flags, Pages& dropped) {
  Inode& inode = inode_of(node);
  if (flags.truncate) {
    set_size(inode, 0, dropped);
    inode.mode = without_set_id(inode.mode);
  }
  return std::make_unique<MemFile>(*this, node, flags);
}

Result<OpenedFile> MemFs::open(Node& node, const OpenFlags& flags, const Caller& caller) {
  Pages dropped;  // freed after the lock is released
  MutexLock lock(mutex_);
  Inode& inode = inode_of(node);
  if (auto good = check_open(inode, flags, caller, /*just_made=*/false); !good)
    return std::unexpected(good.error());
  auto file = open_inode(NodeRef(&node), flags, dropped);
  return OpenedFile{.file = std::move(file), .attributes = attributes_of(inode)};
}

/// Ends where the directory ended when it was opened, or last sought in: names made later are not shown, and
/// no writer keeps it going.
class MemStream final : public DirectoryStream {
 public:
  MemStream(MemFs& fs, NodeRef node, uint64_t end) : fs_(fs), node_(std::move(node)), end_(end) {}

  Result<std::vector<DirectoryEntry>> next_batch() override {
    constexpr size_t kBatch = 64;
    std::vector<DirectoryEntry> batch;
    MutexLock lock(fs_.mutex_);
    const Inode& directory = inode_of(node_);
    while (batch.size() < kBatch) {
      const DirectorySlot* slot = directory.entries.next(position_);
      if (slot == nullptr || position_ > end_) break;
      const Inode& inode = inode_of(slot->node);
      batch.push_back(
          {.name = slot->name, .inode = fs_.shown_number(inode), .cookie = position_, .kind = inode.kind});
    }
    return batch;
  }

  Result<void> seek(uint64_t cookie) override {
    MutexLock lock(fs_.mutex_);
    position_ = cookie;
    end_ = inode_of(node_).entries.end_position();
    return {};
  }

 private:
  MemFs& fs_;
  const NodeRef node_;
  uint64_t end_;
  uint64_t position_ = 0;  ///< of the next slot: behind the last one, so that it is that entry's cookie
};

Result<std::unique_ptr<DirectoryStream>> MemFs::open_directory(Node& node, const Caller& caller) {
  MutexLock lock(mutex_);
  const Inode& directory = inode_of(node);
  if (!directory.is_directory()) return fail(std::errc::not_a_directory);
  if (auto allowed = check_access(directory, kMayRead, caller); !allowed)
    return std::unexpected(allowed.error());
  return std::make_unique<MemStream>(*this, NodeRef(&node), directory.entries.end_position());
}

}  // namespace cachefs::mem
