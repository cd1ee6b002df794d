// What the kernel has open: files and directories.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/mutex.h"
#include "cachefs/file_system.h"
#include "mount/node_table.h"

namespace cachefs::mount {

/// The last read through a handle that got no answer in time. For a page that a program wants the kernel asks
/// twice: with what it reads ahead, and, when that has failed, for the page alone. The program has waited for
/// a whole limit by then. Thread-safe.
class UnansweredRead {
 public:
  void note(uint64_t offset, uint64_t size) EXCLUDES(mutex_);
  /// Whether a read at `offset` is such a second try. Says so once, and only soon after the first.
  bool take(uint64_t offset) EXCLUDES(mutex_) {
    return is_known_.load(std::memory_order_relaxed) && take_known(offset);
  }

 private:
  static constexpr std::chrono::seconds kSoon{1};
  bool take_known(uint64_t offset) EXCLUDES(mutex_);

  std::atomic<bool> is_known_{false};
  Mutex mutex_;
  uint64_t begin_ GUARDED_BY(mutex_) = 0;
  uint64_t end_ GUARDED_BY(mutex_) = 0;
  std::chrono::steady_clock::time_point ended_ GUARDED_BY(mutex_);
};

/// An open file. Closed when the last task that uses it is done, which may be after the kernel's release if
/// who asked was killed meanwhile.
struct OpenFile : std::enable_shared_from_this<OpenFile> {
  OpenFile(MountNodeRef opened, std::unique_ptr<File> handle, bool writable)
      : node(std::move(opened)), file(std::move(handle)), for_writing(writable) {}
  ~OpenFile();
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;

  const MountNodeRef node;
  const std::unique_ptr<File> file;
  const bool for_writing;
  bool for_reading = true;  ///< set before the kernel knows of the file
  bool past_pages = false;  ///< the kernel keeps nothing of what goes through the handle; set at its open
  UnansweredRead unanswered;
  std::optional<SyncKind> syncs{};  ///< what O_SYNC or O_DSYNC asks of each change; set at its open

  /// The kernel was told at the open to drop the pages that it had. It does so after it got the answer, so
  /// that only the first request through the handle, which uses() tells of, shows that it has.
  void expect_pages_dropped(uint64_t generation) { dropped_before_use_ = generation; }
  /// To be called when a request that only a program makes comes through the handle.
  void uses() {
    if (dropped_before_use_.load(std::memory_order_relaxed) == MountNode::kNothingKept) return;
    node->kept_data = dropped_before_use_.exchange(MountNode::kNothingKept);
  }

 private:
  std::atomic<uint64_t> dropped_before_use_{MountNode::kNothingKept};
};
using OpenFileRef = std::shared_ptr<OpenFile>;

/// The kernel's references to open files, found by node too: fstat() and the like reach us without the
/// handle. Thread-safe.
class OpenFiles {
 public:
  /// The number by which the kernel will ask for the file.
  uint64_t add(OpenFileRef file) EXCLUDES(mutex_);
  [[nodiscard]] static OpenFileRef at(uint64_t number);
  /// The same without a reference, for as long as the request is unanswered.
  [[nodiscard]] static OpenFile& peek(uint64_t number);
  /// The kernel's reference, which is the caller's from now on: to be dropped where closing may wait.
  OpenFileRef remove(uint64_t number) EXCLUDES(mutex_);
  /// Some open file of the node, or null.
  [[nodiscard]] OpenFileRef any_of(const MountNode& node) const EXCLUDES(mutex_);
  /// Whether some file is open for writing. One that is mapped so is, as long as the mapping lasts.
  [[nodiscard]] bool any_for_writing() const EXCLUDES(mutex_);
  /// The files that are open for writing; one may be there more than once.
  [[nodiscard]] std::vector<MountNodeRef> nodes_for_writing() const EXCLUDES(mutex_);
  /// All references, when the kernel asks no more.
  std::vector<OpenFileRef> take_all() EXCLUDES(mutex_);

 private:
  mutable Mutex mutex_;
  std::unordered_multimap<const MountNode*, OpenFileRef> files_ GUARDED_BY(mutex_);
};

/// The kernel's offset after an entry that came with `cookie`, and back. 0 is the start, 1 is after ".", and
/// 2, which is that of the cookie 0, after "..". Cookies of the source are passed on as they are, so that
/// they are good for as long as they are there; but they leave room for those two.
[[nodiscard]] uint64_t offset_of_cookie(uint64_t cookie);
[[nodiscard]] uint64_t cookie_of_offset(uint64_t offset);

/// An open directory: a stream with a window of entries. The kernel asks again for what did not fit into the
/// program's buffer, so that all from the last request's start on is kept. Entries come with the kernel's
/// offset after them in place of a cookie.
class OpenDirectory {
 public:
  using Reopen = std::function<Result<std::unique_ptr<DirectoryStream>>()>;

  /// `immediate`: the stream never waits for anything.
  OpenDirectory(MountNodeRef opened, std::unique_ptr<DirectoryStream> stream,
                std::optional<uint64_t> of_generation, bool immediate, ListingUse use)
      : node(std::move(opened)),
        generation(of_generation),
        immediate_(immediate),
        stream_(std::move(stream)),
        caches_(use.caches),
        drops_before_use_(use.caches && !use.keeps) {}

  /// To be called where the directory has another content than the stream was opened on. Its start is not
  /// read from that stream then: what looks here like the first read may be one after a rewinddir(), of which
  /// we are not told.
  void outdate() REQUIRES(mutex) { untouched_ = false; }

  /// To be called at each request through the handle: the kernel ends an open, what it drops then included,
  /// before the first one.
  void uses() {
    if (!drops_before_use_.load(std::memory_order_relaxed)) return;
    if (drops_before_use_.exchange(false)) node->kept_listing->confirm();
  }
  /// The kernel has given the handle back, or never got it.
  void let_go() {
    if (caches_) node->kept_listing->close();
  }

  /// The entries from `offset` on, which is 0 or that of an entry: as many as are at hand, at least one if
  /// there is one; empty at the end. Valid until the next call. At 0 for a second time, or once outdated, the
  /// directory is shown as it is then, as rewinddir() must.
  Result<const std::deque<DirectoryEntry>*> from(uint64_t offset, const Reopen& reopen) REQUIRES(mutex);
  /// Makes more entries follow those of from(). False at the end.
  Result<bool> extend() REQUIRES(mutex);
  /// Whether from(offset) cannot have to wait.
  [[nodiscard]] bool is_immediate(uint64_t offset) const REQUIRES(mutex) {
    return immediate_ && (untouched_ ? offset == 0 : offset != 0 && entries_before(offset).has_value());
  }

  const MountNodeRef node;
  const std::optional<uint64_t> generation;  ///< of what was opened
  /// Held during a whole request, reading the source included: the requests of one handle go one after the
  /// other.
  Mutex mutex;

 private:
  /// How many entries of the window are before `offset`; nullopt: it is none of its places.
  [[nodiscard]] std::optional<size_t> entries_before(uint64_t offset) const REQUIRES(mutex);
  Result<void> go_to(uint64_t offset, const Reopen& reopen) REQUIRES(mutex);
  Result<void> start_anew(const Reopen& reopen) REQUIRES(mutex);

  bool immediate_ GUARDED_BY(mutex);
  std::unique_ptr<DirectoryStream> stream_ GUARDED_BY(mutex);
  std::deque<DirectoryEntry> window_ GUARDED_BY(mutex);
  uint64_t start_ GUARDED_BY(mutex) = 0;     ///< the offset before the window's first entry
  bool untouched_ GUARDED_BY(mutex) = true;  ///< the stream is at its start, which shows what is there now
  bool at_end_ GUARDED_BY(mutex) = false;
  const bool caches_;
  std::atomic<bool> drops_before_use_;
};
using OpenDirectoryRef = std::shared_ptr<OpenDirectory>;

/// The kernel's references to open directories. Thread-safe.
class OpenDirectories {
 public:
  uint64_t add(OpenDirectoryRef directory) EXCLUDES(mutex_);
  [[nodiscard]] OpenDirectoryRef at(uint64_t number) const EXCLUDES(mutex_);
  OpenDirectoryRef remove(uint64_t number) EXCLUDES(mutex_);
  std::vector<OpenDirectoryRef> take_all() EXCLUDES(mutex_);

 private:
  mutable Mutex mutex_;
  std::unordered_map<uint64_t, OpenDirectoryRef> directories_ GUARDED_BY(mutex_);
};

}  // namespace cachefs::mount
