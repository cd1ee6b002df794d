// Data of open files.
#include <fcntl.h>
#include <linux/falloc.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "mount/translate.h"

namespace cachefs::mount {
namespace {

/// A buffer of this thread, for answers that are sent before the next request. Readers are few.
std::span<std::byte> scratch(size_t size) {
  thread_local std::unique_ptr<std::byte[]> buffer;
  thread_local size_t capacity = 0;
  if (capacity < size) {
    buffer = std::make_unique_for_overwrite<std::byte[]>(size);
    capacity = size;
  }
  return {buffer.get(), size};
}

void reply_data(fuse_req_t req, std::span<const std::byte> data) {
  fuse_reply_buf(req, reinterpret_cast<const char*>(data.data()), data.size());
}

void reply_count(fuse_req_t req, uint64_t count) { fuse_reply_write(req, count); }

/// Whether the kernel keeps what it reads, and reads more than it was asked for.
bool reads_ahead(const OpenFile& file, const fuse_file_info& info) {
  return !file.past_pages && (info.flags & O_DIRECT) == 0;
}

void on_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, fuse_file_info* info) {
  MountState& mount = mount_of(req);
  OpenFile& reading = OpenFiles::peek(info->fh);
  reading.uses();
  if (mount.view != nullptr) {
    const std::span<std::byte> out = scratch(size);
    const auto known = mount.view->try_read_at(*reading.file, static_cast<uint64_t>(offset), out);
    if (known) return reply_data(req, out.first(*known));
  }
  const bool ahead = reads_ahead(reading, *info);
  if (ahead && reading.unanswered.take(static_cast<uint64_t>(offset))) {
    fuse_reply_err(req, ETIMEDOUT);
    return;
  }
  submit(req, ino, OperationClass::read,
         [file = OpenFiles::at(info->fh), size, offset = static_cast<uint64_t>(offset),
          ahead](Request& request) {
           const auto buffer = std::make_unique_for_overwrite<std::byte[]>(size);
           const std::span<std::byte> out(buffer.get(), size);
           // Short only at the end of the file where the kernel keeps pages (CacheFs promises that), else as
           // the source is: with direct I/O a program sees a short read as such.
           const Result<size_t> read = file->file->read_at(offset, out);
           if (ahead && !read && read.error().is(std::errc::timed_out)) file->unanswered.note(offset, size);
           answer(request, read, [out](fuse_req_t to, size_t count) { reply_data(to, out.first(count)); });
         });
}

/// Writes at the place that the kernel says, or for O_APPEND at the end as the source knows it: the kernel's
/// own idea of it may be old. Then other pages than those that the kernel takes for it are void, and it is
/// told; it also is where it drops no pages for what is written past them, as most of these writes are.
Result<size_t> write_or_append(MountState& mount, OpenFile& file, uint64_t offset, bool append,
                               std::span<const std::byte> data) {
  if (!append) return file.file->write_at(offset, data);
  const Result<AppendResult> appended = file.file->append(data);
  if (!appended) return std::unexpected(appended.error());
  if (appended->offset != offset || !mount.direct_writes_drop_pages)
    mount.notifier.on_data_changed(file.node->node());
  return appended->size;
}

/// What the write itself must make durable. The kernel asks for a sync after what it writes through its
/// pages, but not after what it writes past them. The flags are those of this write: RWF_SYNC and the mount
/// option `sync` are among them.
std::optional<SyncKind> sync_with(const OpenFile& file, const fuse_file_info& info) {
  if (!file.past_pages || info.writepage) return std::nullopt;
  return sync_wanted(info.flags);
}

/// The change's own error is told first.
template <typename T>
Result<T> synced(File& file, Result<T> changed, std::optional<SyncKind> sync) {
  if (!changed || !sync) return changed;
  const Result<void> done = file.sync(*sync);
  if (!done) return std::unexpected(done.error());
  return changed;
}

/// A sync takes as long as it takes.
Span span_with(std::optional<SyncKind> sync) { return sync ? Span::open_ended : Span::limited; }

void answer_write(MountState& mount, Request& request, const OpenFile& file, const Result<size_t>& written) {
  answer_change(request, written, reply_count, [&] { mount.notifier.on_data_changed(file.node->node()); });
}

/// An asynchronous write with O_DIRECT (from io_submit(2), io_uring) leaves pages alone that somebody else
/// has read into the kernel while it was under way: the kernel drops them when it begins, but not when it
/// ends.
bool leaves_pages(const MountState& mount, const fuse_file_info& info) {
  return mount.kernel_caches && (info.flags & O_DIRECT) != 0 && !info.writepage;
}

void on_write(fuse_req_t req, fuse_ino_t ino, const char* bytes, size_t size, off_t offset,
              fuse_file_info* info) {
  MountState& mount = mount_of(req);
  const auto* begin = reinterpret_cast<const std::byte*>(bytes);
  // Pages of a mapping are written back to where they belong, whatever the flags of the file that lends its
  // handle.
  const bool append = (info->flags & O_APPEND) != 0 && !info->writepage;
  const bool drops_pages = leaves_pages(mount, *info);  // before the answer
  const std::optional<SyncKind> sync = sync_with(OpenFiles::peek(info->fh), *info);
  submit(
      req, ino, OperationClass::write,
      [&mount, file = OpenFiles::at(info->fh), offset = static_cast<uint64_t>(offset), append,
       data = std::vector<std::byte>(begin, begin + size), drops_pages, sync,
       under_way = std::make_shared<UnderWay>(mount.writes)](Request& request) {
        const Result<size_t> written =
            synced(*file->file, write_or_append(mount, *file, offset, append, data), sync);
        forget_set_id(mount, *file->node);
        if (!drops_pages) return answer_write(mount, request, *file, written);
        mount.notifier.drop_pages(file->node, offset, data.size(),
                                  [&mount, asking = request.shared_from_this(), file, written, under_way] {
                                    answer_write(mount, *asking, *file, written);
                                  });
      },
      span_with(sync));
}

void on_fsync(fuse_req_t req, fuse_ino_t ino, int data_only, fuse_file_info* info) {
  submit(
      req, ino, OperationClass::write,
      [file = OpenFiles::at(info->fh), kind = data_only != 0 ? SyncKind::data : SyncKind::all](
          Request& request) { answer(request, file->file->sync(kind), reply_done); },
      Span::open_ended);
}

std::optional<AllocateMode> allocate_mode(int mode) {
  switch (mode) {
    case 0:
      return AllocateMode::extend;
    case FALLOC_FL_KEEP_SIZE:
      return AllocateMode::keep_size;
    case FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE:
      return AllocateMode::punch_hole;
    case FALLOC_FL_ZERO_RANGE:
      return AllocateMode::zero_range;
    case FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE:
      return AllocateMode::zero_range_keep_size;
    default:
      return std::nullopt;
  }
}

void on_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
                  fuse_file_info* info) {
  MountState& mount = mount_of(req);
  const std::optional<AllocateMode> wanted = allocate_mode(mode);
  if (!wanted || !mount.fs.capabilities().allocate) {
    fuse_reply_err(req, EOPNOTSUPP);
    return;
  }
  submit(
      req, ino, OperationClass::write,
      [&mount, file = OpenFiles::at(info->fh), mode = *wanted, offset = static_cast<uint64_t>(offset),
       length = static_cast<uint64_t>(length)](Request& request) {
        const Result<void> allocated =
            synced(*file->file, file->file->allocate(mode, offset, length), file->syncs);
        forget_set_id(mount, *file->node);
        answer_change(request, allocated, reply_done,
                      [&] { mount.notifier.on_data_changed(file->node->node()); });
      },
      Span::open_ended);
}

void on_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, fuse_file_info* info) {
  if (whence != SEEK_DATA && whence != SEEK_HOLE) {
    fuse_reply_err(req, EINVAL);
    return;
  }
  submit(req, ino, OperationClass::read,
         [file = OpenFiles::at(info->fh), kind = whence == SEEK_DATA ? SeekKind::data : SeekKind::hole,
          offset = static_cast<uint64_t>(offset)](Request& request) {
           answer(request, file->file->seek(kind, offset),
                  [](fuse_req_t to, uint64_t found) { fuse_reply_lseek(to, static_cast<off_t>(found)); });
         });
}

void on_copy_file_range(fuse_req_t req, fuse_ino_t ino, off_t offset, fuse_file_info* info,
                        fuse_ino_t /*target_ino*/, off_t target_offset, fuse_file_info* target_info,
                        size_t length, int flags) {
  if (flags != 0) {
    fuse_reply_err(req, EINVAL);
    return;
  }
  MountState& mount = mount_of(req);
  submit(
      req, ino, OperationClass::write,
      [&mount, source = OpenFiles::at(info->fh), offset = static_cast<uint64_t>(offset),
       target = OpenFiles::at(target_info->fh), target_offset = static_cast<uint64_t>(target_offset),
       length](Request& request) {
        // The answer has 32 bits for the count.
        constexpr uint64_t kLargestCopy = 1U << 30;
        const Result<uint64_t> copied =
            synced(*target->file,
                   source->file->copy_range(offset, *target->file, target_offset,
                                            std::min<uint64_t>(length, kLargestCopy)),
                   target->syncs);
        forget_set_id(mount, *target->node);
        answer_change(request, copied, reply_count,
                      [&] { mount.notifier.on_data_changed(target->node->node()); });
      },
      Span::open_ended);
}

}  // namespace

void add_data_operations(fuse_lowlevel_ops& operations) {
  operations.read = on_read;
  operations.write = on_write;
  operations.fsync = on_fsync;
  operations.fallocate = on_fallocate;
  operations.lseek = on_lseek;
  operations.copy_file_range = on_copy_file_range;
}

}  // namespace cachefs::mount
