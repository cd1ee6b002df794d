// Whole-path forms that move a file's content, and the cursor.
#include <algorithm>
#include <limits>

#include "cachefs/path_operations.h"

namespace cachefs {
namespace {

constexpr size_t kReadStep = 128 * 1024;

}  // namespace

Result<std::string> read_file(const PathContext& context, std::string_view path) {
  auto file = open(context, path);
  if (!file) return std::unexpected(file.error());
  auto attributes = (*file)->attributes();
  if (!attributes) return std::unexpected(attributes.error());
  std::string content;
  size_t room =
      static_cast<size_t>(attributes->size) + 1;  // one more, so that the end is seen without another step
  while (true) {
    const size_t at = content.size();
    content.resize(at + room);
    auto count = (*file)->read_at(at, std::as_writable_bytes(std::span(content).subspan(at)));
    if (!count) return std::unexpected(count.error());
    content.resize(at + *count);
    if (*count == 0) break;
    room = std::max<size_t>(room - *count, kReadStep);
  }
  if (auto closed = (*file)->close(); !closed) return std::unexpected(closed.error());
  return content;
}

Result<void> write_file(const PathContext& context, std::string_view path, std::string_view content,
                        uint32_t mode) {
  auto file =
      open(context, path, {.read = false, .write = true, .create = true, .truncate = true, .mode = mode});
  if (!file) return std::unexpected(file.error());
  for (size_t done = 0; done < content.size();) {
    auto count = (*file)->write_at(done, std::as_bytes(std::span(content).subspan(done)));
    if (!count) return std::unexpected(count.error());
    if (*count == 0) return fail(std::errc::io_error);
    done += *count;
  }
  return (*file)->close();
}

Result<size_t> FileCursor::read(std::span<std::byte> out) {
  auto count = file_->read_at(position_, out);
  if (count) position_ += *count;
  return count;
}

Result<size_t> FileCursor::write(std::span<const std::byte> data) {
  if (!append_) {
    auto count = file_->write_at(position_, data);
    if (count) position_ += *count;
    return count;
  }
  auto appended = file_->append(data);
  if (!appended) return std::unexpected(appended.error());
  position_ = appended->offset + appended->size;
  return appended->size;
}

Result<uint64_t> FileCursor::seek(int64_t offset, SeekFrom from) {
  uint64_t base = 0;
  if (from == SeekFrom::current) base = position_;
  if (from == SeekFrom::end) {
    auto attributes = file_->attributes();
    if (!attributes) return std::unexpected(attributes.error());
    base = attributes->size;
  }
  constexpr uint64_t kPositionMax = std::numeric_limits<int64_t>::max();
  const uint64_t distance =
      offset < 0 ? uint64_t{0} - static_cast<uint64_t>(offset) : static_cast<uint64_t>(offset);
  if (offset < 0 && distance > base) return fail(std::errc::invalid_argument);
  if (offset >= 0 && (base > kPositionMax || distance > kPositionMax - base))
    return fail(std::errc::value_too_large);
  position_ = offset < 0 ? base - distance : base + distance;
  return position_;
}

}  // namespace cachefs
