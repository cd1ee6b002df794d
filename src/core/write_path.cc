// The life of a write: the source first, then the blocks that it touches.
#include "core/cache_file.h"

namespace cachefs {

Result<size_t> CacheFs::Impl::write(CacheFile& file, uint64_t offset, std::span<const std::byte> data) {
  if (data.empty()) return size_t{0};
  const Result<std::shared_ptr<File>> source_file = file.source_file();
  if (!source_file) return std::unexpected(source_file.error());
  CacheNode& node = file.node();
  MutexLock changing(node.change_mutex);
  const ChangeStart start = begin_change(node, source_file->get(), file.opener());
  const Result<size_t> written = (*source_file)->write_at(offset, data);
  const Result<Attributes> after = (*source_file)->attributes();
  carry_over(node, start, offset, written ? data.first(*written) : std::span<const std::byte>(), after);
  return written;
}

Result<AppendResult> CacheFs::Impl::append(CacheFile& file, std::span<const std::byte> data) {
  const Result<std::shared_ptr<File>> source_file = file.source_file();
  if (!source_file) return std::unexpected(source_file.error());
  CacheNode& node = file.node();
  MutexLock changing(node.change_mutex);
  const ChangeStart start = begin_change(node, source_file->get(), file.opener());
  const Result<AppendResult> written = (*source_file)->append(data);
  const Result<Attributes> after = (*source_file)->attributes();
  carry_over(node, start, written ? written->offset : 0,
             written ? data.first(written->size) : std::span<const std::byte>(), after);
  return written;
}

/// Ends the change: puts what was written into the blocks, if it is sure that it is all that changed. Nothing
/// written: it failed, perhaps in part, and nothing cached may stay.
void CacheFs::Impl::carry_over(CacheNode& node, ChangeStart start, uint64_t offset,
                               std::span<const std::byte> written, const Result<Attributes>& after) {
  const uint64_t end = offset + written.size();
  if (start.size_known) start.size_after = std::max(start.size, end);
  const bool kept = after && !written.empty() && after->size >= end &&
                    (!start.size_after || after->size == *start.size_after);
  if (kept) {
    blocks.apply_write({.file = node.id,
                        .generation = start.generation,
                        .offset = offset,
                        .data = written,
                        .old_size = start.size_known ? start.size : UINT64_MAX,
                        .new_size = after->size});
    MutexLock lock(node.mutex);
    if (node.state.generation == start.generation) node.state.has_content = true;
  }
  end_change(node, start, after ? std::optional(*after) : std::nullopt, kept);
}

}  // namespace cachefs
