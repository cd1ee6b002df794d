#include "core/cache_file.h"

#include <algorithm>

#include "core/file_turn.h"

namespace cachefs {

CacheFile::CacheFile(CacheFs::Impl& cache, CacheNode& file_node, const OpenFlags& open_flags, Caller opener,
                     Own own)
    : cache_(cache),
      node_(&file_node),
      flags_(open_flags),
      opener_(std::move(opener)),
      own_file_(std::move(own.file)),
      own_generation_(own.generation) {}

CacheFile::~CacheFile() {
  if (own_file_ != nullptr) forget_own_file();
  std::shared_ptr<File> last_reader;  // closed after the lock
  MutexLock lock(node().mutex);
  if (own_file_ == nullptr) --node().state.handles_without_file;
  if (--node().state.open_handles == 0) last_reader = std::move(node().state.reader);
}

Result<std::shared_ptr<File>> CacheFile::source_file() {
  if (own_file_ != nullptr) return own_file_;
  return cache_.shared_reader(node(), opener_, flags_);
}

Result<std::shared_ptr<File>> CacheFile::file_to_fetch(uint64_t generation) {
  if (own_file_ == nullptr || writes_to(generation)) return source_file();
  {
    // A file without a name: nothing is at its path, or another file that has a node of its own.
    MutexLock lock(node().mutex);
    if (node().has_no_path()) return own_file_;
  }
  return cache_.shared_reader(node(), opener_, flags_);
}

Result<std::shared_ptr<File>> CacheFile::file_to_pass_by() {
  auto file = source_file();
  if (file) return file;
  auto older = source_file_if_open();
  return older != nullptr ? Result<std::shared_ptr<File>>(std::move(older)) : file;
}

std::shared_ptr<File> CacheFile::source_file_if_open() {
  if (own_file_ != nullptr) return own_file_;
  MutexLock lock(node().mutex);
  return node().state.reader;
}

Result<size_t> CacheFile::read_at(uint64_t offset, std::span<const std::span<std::byte>> buffers) {
  if (!flags_.read) return fail(std::errc::bad_file_descriptor);
  if (buffers.size() == 1) return cache_.read(*this, offset, buffers.front());
  return read_scattered(offset, buffers);
}

/// In one piece first: two reads may see two versions.
Result<size_t> CacheFile::read_scattered(uint64_t offset, std::span<const std::span<std::byte>> buffers) {
  size_t size = 0;
  for (const std::span<std::byte> buffer : buffers) size += buffer.size();
  const auto whole = std::make_unique_for_overwrite<std::byte[]>(size);
  const Result<size_t> count = cache_.read(*this, offset, {whole.get(), size});
  if (!count) return count;
  size_t done = 0;
  for (const std::span<std::byte> buffer : buffers) {
    const size_t part = std::min(buffer.size(), *count - done);
    std::copy_n(whole.get() + done, part, buffer.data());
    done += part;
  }
  return done;
}

Result<size_t> CacheFile::write_at(uint64_t offset, std::span<const std::byte> data) {
  if (!flags_.write) return fail(std::errc::bad_file_descriptor);
  if (const auto out = cache_.outage()) return std::unexpected(*out);
  return cache_.write(*this, offset, data);
}

Result<AppendResult> CacheFile::append(std::span<const std::byte> data) {
  if (!flags_.write) return fail(std::errc::bad_file_descriptor);
  if (const auto out = cache_.outage()) return std::unexpected(*out);
  return cache_.append(*this, data);
}

Result<Attributes> CacheFile::attributes() {
  return cache_.checked_attributes(node(), source_file_if_open().get(), opener_, false);
}

Result<Attributes> CacheFile::set_attributes(const AttributeChange& change, const Caller& caller) {
  if (change.size && !flags_.write) return fail(std::errc::invalid_argument);
  if (const auto out = cache_.outage()) return std::unexpected(*out);
  Result<Attributes> changed = cache_.set_attributes(node(), source_file_if_open().get(), change, caller);
  if (!change.size) return changed;
  uint64_t generation = 0;
  {
    MutexLock lock(node().mutex);
    generation = node().state.generation;
  }
  if (!writes_to(generation)) cache_.distrust(node());
  return changed;
}

Result<void> CacheFile::sync(SyncKind kind) {
  // Of the file, not of this handle: others may have written.
  if (const auto out = cache_.outage()) return std::unexpected(*out);
  const auto file = source_file();
  return file ? trusted((*file)->sync(kind)) : std::unexpected(file.error());
}

Result<void> CacheFile::flush() {
  if (!flags_.write || own_file_ == nullptr) return {};
  if (const auto out = cache_.outage()) return std::unexpected(*out);
  return trusted(own_file_->flush());
}

/// What was written may never have arrived, if it was not stored.
Result<void> CacheFile::trusted(Result<void> stored) {
  if (!stored && flags_.write) cache_.distrust(node());
  return stored;
}

/// Nothing that is cached of the content stays: what the change made of it is not known here.
void CacheFile::end_change_of_content(FileTurn& turn, CacheFile& changed, const ChangeStart& start) {
  ChangeEnd end{.asked = changed.cache_.begin_request()};
  if (const Result<Attributes> after = changed.own_file_->attributes()) end.after = *after;
  changed.cache_.end_change(turn, start, end);
}

Result<void> CacheFile::allocate(AllocateMode mode, uint64_t offset, uint64_t length) {
  if (!flags_.write) return fail(std::errc::bad_file_descriptor);
  if (const auto out = cache_.outage()) return std::unexpected(*out);
  FileTurn turn(cache_, node(), FileTurn::Kind::change, &TimeLimits::write);
  if (const auto refused = turn.refused()) return std::unexpected(*refused);
  const ChangeStart start = cache_.begin_change(turn, own_file_.get(), opener_);
  Result<void> result = own_file_->allocate(mode, offset, length);
  end_change_of_content(turn, *this, start);
  return result;
}

Result<uint64_t> CacheFile::seek(SeekKind kind, uint64_t offset) {
  const auto file = source_file();
  return file ? (*file)->seek(kind, offset) : std::unexpected(file.error());
}

Result<uint64_t> CacheFile::copy_range(uint64_t offset, File& target, uint64_t target_offset,
                                       uint64_t length) {
  auto& to = static_cast<CacheFile&>(target);
  if (!flags_.read || !to.flags_.write) return fail(std::errc::bad_file_descriptor);
  const auto from_file = source_file();
  if (!from_file) return std::unexpected(from_file.error());
  if (const auto out = cache_.outage()) return std::unexpected(*out);
  FileTurn turn(cache_, to.node(), FileTurn::Kind::change, &TimeLimits::write);
  if (const auto refused = turn.refused()) return std::unexpected(*refused);
  const ChangeStart start = cache_.begin_change(turn, to.own_file_.get(), to.opener_);
  Result<uint64_t> copied = (*from_file)->copy_range(offset, *to.own_file_, target_offset, length);
  end_change_of_content(turn, to, start);
  return copied;
}

/// Somebody who found the file at the node may still be asking it something: then he who lets go of it last
/// closes it, and what there is to tell is told by a flush.
Result<void> CacheFile::close() {
  if (own_file_ == nullptr) return {};
  forget_own_file();
  if (const auto out = cache_.outage())
    return flags_.write ? std::unexpected(*out) : Result<void>();  // closed by whoever lets go of it last
  return trusted(own_file_.use_count() == 1 ? own_file_->close() : own_file_->flush());
}

void CacheFile::forget_own_file() {
  MutexLock lock(node().mutex);
  std::erase_if(node().state.own_files,
                [&](const std::weak_ptr<File>& file) { return file.lock() == own_file_; });
}

}  // namespace cachefs
