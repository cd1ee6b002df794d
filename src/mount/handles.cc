#include "mount/handles.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace cachefs::mount {

void UnansweredRead::note(uint64_t offset, uint64_t size) {
  MutexLock lock(mutex_);
  begin_ = offset;
  end_ = offset + size;
  ended_ = std::chrono::steady_clock::now();
  is_known_.store(true, std::memory_order_relaxed);
}

bool UnansweredRead::take_known(uint64_t offset) {
  MutexLock lock(mutex_);
  if (!is_known_.load(std::memory_order_relaxed)) return false;
  const bool soon = std::chrono::steady_clock::now() - ended_ < kSoon;
  const bool same = begin_ <= offset && offset < end_;
  if (same || !soon) is_known_.store(false, std::memory_order_relaxed);
  return same && soon;
}

OpenFile::~OpenFile() {
  // Nobody is left to be told: close(2) has returned, with the errors of flush().
  if (const Result<void> closed = file->close(); !closed)
    spdlog::warn("closing a file: {}", closed.error().message());
}

uint64_t OpenFiles::add(OpenFileRef file) {
  const auto number = static_cast<uint64_t>(reinterpret_cast<uintptr_t>(file.get()));
  MutexLock lock(mutex_);
  const MountNode* node = file->node.get();
  files_.emplace(node, std::move(file));
  return number;
}

OpenFile& OpenFiles::peek(uint64_t number) {
  return *reinterpret_cast<OpenFile*>(static_cast<uintptr_t>(number));
}

OpenFileRef OpenFiles::at(uint64_t number) { return peek(number).shared_from_this(); }

OpenFileRef OpenFiles::remove(uint64_t number) {
  const OpenFile& file = peek(number);
  MutexLock lock(mutex_);
  const auto [begin, end] = files_.equal_range(file.node.get());
  for (auto it = begin; it != end; ++it) {
    if (it->second.get() != &file) continue;
    OpenFileRef removed = std::move(it->second);
    files_.erase(it);
    return removed;
  }
  return nullptr;
}

OpenFileRef OpenFiles::any_of(const MountNode& node) const {
  MutexLock lock(mutex_);
  const auto found = files_.find(&node);
  return found == files_.end() ? nullptr : found->second;
}

bool OpenFiles::any_for_writing() const {
  MutexLock lock(mutex_);
  return std::ranges::any_of(files_, [](const auto& open) { return open.second->for_writing; });
}

std::vector<MountNodeRef> OpenFiles::nodes_for_writing() const {
  std::vector<MountNodeRef> nodes;
  MutexLock lock(mutex_);
  for (const auto& [node, file] : files_) {
    if (file->for_writing) nodes.push_back(file->node);
  }
  return nodes;
}

std::vector<OpenFileRef> OpenFiles::take_all() {
  std::vector<OpenFileRef> all;
  MutexLock lock(mutex_);
  all.reserve(files_.size());
  for (auto& [node, file] : files_) all.push_back(std::move(file));
  files_.clear();
  return all;
}

namespace {

constexpr uint64_t kAfterDot = 1;
constexpr uint64_t kAfterDots = 2;  ///< and before all else: the cookie 0
constexpr uint64_t kLargestOffset = INT64_MAX;
constexpr uint64_t kNowhere = UINT64_MAX;

}  // namespace

/// Cookies are offsets of the source's kernel: below 2^63, but for some servers' own. The largest ones stand
/// for the end, so that it does not matter that some fall together.
uint64_t offset_of_cookie(uint64_t cookie) {
  if (cookie > kLargestOffset) return cookie;
  return std::min(cookie, kLargestOffset - kAfterDots) + kAfterDots;
}

uint64_t cookie_of_offset(uint64_t offset) { return offset >= kLargestOffset ? offset : offset - kAfterDots; }

std::optional<size_t> OpenDirectory::entries_before(uint64_t offset) const {
  if (offset == start_) return 0;
  const auto found = std::ranges::find(window_, offset, &DirectoryEntry::cookie);
  if (found == window_.end()) return std::nullopt;
  return static_cast<size_t>(found - window_.begin()) + 1;
}

/// A directory that may not be opened any more can still be read from its start, as it was.
Result<void> OpenDirectory::start_anew(const Reopen& reopen) {
  Result<std::unique_ptr<DirectoryStream>> stream = reopen();
  if (!stream) {
    const int why = stream.error().to_errno();
    return why == EACCES || why == EPERM ? stream_->seek(0) : std::unexpected(std::move(stream.error()));
  }
  stream_ = std::move(*stream);
  return {};
}

Result<void> OpenDirectory::go_to(uint64_t offset, const Reopen& reopen) {
  if (offset == 0 && !untouched_) {
    if (const Result<void> started = start_anew(reopen); !started) return started;
    immediate_ = false;
  } else if (offset != 0) {
    const uint64_t cookie = offset < kAfterDots ? 0 : cookie_of_offset(offset);
    immediate_ = false;
    if (const Result<void> sought = stream_->seek(cookie); !sought) {
      window_.clear();
      start_ = kNowhere;  // where the stream is now is not known
      return sought;
    }
  }
  untouched_ = false;
  at_end_ = false;
  window_.clear();
  start_ = offset;
  if (offset < kAfterDot)
    window_.push_back({.name = ".", .inode = 0, .cookie = kAfterDot, .kind = FileKind::directory});
  if (offset < kAfterDots)
    window_.push_back({.name = "..", .inode = 0, .cookie = kAfterDots, .kind = FileKind::directory});
  return {};
}

Result<const std::deque<DirectoryEntry>*> OpenDirectory::from(uint64_t offset, const Reopen& reopen) {
  if (const auto before = entries_before(offset); before && offset != 0) {
    window_.erase(window_.begin(), window_.begin() + static_cast<ptrdiff_t>(*before));
    start_ = offset;
  } else if (const Result<void> gone = go_to(offset, reopen); !gone) {
    return std::unexpected(gone.error());
  }
  while (window_.empty() && !at_end_) {
    if (const Result<bool> more = extend(); !more) return std::unexpected(more.error());
  }
  return &window_;
}

Result<bool> OpenDirectory::extend() {
  if (at_end_) return false;
  Result<std::vector<DirectoryEntry>> batch = stream_->next_batch();
  if (!batch) return std::unexpected(std::move(batch.error()));
  at_end_ = batch->empty();
  for (DirectoryEntry& entry : *batch) {
    entry.cookie = offset_of_cookie(entry.cookie);
    window_.push_back(std::move(entry));
  }
  return !at_end_;
}

uint64_t OpenDirectories::add(OpenDirectoryRef directory) {
  const auto number = static_cast<uint64_t>(reinterpret_cast<uintptr_t>(directory.get()));
  MutexLock lock(mutex_);
  directories_.emplace(number, std::move(directory));
  return number;
}

OpenDirectoryRef OpenDirectories::at(uint64_t number) const {
  MutexLock lock(mutex_);
  const auto found = directories_.find(number);
  return found == directories_.end() ? nullptr : found->second;
}

OpenDirectoryRef OpenDirectories::remove(uint64_t number) {
  MutexLock lock(mutex_);
  const auto found = directories_.find(number);
  if (found == directories_.end()) return nullptr;
  OpenDirectoryRef removed = std::move(found->second);
  directories_.erase(found);
  return removed;
}

std::vector<OpenDirectoryRef> OpenDirectories::take_all() {
  std::vector<OpenDirectoryRef> all;
  MutexLock lock(mutex_);
  all.reserve(directories_.size());
  for (auto& [number, directory] : directories_) all.push_back(std::move(directory));
  directories_.clear();
  return all;
}

}  // namespace cachefs::mount
