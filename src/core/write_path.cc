// The life of a write: the source first, then the blocks that it touches.
#include "core/cache_file.h"
#include "core/file_turn.h"

namespace cachefs {

Result<size_t> CacheFs::Impl::write(CacheFile& file, uint64_t offset, std::span<const std::byte> data) {
  if (data.empty()) return size_t{0};
  const Result<std::shared_ptr<File>> source_file = file.source_file();
  if (!source_file) return std::unexpected(source_file.error());
  CacheNode& node = file.node();
  const uint64_t write_end = data.size() > UINT64_MAX - offset ? UINT64_MAX : offset + data.size();
  FileTurn turn(*this, node, offset, write_end);
  if (const auto refused = turn.refused()) return std::unexpected(*refused);
  const ChangeStart start = begin_change(turn, source_file->get(), file.opener());
  const Result<size_t> written = (*source_file)->write_at(offset, data);
  const bool keep = written && file.writes_to(start.generation);
  end_write(turn, start, **source_file, offset, keep ? data.first(*written) : std::span<const std::byte>());
  return written;
}

Result<AppendResult> CacheFs::Impl::append(CacheFile& file, std::span<const std::byte> data) {
  const Result<std::shared_ptr<File>> source_file = file.source_file();
  if (!source_file) return std::unexpected(source_file.error());
  CacheNode& node = file.node();
  FileTurn turn(*this, node, FileTurn::Kind::change, &TimeLimits::write);
  if (const auto refused = turn.refused()) return std::unexpected(*refused);
  const ChangeStart start = begin_change(turn, source_file->get(), file.opener());
  const Result<AppendResult> written = (*source_file)->append(data);
  const bool keep = written && file.writes_to(start.generation);
  end_write(turn, start, **source_file, keep ? written->offset : 0,
            keep ? data.first(written->size) : std::span<const std::byte>());
  return written;
}

/// Asks what the write led to, and puts the bytes into the blocks if it is sure that they are all that
/// changed. Nothing written: it failed, perhaps in part, or may have gone to another file (P2), and nothing
/// cached may stay.
void CacheFs::Impl::end_write(FileTurn& turn, const ChangeStart& start, File& file, uint64_t offset,
                              std::span<const std::byte> written) {
  ChangeEnd end{.asked = begin_request()};
  if (const Result<Attributes> after = file.attributes()) end.after = *after;
  const uint64_t write_end = offset + written.size();
  end.kept = end.after && !written.empty() && end.after->size >= write_end;
  if (end.kept) {
    end.write = {.file = turn.node().id,
                 .generation = start.generation,
                 .offset = offset,
                 .data = written,
                 .old_size = start.size_known || start.in_group ? start.size : UINT64_MAX,
                 .new_size = end.after->size,
                 .lifetime = lifetime_of(turn.node())};
  }
  end_change(turn, start, end);
}

}  // namespace cachefs
